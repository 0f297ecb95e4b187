import { createHash } from 'node:crypto';
import { KIND_BLOB, KIND_COMMIT, KIND_TAG, KIND_TREE, type ObjectFormat, oidLength } from '../object/mod.ts';
import { BitSet } from './bitset.ts';
import { badBitmap, checkEncoded, encodeBits, encodedBytes, orEncoded, xorEncoded } from './roaring.ts';

/**
 * The reachability bitmaps of one pack, a part of a `.reach` sidecar. A position is the place of an object in the pack: entries in order of
 * offset, then chunked blobs in order of oid. All numbers big-endian; `w` is 20 or 32; sets as roaring.ts has them.
 *
 *   4 bytes   "RCHP"
 *   4 bytes   version: 1
 *   4 bytes   objects of the pack, chunked blobs included
 *   w bytes   the pack's trailer
 *   4 × set   the commits, the trees, the blobs, the tags
 *   4 bytes   number of commits with bitmaps; then each, parents before children:
 *     4 bytes   its position
 *     1 byte    x: its bitmap is turned over (XOR) with the full one of the x-th commit before; 0: it is the full one
 *     set       what the commit reaches, itself among it
 *   w bytes   hash of all before, in the pool's object format
 */
const MAGIC = Buffer.from('RCHP');
const VERSION = 1;
const HEADER_BYTES = 12;
const KINDS = [KIND_COMMIT, KIND_TREE, KIND_BLOB, KIND_TAG] as const;
/** How many bitmaps are put together to make one, at most. */
const CHAIN_MAX = 8;
/** Neighbours that a bitmap is compared with for the smallest difference. */
const NEIGHBOURS = 6;

/** Puts a part together, bitmap by bitmap. */
export class ReachWriter {
  readonly #format: ObjectFormat;
  readonly #parts: Buffer[] = [];
  /** Of each bitmap: where it is in #parts, and the number of the one that it is turned over with (-1: none). */
  readonly #places: number[] = [];
  readonly #bases: number[] = [];
  readonly #numbers = new Map<number, number>();
  readonly #scratch: BitSet;
  readonly #recent: { readonly set: BitSet; readonly chain: number }[] = [];

  constructor(format: ObjectFormat, checksum: Buffer, kinds: Uint8Array) {
    this.#format = format;
    this.#scratch = new BitSet(kinds.length);
    const header = Buffer.alloc(HEADER_BYTES);
    MAGIC.copy(header);
    header.writeUInt32BE(VERSION, 4);
    header.writeUInt32BE(kinds.length, 8);
    this.#parts.push(header, checksum);
    const types = new Map(KINDS.map((kind) => [kind as number, new BitSet(kinds.length)]));
    for (const [position, kind] of kinds.entries()) types.get(kind)!.add(position);
    for (const kind of KINDS) this.#parts.push(encodeBits(types.get(kind)!));
    // Here comes their number, once it is known.
    this.#parts.push(Buffer.alloc(4));
  }

