import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeSource } from '../source.ts';
import { seededRandom } from '../statistics.ts';
import { gitRun, initWork } from './git.ts';

/** How large each part is; the defaults are what the goals are stated for. */
export interface Scale {
  readonly commits: number;
  readonly assetVersions: number;
  readonly assetBytes: number;
  readonly hugeVersions: number;
  readonly hugeBytes: number;
  readonly textBytes: number;
  readonly textEdits: number;
  readonly smallRepositories: number;
  readonly smallCommits: number;
  readonly forks: number;
}

export const FULL: Scale = {
  commits: 3000,
  assetVersions: 50,
  assetBytes: 200 << 20,
  hugeVersions: 8,
  hugeBytes: 600 << 20,
  textBytes: 2_500_000,
  textEdits: 200,
  smallRepositories: 500,
  smallCommits: 20,
  forks: 20,
};

export const QUICK: Scale = {
  commits: 400,
  assetVersions: 6,
  assetBytes: 24 << 20,
  hugeVersions: 0,
  hugeBytes: 0,
  textBytes: 400_000,
  textEdits: 30,
  smallRepositories: 10,
  smallCommits: 8,
  forks: 4,
};

/** One repository of the corpus: where it is made, and called after each step that is to be pushed. */
export interface Part {
  readonly name: string;
  /** Repositories that are made and pushed one after the other. */
  readonly repositories: number;
  /** Makes repository `index` in `folder`, calling `push` with its work folder whenever a client would push. */
  make(folder: string, index: number, push: (work: string) => Promise<void>): Promise<void>;
}

export function partsOf(scale: Scale): Part[] {
  const parts: Part[] = [
    { name: 'source', repositories: 1, make: (folder, _index, push) => sourceRepository(folder, scale.commits, push) },
    {
      name: 'asset',
      repositories: 1,
      make: (folder, _index, push) => assetHistory(folder, scale.assetVersions, scale.assetBytes, push),
    },
    {
      name: 'huge',
      repositories: 1,
      make: (folder, _index, push) => assetHistory(folder, scale.hugeVersions, scale.hugeBytes, push),
    },
    {
      name: 'text',
      repositories: 1,
      make: (folder, _index, push) => textHistory(folder, scale.textBytes, scale.textEdits, push),
    },
    {
      name: 'small',
      repositories: scale.smallRepositories,
      make: (folder, index, push) => smallRepository(folder, index, scale.smallCommits, push),
    },
  ];
  return parts.filter(({ name }) => name !== 'huge' || scale.hugeVersions > 0);
}

async function sourceRepository(folder: string, commits: number, push: (work: string) => Promise<void>): Promise<void> {
  mkdirSync(folder, { recursive: true });
  await push(await makeSource(folder, { commits, files: commits / 2, churn: 3, refs: 240, fanout: 12, seed: 1 }));
}

/** Random bytes, of which each version overwrites, inserts and removes a few kilobytes in a few places. */
async function assetHistory(
  folder: string,
  versions: number,
  bytes: number,
  push: (work: string) => Promise<void>,
): Promise<void> {
  const work = initWork(folder);
  const random = seededRandom(7);
  let pieces = [randomBytes(1, bytes)];
  for (let version = 0; version < versions; version++) {
    if (version > 0) pieces = edited([Buffer.concat(pieces)], version, random);
    const path = join(work, 'asset.bin');
    writeFileSync(path, '');
    for (const piece of pieces) appendFileSync(path, piece);
    await gitRun(work, 'add', 'asset.bin');
    await gitRun(work, 'commit', '-q', '-m', `version ${version}`);
    await push(work);
  }
}

const EDITS = 4;
const EDIT_BYTES = 20_000;

function edited([whole]: [Buffer], version: number, random: () => number): Buffer[] {
  const places = Array.from({ length: EDITS }, () => Math.floor(random() * (whole.length - EDIT_BYTES))).sort((a, b) => a - b);
  const pieces: Buffer[] = [];
  let at = 0;
  places.forEach((place, i) => {
    if (place < at) return;
    pieces.push(whole.subarray(at, place));
    const isRemoved = i % 3 === 2;
    if (!isRemoved) pieces.push(randomBytes(version * 100 + i, EDIT_BYTES / 2 + Math.floor((random() * EDIT_BYTES) / 2)));
    // Every third edit inserts, every third removes, every third overwrites.
    at = i % 3 === 0 ? place : place + EDIT_BYTES;
  });
  pieces.push(whole.subarray(at));
  return pieces;
}

/** Bytes that nothing compresses, the same for the same seed. */
function randomBytes(seed: number, length: number): Buffer {
  return createHash('shake256', { outputLength: length }).update(`corpus ${seed}`).digest();
}

async function textHistory(folder: string, bytes: number, edits: number, push: (work: string) => Promise<void>): Promise<void> {
  const work = initWork(folder);
  const random = seededRandom(3);
  const line = (): string =>
    Array.from({ length: 4 + Math.floor(random() * 9) }, () => Math.floor(random() * 40_000).toString(36)).join(' ');
  const lines: string[] = [];
  for (let length = 0; length < bytes; length += lines.at(-1)!.length + 1) lines.push(line());
  for (let edit = 0; edit <= edits; edit++) {
    if (edit > 0) for (let i = 0; i < 5; i++) lines.splice(Math.floor(random() * lines.length), i % 2, line());
    writeFileSync(join(work, 'changelog.txt'), `${lines.join('\n')}\n`);
    await gitRun(work, 'add', 'changelog.txt');
    await gitRun(work, 'commit', '-q', '-m', `edit ${edit}`);
    await push(work);
  }
}

async function smallRepository(
  folder: string,
  index: number,
  commits: number,
  push: (work: string) => Promise<void>,
): Promise<void> {
  const work = initWork(folder);
  const random = seededRandom(1000 + index);
  const files = Array.from({ length: 12 }, (_, i) => `src/part-${i % 4}/file-${i}.txt`);
  const text = (count: number): string =>
    Array.from({ length: count }, () => `${Math.floor(random() * 1e9).toString(36)} value ${Math.floor(random() * 1000)}`).join(
      '\n',
    );
  for (let i = 0; i < 4; i++) mkdirSync(join(work, 'src', `part-${i}`), { recursive: true });
  for (const file of files) writeFileSync(join(work, file), `${text(60)}\n`);
  for (let commit = 0; commit < commits; commit++) {
    if (commit > 0) appendFileSync(join(work, files[Math.floor(random() * files.length)]!), `${text(3)}\n`);
    await gitRun(work, 'add', '-A');
    await gitRun(work, 'commit', '-q', '-m', `change ${commit}`);
    await push(work);
  }
}
