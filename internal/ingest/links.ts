import { codeOf, messageOf } from '../base/mod.ts';
import {
  encodeCommitRecord,
  encodeTagRecord,
  KIND_BLOB,
  KIND_COMMIT,
  KIND_TAG,
  KIND_TREE,
  kindName,
  kindNumber,
  kindOfMode,
  type ObjectFormat,
  OidMap,
  oidLength,
  parseCommit,
  parseTag,
  TreeCursor,
  type TreeShape,
} from '../object/mod.ts';
import type { EntryTable } from './entry-table.ts';
import { PackError } from './errors.ts';
import type { PackLimits } from './limits.ts';

const IN_PACK = 0x80;
/** The kind of an object of the pack stands above the other marks. */
const IN_PACK_KIND = 0x100;
/** A graph record counts a commit's parents in 16 bits. */
const PARENTS_MAX = 0xffff;
const GRAPH_BLOCK_BYTES = 1 << 20;

/** What the pack links to outside itself, and links to objects of it that ask for another kind than they are. */
export interface Frontier {
  /** Raw oids, one after the other. */
  readonly oids: Buffer;
  /** For each: the kind that links ask for. An oid stands here once for each kind. */
  readonly kinds: Uint8Array;
}

export interface LinkSummary {
  readonly frontier: Frontier;
  /** Raw oids of the objects of the pack that no other object of the pack links to. */
  readonly sources: Buffer;
  /** Indexes of entries that can go, because another entry of the pack has the same oid. Ascending. */
  readonly duplicates: Uint32Array;
  /** Graph records of the pack's commits and tags, in blocks of about 1 MiB (internal/object, graph records). */
  readonly graph: readonly Buffer[];
}

/** What one collector has gathered, as plain data. */
export interface GatheredLinks {
  readonly oids: Uint8Array<ArrayBuffer>;
  readonly marks: Uint16Array<ArrayBuffer>;
  readonly graph: readonly Uint8Array<ArrayBuffer>[];
}

/** Its memory, to be given to another thread. */
export function gatheredBuffers({ oids, marks, graph }: GatheredLinks): ArrayBuffer[] {
  return [oids, marks, ...graph].map(({ buffer }) => buffer);
}

/**
 * Gathers the links of every commit, tree and tag of a pack as they pass. One map holds what is linked to and what is there, so the
 * frontier of 700,000 objects costs one pass and no second read of the pack.
 */
export class LinkCollector {
  readonly #format: ObjectFormat;
  readonly #oids: OidMap;
  /** A bit for each kind that links ask for (1 << kind), IN_PACK and the kind for objects of the pack. */
  #marks = new Uint16Array(1024);
  readonly #cursor: TreeCursor;
  #starts = new Uint32Array(64);
  readonly #limits: Pick<PackLimits, 'parentsFree' | 'parentsPerCommit'>;
  #commits = 0;
  #parents = 0;
  #graph: Buffer[] = [];
  /** Each in memory of its own, which can be given to another thread. */
  #graphBlocks: Buffer<ArrayBuffer>[] = [];
  #graphBytes = 0;

  constructor(format: ObjectFormat, limits: Pick<PackLimits, 'parentsFree' | 'parentsPerCommit'>) {
    this.#format = format;
    this.#limits = limits;
    this.#oids = new OidMap(oidLength(format), 512);
    this.#cursor = new TreeCursor(format);
  }

  /** Makes room at once for the links of a pack of so many objects: grown step by step, what was too small stands about as garbage. */
  reserve(objects: number): void {
    this.#oids.reserve(Math.max(objects - this.#oids.size, 0));
    this.#widenMarks(objects);
  }