  /** Bitmaps come parents before children. Nobody may change the set any more. */
  add(position: number, set: BitSet): void {
    let best: Buffer | null = null;
    let bestBytes = encodedBytes(set);
    let distance = 0;
    let chain = 0;
    for (const [i, before] of this.#recent.entries()) {
      if (before.chain + 1 >= CHAIN_MAX) continue;
      const difference = set.clone();
      difference.xor(before.set);
      const bytes = encodedBytes(difference);
      if (bytes >= bestBytes) continue;
      bestBytes = bytes;
      best = encodeBits(difference);
      distance = i + 1;
      chain = before.chain + 1;
    }
    const head = Buffer.alloc(5);
    head.writeUInt32BE(position);
    head[4] = distance;
    const number = this.#places.length;
    this.#numbers.set(position, number);
    this.#bases.push(distance === 0 ? -1 : number - distance);
    this.#places.push(this.#parts.length + 1);
    this.#parts.push(head, best ?? encodeBits(set));
    this.#recent.unshift({ set, chain });
    if (this.#recent.length > NEIGHBOURS) this.#recent.pop();
  }

  /** Adds what a commit reaches whose bitmap was added before. False when there is none. */
  addReached(into: BitSet, position: number): boolean {
    const number = this.#numbers.get(position);
    if (number === undefined) return false;
    this.#scratch.clear();
    for (let i = number; i >= 0; i = this.#bases[i]!) xorEncoded(this.#scratch, this.#parts[this.#places[i]!]!, 0);
    into.or(this.#scratch);
    return true;
  }

  finish(): Buffer {
    this.#parts[2 + KINDS.length]!.writeUInt32BE(this.#places.length);
    const body = Buffer.concat(this.#parts);
    return Buffer.concat([body, createHash(this.#format).update(body).digest()]);
  }
}

/** The bitmaps of one pack, as they are stored: a few MB for a large pack. One is put together when it is asked for. */
export class ReachBitmaps {
  readonly objectCount: number;
  readonly #bytes: Buffer;
  readonly #types = new Map<number, BitSet>();
  /** Of each bitmap: the position of its commit, where its set begins, and the number of the bitmap that it is turned over with (-1: none). */
  readonly #positions: Uint32Array;
  readonly #starts: Uint32Array;
  readonly #bases: Int32Array;
  readonly #numbers = new Map<number, number>();
  readonly #scratch: BitSet;

  /** @throws PackhouseError `bad-bitmap` unless the bytes are bitmaps of the pack with this trailer and this many objects */
  constructor(bytes: Buffer, format: ObjectFormat, checksum: Buffer, objectCount: number) {
    const width = oidLength(format);
    const end = bytes.length - width;
    if (end < HEADER_BYTES + width + 4 || !bytes.subarray(0, 4).equals(MAGIC) || bytes.readUInt32BE(4) !== VERSION)
      throw badBitmap('file has another header', 0);
    if (!createHash(format).update(bytes.subarray(0, end)).digest().equals(bytes.subarray(end)))
      throw badBitmap('file has another hash than it says', end);
    if (!bytes.subarray(HEADER_BYTES, HEADER_BYTES + width).equals(checksum))
      throw badBitmap('file is of another pack', HEADER_BYTES);
    if (bytes.readUInt32BE(8) !== objectCount) throw badBitmap('file is of a pack with another number of objects', 8);
    this.objectCount = objectCount;
    this.#bytes = bytes;
    this.#scratch = new BitSet(objectCount);
    let at = HEADER_BYTES + width;
    for (const kind of KINDS) {
      const next = checkEncoded(bytes, at, end, objectCount);
      const type = new BitSet(objectCount);
      orEncoded(type, bytes, at);
      this.#types.set(kind, type);
      at = next;
    }
    if (end - at < 4) throw badBitmap('file is cut', at);
    const count = bytes.readUInt32BE(at);
    at += 4;
    // Each takes nine bytes at least.
    if (count > (end - at) / 9) throw badBitmap('file is cut', at);
    this.#positions = new Uint32Array(count);
    this.#starts = new Uint32Array(count);
    this.#bases = new Int32Array(count);
    this.#readEntries(at, end);
  }

  #readEntries(start: number, end: number): void {
    const commits = this.#types.get(KIND_COMMIT)!;
    const chains = new Uint8Array(this.#positions.length);
    let at = start;
    for (let i = 0; i < this.#positions.length; i++) {
      if (end - at < 9) throw badBitmap('file is cut', at);
      const position = this.#bytes.readUInt32BE(at);
      const distance = this.#bytes[at + 4]!;
      if (position >= this.objectCount || !commits.has(position) || this.#numbers.has(position))
        throw badBitmap('is of no commit', at);
      if (distance > i || (distance > 0 && chains[i - distance]! + 1 >= CHAIN_MAX)) throw badBitmap('hangs on none before', at);
      chains[i] = distance === 0 ? 0 : chains[i - distance]! + 1;
      this.#positions[i] = position;
      this.#numbers.set(position, i);
      this.#bases[i] = distance === 0 ? -1 : i - distance;
      this.#starts[i] = at + 5;
      at = checkEncoded(this.#bytes, at + 5, end, this.objectCount);
    }
    if (at !== end) throw badBitmap('file goes on', at);
  }

  get bytes(): number {
    return this.#bytes.length + this.#positions.length * 60 + (this.objectCount / 8) * 5;
  }

  /** Positions of the commits that have bitmaps, parents before children. */
  get commits(): Uint32Array {
    return this.#positions;
  }

  hasBitmap(position: number): boolean {
    return this.#numbers.has(position);
  }

  /** Positions of all objects of a kind: not to be changed. */
  ofKind(kind: number): BitSet {
    return this.#types.get(kind)!;
  }

  /** Adds what the commit at a position reaches. False when it has no bitmap. */
  addReached(into: BitSet, position: number): boolean {
    const number = this.#numbers.get(position);
    if (number === undefined) return false;
    if (this.#bases[number]! < 0) {
      orEncoded(into, this.#bytes, this.#starts[number]!);
      return true;
    }
    const set = this.#scratch;
    set.clear();
    for (let i = number; i >= 0; i = this.#bases[i]!) xorEncoded(set, this.#bytes, this.#starts[i]!);
    into.or(set);
    return true;
  }
}
