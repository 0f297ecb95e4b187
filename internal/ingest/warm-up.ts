import { hash } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { assert, PackhouseError } from '../base/mod.ts';
import { adler32, encodeCopy, encodeDeltaHead, encodeInsert, storedBlocks, wireEntryTail } from '../chunking/mod.ts';
import { KIND_BLOB, KIND_COMMIT, KIND_TAG, KIND_TREE, kindName } from '../object/mod.ts';
import { encodeEntryHeader, encodePackHeader } from '../packformat/mod.ts';
import type { ResolveHelper } from './resolve-helper.ts';
import { makeSpoolFolder } from './spool-folders.ts';
import { PackWork, type WorkOptions } from './work.ts';

/** After that there is not much left to compile. */
const ROUNDS = 4;
const COMMITS = 600;
const FOLDERS = 24;
const FILES = 25;
/** Some files are larger, with which the pack has 2 MiB: the counters of smaller ones fit in fewer bits, and code for those would be of no use. */
const LARGE_BYTES = 60_000;
/** A pack comes in pieces. */
const PIECE_BYTES = 1 << 16;
/** RFC 1950: deflate, a window of 32 KiB, fastest. */
const ZLIB_HEADER = Buffer.from([0x78, 0x01]);
/** Deltas on top of each other. */
const DEPTH_MAX = 30;

/**
 * Works on a made-up pack a few times, together with the helper if there is one, so that what the first large push runs is compiled before it comes: that takes
 * as much of the processor as the work itself. `options` are those of pushes, of the very shape in which they come. Ends early when `isWanted` says that there
 * is work.
 */
