import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ObjectBlock, Pack } from '../catalog/mod.ts';
import { DEFAULT_PACK_LIMITS, receivePack } from '../ingest/mod.ts';
import { DEFAULT_SEVERITIES, kindNumber, type ObjectFormat, type ObjectKind } from '../object/mod.ts';
import { tableBlocks } from '../packing/mod.ts';
import { git, scratchFolder, tryGit } from '../testkit/mod.ts';
import { DEFAULT_REPACK_SETTINGS, type RepackedPack, type RepackInput, repack } from './mod.ts';

/** A pack as the catalog would know it, and its bytes. */
export interface TestPack {
  readonly pack: Pack;
  readonly blocks: readonly ObjectBlock[];
  readonly bytes: Buffer;
}

let packId = 0;

/** Reads an object of a repository, as `readObject` of a repack does. */
export function objectReader(repository: string): RepackInput['readObject'] {
  return async (oid) => {
    const hex = oid.toString('hex');
    const kind = await tryGit(['cat-file', '-t', hex], { cwd: repository });
    if (kind.status !== 0) return null;
    const name = kind.stdout.toString().trim() as ObjectKind;
    return { kind: kindNumber(name), data: (await tryGit(['cat-file', name, hex], { cwd: repository })).stdout };
  };
}

/** The pack of some bytes, thin ones left thin. */
export async function testPack(bytes: Buffer, repository: string, format: ObjectFormat = 'sha1'): Promise<TestPack> {
  const read = objectReader(repository);
  const received = await receivePack(oneChunk(), bytes, {
    format,
    limits: DEFAULT_PACK_LIMITS,
    severities: DEFAULT_SEVERITIES,
    memoryBytesMax: 256 << 20,
    thinBytesMax: 256 << 20,
    async readBase(oid) {
      const base = await read(oid);
      return base === null ? null : { oid, ...base };
    },
  });
  const { pack } = received;
  await received.dispose();
  return {
    bytes,
    blocks: tableBlocks(pack, format),
    pack: {
      id: ++packId,
      tier: 'tail',
      crateKey: null,
      extentOffset: 0,
      lengthBytes: bytes.length,
      objectCount: pack.objectCount,
      chunkedCount: 0,
      checksum: pack.checksum,
      allReached: false,
      based: false,
      hasDuplicates: false,
      tips: Buffer.alloc(0),
      searched: false,
    },
  };
}

async function* oneChunk(): AsyncGenerator<Buffer, undefined> {}

/** A pack as git would send it for `revisions` (as `rev-list` takes them): thin. */
export async function thinPack(repository: string, revisions: readonly string[], ...flags: string[]): Promise<Buffer> {
  const args = ['pack-objects', '--revs', '--thin', '--stdout', '--delta-base-offset', '-q', ...flags];
  const { status, stdout, stderr } = await tryGit(args, { cwd: repository, input: `${revisions.join('\n')}\n` });
  assert.equal(status, 0, stderr);
  return stdout;
}

/** One thin pack for each step from one revision to the next. */
export async function stepPacks(
  repository: string,
  revisions: readonly string[],
  format: ObjectFormat = 'sha1',
): Promise<TestPack[]> {
  const packs: TestPack[] = [];
  for (const [i, revision] of revisions.entries()) {
    const known = i === 0 ? [] : [`^${revisions[i - 1]}`];
    packs.push(await testPack(await thinPack(repository, [revision, ...known]), repository, format));
  }
  return packs;
}

/** The commits of main, oldest first. */
export async function commitsOf(repository: string, ref = 'main'): Promise<string[]> {
  return (await git(['rev-list', '--first-parent', '--reverse', ref], { cwd: repository })).split('\n');
}

/** Packs that overlap: thin and whole ones of random stretches of history, some repacked already. */
export async function overlappingPacks(repository: string, random: (below: number) => number): Promise<TestPack[]> {
  const commits = await commitsOf(repository);
  const packs: TestPack[] = [];
  for (let from = -1; from < commits.length - 1; ) {
    const to = Math.min(commits.length - 1, from + 1 + random(12));
    // Now and then from an earlier commit on, so that objects stand in several packs, as deltas of different bases.
    const known = from < 0 || random(5) === 0 ? [] : [`^${commits[Math.max(0, from - random(4))]}`];
    packs.push(
      await testPack(
        await thinPack(repository, [commits[to]!, ...known], `--window=${random(3) * 20}`, '--no-reuse-delta'),
        repository,
      ),
    );
    from = to;
  }
  return packs;
}

export function repackOf(packs: readonly TestPack[], repository: string, more: Partial<RepackInput> = {}): Promise<RepackedPack> {
  return repack({
    format: 'sha1',
    packs,
    async *readPack(pack) {
      yield packs.find((one) => one.pack === pack)!.bytes;
    },
    readObject: objectReader(repository),
    settings: { ...DEFAULT_REPACK_SETTINGS, spoolFolder: scratchFolder('spool') },
    signal: new AbortController().signal,
    ...more,
  });
}

/** A repacked pack as an input of the next repack. */
export async function asInput(result: RepackedPack, like: TestPack): Promise<TestPack> {
  const { lengthBytes, objectCount, checksum, facts, blocks } = result;
  const bytes = readFileSync(result.path);
  await result.dispose();
  const pack: Pack = { ...like.pack, ...facts, id: ++packId, tier: 'store', searched: true, lengthBytes, objectCount, checksum };
  return { pack, blocks, bytes };
}

export interface GitVerdict {
  /** Hex oids, ascending. */
  readonly oids: readonly string[];
  /** Links of the longest chain of deltas. */
  readonly depth: number;
}

/** What git says of a repacked file: it must take it, in a repository that has nothing else, and write the same index. */
export async function judgedByGit(result: RepackedPack, format: ObjectFormat = 'sha1'): Promise<GitVerdict> {
  const folder = scratchFolder('judged.git');
  await git(['init', '-q', '--bare', `--object-format=${format}`, folder]);
  const path = join(folder, 'objects', 'pack', `pack-${result.checksum.toString('hex')}.pack`);
  writeFileSync(path, readFileSync(result.path));
  await git(['index-pack', '--fsck-objects', path], { cwd: folder });
  assert.ok(readFileSync(path.replace(/pack$/, 'idx')).equals(result.idx), 'git writes the same index');
  const lines = (await git(['verify-pack', '-v', path], { cwd: folder })).split('\n');
  const entries = lines
    .map((line) => line.split(/\s+/))
    .filter(([oid, kind]) => /^[0-9a-f]{40,}$/.test(oid!) && kind !== undefined);
  const depths = entries.map((fields) => Number(fields[5] ?? 0));
  return { oids: entries.map(([oid]) => oid!).sort(), depth: Math.max(0, ...depths) };
}

/** All hex oids of blocks, ascending. */
export function oidsOf(blocks: readonly ObjectBlock[], width = 20): string[] {
  return blocks.flatMap(({ oids, kinds }) => Array.from(kinds, (_, i) => oids.toString('hex', i * width, (i + 1) * width)));
}
