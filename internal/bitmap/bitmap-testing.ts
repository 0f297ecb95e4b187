import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  encodeCommitRecord,
  encodeTagRecord,
  KIND_COMMIT,
  KIND_TAG,
  KIND_TREE,
  kindNumber,
  type ObjectFormat,
  oidLength,
  parseCommit,
  parseTag,
} from '../object/mod.ts';
import { FastImport, type FileChange, git, scratchFolder, seededRandom, tryGit } from '../testkit/mod.ts';
import type { ReachInput } from './build.ts';

/** A repository's objects as one pack that git has made, and what the bitmaps of it are made from. */
export interface TestPack extends ReachInput {
  readonly hexes: readonly string[];
  /** Oids in order of place. */
  readonly byPlace: readonly string[];
  readonly commits: readonly string[];
}

interface Told {
  readonly kind: number;
  readonly data: Buffer;
}

async function readObjects(cwd: string, hexes: readonly string[]): Promise<Map<string, Told>> {
  const { stdout: out } = await tryGit(['cat-file', '--batch'], { cwd, input: `${hexes.join('\n')}\n` });
  const objects = new Map<string, Told>();
  for (let at = 0; at < out.length; ) {
    const end = out.indexOf(0x0a, at);
    const [hex, type, size] = out.toString('latin1', at, end).split(' ') as [string, string, string];
    objects.set(hex, { kind: kindNumber(type as 'blob'), data: out.subarray(end + 1, end + 1 + Number(size)) });
    at = end + 2 + Number(size);
  }
  return objects;
}

/** Packs what some revisions reach; `without` takes objects out of the table, as if they stood in another pack. */
export async function packOf(
  cwd: string,
  options: { revisions?: readonly string[]; format?: ObjectFormat; without?: (hex: string) => boolean } = {},
): Promise<TestPack> {
  const format = options.format ?? 'sha1';
  const folder = join(scratchFolder('packed'), 'pack');
  mkdirSync(folder);
  const refs = options.revisions ?? (await git(['for-each-ref', '--format=%(objectname)'], { cwd })).split('\n');
  const input = `${refs.join('\n')}\n`;
  await git(['pack-objects', '-q', '--revs', join(folder, 'pack')], { cwd, input });
  const name = readdirSync(folder).find((file) => file.endsWith('.idx'))!;
  const rows = (await git(['show-index', `--object-format=${format}`], { cwd, input: readFileSync(join(folder, name)) }))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(' ') as [string, string])
    .filter(([, hex]) => !(options.without?.(hex) ?? false));
  rows.sort(([, a], [, b]) => (a < b ? -1 : 1));
  const hexes = rows.map(([, hex]) => hex);
  const objects = await readObjects(cwd, hexes);
  const pack = readFileSync(join(folder, name.replace('.idx', '.pack')));
  const graph: Buffer[] = [];
  for (const hex of hexes) {
    const { kind, data } = objects.get(hex)!;
    const oid = Buffer.from(hex, 'hex');
    if (kind === KIND_COMMIT) graph.push(encodeCommitRecord(oid, parseCommit(data, format)));
    if (kind === KIND_TAG) {
      const tag = parseTag(data, format);
      graph.push(encodeTagRecord(oid, tag.object, kindNumber(tag.kind)));
    }
  }
  return {
    format,
    hexes,
    byPlace: rows.toSorted(([a], [b]) => Number(a) - Number(b)).map(([, hex]) => hex),
    commits: hexes.filter((hex) => objects.get(hex)!.kind === KIND_COMMIT),
    checksum: pack.subarray(pack.length - oidLength(format)),
    oids: Buffer.from(hexes.join(''), 'hex'),
    kinds: Uint8Array.from(hexes, (hex) => objects.get(hex)!.kind),
    offsets: Float64Array.from(rows, ([offset]) => Number(offset)),
    graph,
    readTree(row) {
      const { kind, data } = objects.get(hexes[row]!)!;
      assert.equal(kind, KIND_TREE);
      return data;
    },
  };
}

/** A history with merges of all kinds, criss-cross ones among them, reverts, moved folders, orphans, links to other repositories, tags of everything. */
export async function tangledHistory(seed: number, commits: number, format: ObjectFormat = 'sha1'): Promise<string> {
  const random = seededRandom(seed);
  const stream = new FastImport();
  const made: { mark: number; files: Record<string, FileChange> }[] = [];
  const folders = ['', 'a/', 'a/b/', 'a-b/', 'a.b/', 'z/y/x/'];
  for (let i = 0; i < commits; i++) {
    const parents: number[] = [];
    const wanted = i === 0 || random(25) === 0 ? 0 : random(4) === 0 ? 2 + random(2) : 1;
    for (let p = 0; p < wanted; p++)
      parents.push(random(5) === 0 ? random(made.length) : Math.max(0, made.length - 1 - random(4)));
    const unique = [...new Set(parents)];
    let files = unique.length === 0 ? {} : { ...made[unique[random(unique.length)]!]!.files };
    if (random(10) === 0 && made.length > 0) files = { ...made[random(made.length)]!.files };
    for (let change = random(4); change >= 0; change--) {
      const path = `${folders[random(folders.length)]}f${random(6)}`;
      const what = random(8);
      if (what === 0) delete files[path];
      else if (what === 1) files[path] = { mode: '160000', content: '12'.repeat(format === 'sha1' ? 20 : 32) };
      else if (what === 2) files[path] = { mode: '100755', content: `text ${random(12)}\n` };
      else files[path] = `text ${random(40)}\n`.repeat(1 + random(3));
    }
    const mark = stream.commit(`refs/heads/b${random(5)}`, files, {
      parents: unique.map((parent) => made[parent]!.mark),
      clean: true,
      message: `${i}\n`,
    });
    made.push({ mark, files });
  }
  made.forEach(({ mark }, i) => {
    stream.reset(`refs/heads/all${i}`, mark);
    if (i % 7 === 0) stream.tag(`t${i}`, mark);
  });
  const folder = await stream.into(undefined, format);
  await git(['tag', '-a', '-m', 'tree', 'on-tree', `refs/heads/all${commits - 1}^{tree}`], { cwd: folder });
  await git(['tag', '-a', '-m', 'nested', 'on-tag', 'on-tree'], { cwd: folder });
  return folder;
}