  #widenMarks(count: number): void {
    const wider = new Uint16Array(Math.max(count, this.#marks.length));
    wider.set(this.#marks);
    this.#marks = wider;
  }

  #mark(source: Uint8Array, at: number, bits: number): number {
    const index = this.#oids.add(source, at);
    if (index >= this.#marks.length) this.#widenMarks(this.#marks.length * 2);
    const before = this.#marks[index]!;
    this.#marks[index] = before | bits;
    return before;
  }

  /** Takes the links of one object. @throws PackError when it cannot be read as what it is. */
  visit(oid: Buffer, kind: number, data: Buffer): void {
    if (kind === KIND_BLOB) return;
    try {
      if (kind === KIND_TREE) this.#visitTree(data);
      else if (kind === KIND_COMMIT) this.#visitCommit(oid, data);
      else this.#visitTag(oid, data);
    } catch (error) {
      if (codeOf(error) !== 'bad-object') throw error;
      throw new PackError(
        `${kindName(kind)} ${oid.toString('hex')}: ${messageOf(error)}`,
        { oid: oid.toString('hex') },
        { cause: error },
      );
    }
  }

  #visitTree(data: Buffer): void {
    const cursor = this.#cursor;
    cursor.reset(data);
    while (cursor.next()) this.visitEntry(data, cursor);
  }

  /** Takes the link of the tree entry at a cursor. */
  visitEntry(data: Buffer, cursor: TreeCursor): void {
    const kind = kindOfMode(cursor.mode);
    if (kind !== 0) this.#mark(data, cursor.oidStart, 1 << kind);
  }

  /** Where the entries of a tree start that was visited: a view that the next call overwrites. */
  shapeOf(data: Buffer): TreeShape {
    const cursor = this.#cursor;
    let count = 0;
    cursor.reset(data);
    while (cursor.next()) this.#addStart(count++, cursor.entryStart);
    this.#addStart(count, data.length);
    return this.#starts.subarray(0, count + 1);
  }

  #addStart(at: number, start: number): void {
    if (at === this.#starts.length) {
      const wider = new Uint32Array(2 * at);
      wider.set(this.#starts);
      this.#starts = wider;
    }
    this.#starts[at] = start;
  }

  #visitCommit(oid: Buffer, data: Buffer): void {
    const commit = parseCommit(data, this.#format);
    if (commit.parents.length > PARENTS_MAX) {
      throw new PackError(`commit ${oid.toString('hex')} has ${commit.parents.length} parents, the limit is ${PARENTS_MAX}`);
    }
    this.#countParents(commit.parents.length);
    this.#mark(commit.tree, 0, 1 << KIND_TREE);
    for (const parent of commit.parents) this.#mark(parent, 0, 1 << KIND_COMMIT);
    this.#record(encodeCommitRecord(oid, commit));
  }

  /** A delta of a few bytes repeats the many parents of its base: what a commit adds to the graph has nothing to do with its bytes in the pack. */
  #countParents(count: number): void {
    this.#parents += count;
    this.#commits++;
    const limit = this.#limits.parentsFree + this.#limits.parentsPerCommit * this.#commits;
    if (this.#parents <= limit) return;
    throw new PackError(`${this.#commits} commits have ${this.#parents} parents, the limit is ${limit}`, { limit });
  }

  #visitTag(oid: Buffer, data: Buffer): void {
    const tag = parseTag(data, this.#format);
    this.#mark(tag.object, 0, 1 << kindNumber(tag.kind));
    this.#record(encodeTagRecord(oid, tag.object, kindNumber(tag.kind)));
  }

  #record(record: Buffer): void {
    this.#graph.push(record);
    this.#graphBytes += record.length;
    if (this.#graphBytes >= GRAPH_BLOCK_BYTES) this.#closeGraphBlock();
  }

  #closeGraphBlock(): void {
    if (this.#graph.length === 0) return;
    const block = Buffer.allocUnsafeSlow(this.#graphBytes);
    let at = 0;
    for (const record of this.#graph) at += record.copy(block, at);
    this.#graphBlocks.push(block);
    this.#graph = [];
    this.#graphBytes = 0;
  }

  /** What was gathered, for the collector of another thread. Nothing more can be taken by this one then. */
  gathered(): GatheredLinks {
    this.#closeGraphBlock();
    return { oids: this.#oids.slab(), marks: this.#marks.slice(0, this.#oids.size), graph: this.#graphBlocks };
  }

  /** Takes over what another one has gathered. */
  merge({ oids, marks, graph }: GatheredLinks): void {
    const width = this.#oids.oidBytes;
    for (let i = 0; i < marks.length; i++) this.#mark(oids, i * width, marks[i]!);
    for (const block of graph) this.#graphBlocks.push(Buffer.from(block.buffer, block.byteOffset, block.length));
  }

  /**
   * Compares the links with what the pack holds. A link may ask for another kind than the object has: it is a link out of the pack then.
   * `apart` are blobs of the push that are no entries, each once.
   */
  finish(entries: EntryTable, apart: readonly Buffer[] = []): LinkSummary {
    this.#closeGraphBlock();
    const width = entries.oidBytes;
    const sources: Buffer[] = [];
    const duplicates: number[] = [];
    for (const oid of apart) {
      const before = this.#mark(oid, 0, IN_PACK | (IN_PACK_KIND * KIND_BLOB));
      if (before === 0) sources.push(oid);
    }
    for (let i = 0; i < entries.count; i++) {
      const before = this.#mark(entries.oids, i * width, IN_PACK | (IN_PACK_KIND * entries.kinds[i]!));
      if (before & IN_PACK) duplicates.push(i);
      else if (before === 0) sources.push(entries.oid(i));
    }
    const outside: Buffer[] = [];
    const kinds: number[] = [];
    for (let index = 0; index < this.#oids.size; index++) {
      const marks = this.#marks[index]!;
      const own = marks & IN_PACK ? marks >> 8 : 0;
      for (let kind = KIND_COMMIT; kind <= KIND_TAG; kind++) {
        if (!(marks & (1 << kind)) || kind === own) continue;
        outside.push(this.#oids.oid(index));
        kinds.push(kind);
      }
    }
    return {
      frontier: { oids: Buffer.concat(outside), kinds: Uint8Array.from(kinds) },
      sources: Buffer.concat(sources),
      duplicates: laterOnes(duplicates, entries),
      graph: this.#graphBlocks,
    };
  }
}

/**
 * Of entries with one oid all but the one that was resolved first, so that no kept delta can end up on itself: its base was resolved
 * before it, and what is kept in the base's place no later than that. `repeated` are the entries whose oid an earlier entry has.
 */
function laterOnes(repeated: readonly number[], entries: EntryTable): Uint32Array {
  if (repeated.length === 0) return new Uint32Array(0);
  const wanted = new Set(repeated.map((i) => entries.hex(i)));
  const kept = new Map<string, number>();
  const later: number[] = [];
  for (let i = 0; i < entries.count; i++) {
    const hex = entries.hex(i);
    if (!wanted.has(hex)) continue;
    const other = kept.get(hex);
    if (other === undefined) kept.set(hex, i);
    else if (entries.turns[i]! < entries.turns[other]!) {
      kept.set(hex, i);
      later.push(other);
    } else later.push(i);
  }
  return Uint32Array.from(later).sort();
}
