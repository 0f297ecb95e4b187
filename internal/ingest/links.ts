import { codeOf, messageOf } from '../base/mod.ts';
import {
  encodeCommitRecord,
  encodeTagRecord,
  KIND_BLOB,
  KIND_COMMIT,

  KIND_TREE,
  kindName,
  kindNumber,
  type ObjectFormat,
  OidMap,
  oidLength,
  parseCommit,
  parseTag,
  TreeCursor,
} from '../object/mod.ts';
import type { EntryTable } from './entry-table.ts';
import { PackError } from './errors.ts';

const MODE_TREE = 0o40000;
const MODE_GITLINK = 0o160000;
const MODE_TYPE = 0o170000;
const IN_PACK = 0x80;
const GRAPH_BLOCK_BYTES = 1 << 20;

/** What the pack links to outside itself. */
export interface Frontier {
  /** Raw oids, one after the other. */
  readonly oids: Buffer;
  /** For each: the one kind that the links ask for. */
  readonly kinds: Uint8Array;
}

export interface LinkSummary {
  readonly frontier: Frontier;
  /** Raw oids of the objects of the pack that no other object of the pack links to. */
  readonly sources: Buffer;
  /** Indexes of entries whose oid an earlier entry of the pack has. */
  readonly duplicates: Uint32Array;
  /** Graph records of the pack's commits and tags, in blocks of about 1 MiB (internal/object, graph records). */
  readonly graph: readonly Buffer[];
}

/**
 * Gathers the links of every commit, tree and tag of a pack as they pass. One map holds what is linked to and what is there, so the
 * frontier of 700,000 objects costs one pass and no second read of the pack.
 */
export class LinkCollector {
  readonly #format: ObjectFormat;
  readonly #oids: OidMap;
  /** A bit for each kind that links ask for (1 << kind), IN_PACK for objects of the pack. */
  #marks = new Uint8Array(1024);
  readonly #cursor: TreeCursor;
  #graph: Buffer[] = [];
  #graphBlocks: Buffer[] = [];
  #graphBytes = 0;

  constructor(format: ObjectFormat) {
    this.#format = format;
    this.#oids = new OidMap(oidLength(format), 512);
    this.#cursor = new TreeCursor(format);
  }

  #mark(source: Uint8Array, at: number, bits: number): number {
    const index = this.#oids.add(source, at);
    if (index >= this.#marks.length) {
      const wider = new Uint8Array(this.#marks.length * 2);
      wider.set(this.#marks);
      this.#marks = wider;
    }
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
      throw new PackError(`${kindName(kind)} ${oid.toString('hex')}: ${messageOf(error)}`, { oid: oid.toString('hex') }, { cause: error });
    }
  }

  #visitTree(data: Buffer): void {
    const cursor = this.#cursor;
    cursor.reset(data);
    while (cursor.next()) {
      const type = cursor.mode & MODE_TYPE;
      if (type === MODE_GITLINK) continue;
      this.#mark(data, cursor.oidStart, 1 << (type === MODE_TREE ? KIND_TREE : KIND_BLOB));
    }
  }

  #visitCommit(oid: Buffer, data: Buffer): void {
    const commit = parseCommit(data, this.#format);
    this.#mark(commit.tree, 0, 1 << KIND_TREE);
    for (const parent of commit.parents) this.#mark(parent, 0, 1 << KIND_COMMIT);
    this.#record(encodeCommitRecord(oid, commit));
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
    this.#graphBlocks.push(Buffer.concat(this.#graph));
    this.#graph = [];
    this.#graphBytes = 0;
  }

  /** Compares the links with what the pack holds. @throws PackError when a link asks for another kind than the object has. */
  finish(entries: EntryTable): LinkSummary {
    this.#closeGraphBlock();
    const width = entries.oidBytes;
    const duplicates: number[] = [];
    const sources: Buffer[] = [];
    for (let i = 0; i < entries.count; i++) {
      const before = this.#mark(entries.oids, i * width, IN_PACK);
      const kind = entries.kinds[i]!;
      if (before & IN_PACK) duplicates.push(i);
      else if (before === 0) sources.push(entries.oid(i));
      else if (before !== 1 << kind) {
        throw new PackError(`object ${entries.hex(i)} is a ${kindName(kind)}, a link names it as another kind`, { oid: entries.hex(i) });
      }
    }
    const outside: Buffer[] = [];
    const kinds: number[] = [];
    for (let index = 0; index < this.#oids.size; index++) {
      const marks = this.#marks[index]!;
      if (marks & IN_PACK) continue;
      const kind = Math.log2(marks);
      if (!Number.isInteger(kind)) {
        throw new PackError(`links name ${this.#oids.hex(index)} as objects of different kinds`, { oid: this.#oids.hex(index) });
      }
      outside.push(this.#oids.oid(index));
      kinds.push(kind);
    }
    return {
      frontier: { oids: Buffer.concat(outside), kinds: Uint8Array.from(kinds) },
      sources: Buffer.concat(sources),
      duplicates: Uint32Array.from(duplicates),
      graph: this.#graphBlocks,
    };
  }
}