export async function warmUp(options: WorkOptions, helper: ResolveHelper | null, isWanted: () => boolean): Promise<void> {
  const bytes = warmUpPack(COMMITS);
  const folder = await makeSpoolFolder();
  try {
    const path = join(folder, 'pack');
    writeFileSync(path, bytes);
    for (let round = 0; round < ROUNDS && !isWanted(); round++) {
      workOn(path, bytes.length, options, helper);
      await setImmediate();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function workOn(path: string, sizeBytes: number, options: WorkOptions, helper: ResolveHelper | null): void {
  const work = new PackWork({ path }, options, noChunks, helper);
  try {
    helper?.prepare(Infinity, Infinity);
    for (let at = PIECE_BYTES; at < sizeBytes; at += PIECE_BYTES) work.advance(at, false);
    work.advance(sizeBytes, true);
    work.resolve();
    assert(work.nextBase() === null && work.finish().kind === 'verified', 'the warm-up pack is whole');
  } finally {
    work.close();
    helper?.release();
  }
}

function noChunks(): never {
  throw new PackhouseError('internal', 'no blob of the warm-up pack is cut');
}

/** An object that changes from commit to commit, as it is at the last one. */
interface Versioned {
  readonly kind: number;
  bytes: Buffer;
  oid: Buffer;
  /** Where the entry of this version starts. */
  offset: number;
  /** Deltas that it stands on. */
  depth: number;
}

/** A tree, and where the oids of its entries stand in it. */
interface VersionedTree extends Versioned {
  readonly oidsAt: readonly number[];
}

const MODES = ['100644', '100644', '100644', '100755', '120000'];
const NAMES = [
  'Makefile',
  'README.md',
  'a',
  'a-b',
  'a.c',
  'config.h',
  'index',
  'lib',
  'lib-test',
  'node_x.js',
  'z',
  '\u00fcber.txt',
];
const ZONES = ['+0000', '-0730', '+0200'];

/** Writes a pack of a made-up history; `random` is the same each time. */
class HistoryWriter {
  readonly #parts: Buffer[] = [];
  #offset = 12;
  #count = 0;
  #seed = 1;

  random(below: number): number {
    this.#seed = (Math.imul(this.#seed, 1_103_515_245) + 12_345) >>> 0;
    return (this.#seed >>> 8) % below;
  }

  line(): string {
    return `${this.random(2 ** 24)
      .toString(36)
      .repeat(1 + this.random(6))} = ${this.random(2 ** 24)};\n`;
  }

  make(kind: number, bytes: Buffer): Versioned {
    return { kind, bytes, oid: oidOf(kind, bytes), offset: this.#put(encodeEntryHeader(kind, bytes.length), bytes), depth: 0 };
  }

  /** Puts `news` in the place of `bytes[at, end)`. */
  change(thing: Versioned, at: number, end: number, news: Buffer): void {
    const { kind, bytes: before } = thing;
    const bytes = Buffer.concat([before.subarray(0, at), news, before.subarray(end)]);
    if (thing.depth === DEPTH_MAX) {
      Object.assign(thing, this.make(kind, bytes));
      return;
    }
    const delta = Buffer.concat([
      encodeDeltaHead(before.length, bytes.length),
      encodeCopy(0, at),
      encodeInsert(news),
      encodeCopy(end, before.length - end),
    ]);
    thing.bytes = bytes;
    thing.oid = oidOf(kind, bytes);
    thing.offset = this.#put(encodeEntryHeader(kind, delta.length, this.#offset - thing.offset), delta);
    thing.depth++;
  }

  #put(header: Buffer, data: Buffer): number {
    const start = this.#offset;
    const stream = Buffer.concat([ZLIB_HEADER, storedBlocks(data), wireEntryTail(adler32(data))]);
    this.#parts.push(header, stream);
    this.#offset += header.length + stream.length;
    this.#count++;
    return start;
  }

  /** Entries named and sorted as git does it: a folder as if its name ended in a slash. */
  tree(items: readonly Versioned[]): VersionedTree {
    const entries = items.map(({ kind, oid }, i) => {
      const name = `${NAMES[i % NAMES.length]}${i < NAMES.length ? '' : i}`;
      const mode = kind === KIND_TREE ? '40000' : MODES[i % MODES.length]!;
      return { i, oid, head: Buffer.from(`${mode} ${name}\0`), key: Buffer.from(kind === KIND_TREE ? `${name}/` : name) };
    });
    entries.sort((a, b) => Buffer.compare(a.key, b.key));
    const oidsAt: number[] = [];
    let at = 0;
    for (const { i, head, oid } of entries) {
      oidsAt[i] = at + head.length;
      at += head.length + oid.length;
    }
    return { ...this.make(KIND_TREE, Buffer.concat(entries.flatMap(({ head, oid }) => [head, oid]))), oidsAt };
  }

  /** The next version of entry `index` of a tree. */
  link(tree: VersionedTree, index: number, { oid }: Versioned): void {
    const at = tree.oidsAt[index]!;
    this.change(tree, at, at + oid.length, oid);
  }

  end(): Buffer {
    const body = Buffer.concat([encodePackHeader(this.#count), ...this.#parts]);
    return Buffer.concat([body, Buffer.from(hash('sha1', body, 'hex'), 'hex')]);
  }
}

/**
 * The pack of a made-up history of `commits` commits. Each changes a line in two files, which makes a commit and six deltas: two files, two folders, the
 * root twice. Nothing is compressed: zlib is compiled already, and deflating would cost more than all the rest.
 */
export function warmUpPack(commits: number): Buffer {
  const writer = new HistoryWriter();
  const text = (lines: number): Buffer => Buffer.from(Array.from({ length: lines }, () => writer.line()).join(''));
  const files = Array.from({ length: FOLDERS * FILES }, (_, i) =>
    writer.make(
      KIND_BLOB,
      i % 25 === 0 ? Buffer.concat([text(1), Buffer.alloc(LARGE_BYTES, writer.line())]) : text(1 + writer.random(60)),
    ),
  );
  const folders = Array.from({ length: FOLDERS }, (_, i) => writer.tree(files.slice(i * FILES, (i + 1) * FILES)));
  // The first of them stands beside the folders as well.
  const root = writer.tree([...folders, ...files.slice(0, FILES)]);
  const history: Versioned[] = [];
  for (let i = 0; i < commits; i++) {
    for (let edit = 0; edit < 2; edit++) {
      const number = FILES + writer.random(files.length - FILES);
      const file = files[number]!;
      const at = file.bytes.indexOf(10, writer.random(file.bytes.length + 1)) + 1;
      const end = writer.random(3) === 0 ? at : file.bytes.indexOf(10, at) + 1;
      writer.change(file, at, Math.max(at, end), Buffer.from(writer.line()));
      const folder = Math.floor(number / FILES);
      writer.link(folders[folder]!, number % FILES, file);
      writer.link(root, folder, folders[folder]!);
    }
    const parents =
      history.length === 0 ? [] : [history.at(-1)!, ...(i % 7 === 0 ? [history[writer.random(history.length)]!] : [])];
    history.push(writer.make(KIND_COMMIT, commitOf(root, parents, i, text(1 + (i % 4)))));
  }
  for (let i = 0; i < commits; i += 50) writer.make(KIND_TAG, tagOf(history[i]!, i));
  return writer.end();
}

function commitOf(root: Versioned, parents: readonly Versioned[], i: number, message: Buffer): Buffer {
  const lines = [`tree ${root.oid.toString('hex')}`, ...new Set(parents.map(({ oid }) => `parent ${oid.toString('hex')}`))];
  lines.push(`author ${who(i)}`, `committer ${who(i + (i % 3))}`, ...(i % 11 === 0 ? ['encoding ISO-8859-1'] : []), '', '');
  return Buffer.concat([Buffer.from(lines.join('\n')), message]);
}

function tagOf({ oid }: Versioned, i: number): Buffer {
  return Buffer.from(`object ${oid.toString('hex')}\ntype commit\ntag v${i}\ntagger ${who(i)}\n\nVersion ${i}\n`);
}

function who(i: number): string {
  return `A U Thor ${i % 5} <author.${i % 5}@example.com> ${1_500_000_000 + 3601 * i} ${ZONES[i % ZONES.length]}`;
}

function oidOf(kind: number, bytes: Buffer): Buffer {
  return Buffer.from(hash('sha1', Buffer.concat([Buffer.from(`${kindName(kind)} ${bytes.length}\0`), bytes]), 'hex'), 'hex');
}
