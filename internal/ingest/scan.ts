import { createHash, type Hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { codeOf, messageOf } from '../base/mod.ts';
import { KIND_BLOB, type ObjectFormat, oidLength } from '../object/mod.ts';
import { ENTRY_HEADER_BYTES_MAX, emptyEntryHeader, type Inflater, readEntryHeader } from '../packformat/mod.ts';
import { EntryTable } from './entry-table.ts';
import { largeInline, PackError } from './errors.ts';
import { HEADER_ROOM } from './hash-slab.ts';
import type { LargeObjects } from './large-objects.ts';
import { objectLimit, type PackLimits, type WorkMeter } from './limits.ts';
import type { ObjectNames, StreamedName } from './object-names.ts';
import type { PackSource } from './pack-source.ts';
import { STEP_BYTES, type Tools } from './tools.ts';

/** An entry that is streamed, as far as it has arrived. */
interface LargeEntry {
  readonly start: number;
  readonly type: number;
  readonly size: number;
  readonly headerBytes: number;
  /** A commit, tree or tag is gathered whole. */
  readonly whole: Buffer | null;
  readonly name: StreamedName | null;
  readonly isCut: boolean;
  position: number;
  produced: number;
  crc: number;
}

/**
 * The first stage of ingest: finds every entry of a pack while its bytes arrive, inflates it to find its end, and names the objects
 * that are not deltas. Deltas are only measured; `resolve` makes objects of them.
 */
export class PackScanner {
  readonly entries: EntryTable;
  readonly #source: PackSource;
  readonly #limits: PackLimits;
  readonly #names: ObjectNames;
  readonly #inflater: Inflater;
  readonly #meter: WorkMeter;
  readonly #cutBytesMin: number;
  readonly #large: LargeObjects | null;
  readonly #hash: Hash;
  readonly #header = emptyEntryHeader();
  readonly #slab: Buffer;
  #announced = -1;
  #offset = 0;
  #hashed = 0;
  /** The last entry that was charged for: before it is read, and once however often that is tried. */
  #charged = -1;
  /** The entry that is being streamed and has not arrived whole. */
  #partial: LargeEntry | null = null;
  /** Not before this many bytes have arrived is the current entry worth another try. */
  #retryAt = 0;
  version = 2;
  /** The pack's trailing checksum, once it has been read and found right. */
  checksum: Buffer | null = null;

  constructor(
    source: PackSource,
    format: ObjectFormat,
    limits: PackLimits,
    tools: Tools,
    meter: WorkMeter,
    names: ObjectNames,
    cutBytesMin: number,
    large: LargeObjects | null,
    isShared: boolean,
  ) {
    this.#source = source;
    this.#limits = limits;
    this.#inflater = tools.inflater;
    this.#slab = tools.slab;
    this.#meter = meter;
    this.#names = names;
    this.#cutBytesMin = cutBytesMin;
    this.#large = large;
    this.entries = new EntryTable(oidLength(format), isShared);
    this.#hash = createHash(format);
  }

  /** The number of entries that the pack's header announces, or -1 before it has arrived. */
  get announced(): number {
    return this.#announced;
  }

  /**
   * Takes in what has arrived since the last call; `final` says that nothing more will. True once the whole pack has been read.
   * @throws PackError
   */
  advance(final: boolean): boolean {
    if (this.checksum !== null) return true;
    const { available } = this.#source;
    this.#meter.grow(available);
    if (this.#announced < 0 && !this.#readHeader(available, final)) return false;
    while (this.entries.count < this.#announced) {
      if (!final && available < this.#retryAt) return false;
      if (!this.#readEntry(available)) {
        if (final) throw new PackError(`pack ends inside the entry at offset ${this.#offset}`, { offset: this.#offset });
        this.#retryAt = this.#partial !== null ? available + 1 : this.#offset + Math.max(4096, 2 * (available - this.#offset));
        return false;
      }
    }
    return this.#readTrailer(available, final);
  }

  #readHeader(available: number, final: boolean): boolean {
    if (available < 12) {
      if (final) throw new PackError(`pack of ${available} bytes is too short for its header`, { available });
      return false;
    }
    const { buffer, at } = this.#source.window(0, 12);
    if (buffer.toString('latin1', at, at + 4) !== 'PACK') throw new PackError('pack does not begin with PACK', { offset: 0 });
    const version = buffer.readUInt32BE(at + 4);
    if (version !== 2 && version !== 3) throw new PackError(`pack version ${version} is not supported`, { version });
    const count = buffer.readUInt32BE(at + 8);
    if (count > this.#limits.objectsMax) {
      throw new PackError(`pack announces ${count} objects, the limit is ${this.#limits.objectsMax}`, { count });
    }
    this.#announced = count;
    this.entries.countMax = count;
    this.version = version;
    this.#offset = 12;
    return true;
  }

  #readEntry(available: number): boolean {
    const start = this.#offset;
    try {
      const length = this.#partial !== null ? this.#readOn(this.#partial, available) : this.#readFirst(start, available);
      if (length < 0) return false;
      this.#offset = start + length;
      this.entries.end = this.#offset;
      return true;
    } catch (error) {
      if (error instanceof PackError) throw error;
      const code = codeOf(error);
      if (code === 'zlib' || code === 'zlib-size' || code === 'pack-entry') {
        throw new PackError(`entry at offset ${start}: ${messageOf(error)}`, { offset: start }, { cause: error });
      }
      throw error;
    }
  }

  /** Reads an entry from its header on; its length in the pack, or -1 when it has not arrived whole. */
  #readFirst(start: number, available: number): number {
    const { buffer, at, end } = this.#source.window(start, ENTRY_HEADER_BYTES_MAX);
    const header = this.#header;
    if (!readEntryHeader(buffer, at, end, this.entries.oidBytes, header)) return -1;
    this.#checkHeader(start);
    if (this.entries.count > this.#charged) {
      this.#meter.take(header.size);
      this.#charged = this.entries.count;
    }
    const isCut = header.type === KIND_BLOB && header.size >= this.#cutBytesMin;
    if (isCut && this.#large === null) throw largeInline();
    return header.size <= STEP_BYTES && !isCut ? this.#readSmall(start, available) : this.#readLarge(start, available, isCut);
  }

  #checkHeader(start: number): void {
    const { type, size, distance } = this.#header;
    const limit = objectLimit(this.#limits, type <= 4 ? type : 0);
    if (size > limit)
      throw new PackError(`entry at offset ${start} claims ${size} bytes, the limit is ${limit}`, { offset: start, size, limit });
    if (type === 6 && (distance <= 0 || this.entries.indexAt(start - distance) < 0)) {
      throw new PackError(`delta at offset ${start} names a base at ${start - distance}, where no entry starts`, {
        offset: start,
      });
    }
  }

  /** Inflates an entry whose object fits the slab; its length in the pack, or -1 when it has not arrived whole. */
  #readSmall(start: number, available: number): number {
    const { type, size, headerBytes } = this.#header;
    // zlib's worst case for stored blocks, and some room for a clumsy encoder; past that the streaming path takes over.
    const likely = headerBytes + size + (size >>> 8) + 64;
    const { buffer, at, end } = this.#source.window(start, Math.min(likely, available - start));
    const slab = this.#slab;
    const consumed = this.#inflater.inflateInto(buffer, at + headerBytes, end, slab, HEADER_ROOM, size);
    if (consumed < 0) return start + (end - at) < available ? this.#readLarge(start, available, false) : -1;
    const length = headerBytes + consumed;
    const index = this.entries.push(start, type, headerBytes, size);
    this.entries.crcs[index] = crc32(buffer.subarray(at, at + length));
    if (type <= 4) this.#names.take(index, type, slab, HEADER_ROOM, size);
    return length;
  }

  /** Streams an entry of any size. Commits, trees and tags are gathered whole, within their limit; blobs and deltas are not. */
  #readLarge(start: number, available: number, isCut: boolean): number {
    const { type, size, headerBytes } = this.#header;
    const head = this.#source.window(start, headerBytes);
    this.#partial = {
      start,
      type,
      size,
      headerBytes,
      whole: type <= 4 && type !== KIND_BLOB ? Buffer.allocUnsafe(HEADER_ROOM + size + 1) : null,
      name: type === KIND_BLOB ? this.#names.begin(type, size) : null,
      isCut,
      position: start + headerBytes,
      produced: 0,
      crc: crc32(head.buffer.subarray(head.at, head.at + headerBytes)),
    };
    this.#inflater.begin();
    return this.#readOn(this.#partial, available);
  }

  /** Goes on where what had arrived ended; the entry's length, or -1 when more must arrive. */
  #readOn(entry: LargeEntry, available: number): number {
    const { start, size, whole } = entry;
    for (;;) {
      const { buffer, at, end } = this.#source.window(entry.position, Math.min(STEP_BYTES, available - entry.position));
      if (at >= end) return -1;
      const output = whole ?? this.#slab;
      const from = whole === null ? HEADER_ROOM : HEADER_ROOM + entry.produced;
      const room = Math.min(STEP_BYTES, size - entry.produced + 1);
      const step = this.#inflater.step(buffer, at, end, output, from, from + room);
      entry.produced += step.produced;
      if (entry.produced > size)
        throw new PackError(`entry at offset ${start} inflates to more than the ${size} bytes it claims`, { offset: start });
      const bytes = output.subarray(from, from + step.produced);
      entry.name?.update(bytes);
      if (entry.isCut) this.#large!.write(bytes);
      entry.crc = crc32(buffer.subarray(at, at + step.consumed), entry.crc);
      entry.position += step.consumed;
      if (step.consumed < end - at && step.produced < room) break;
    }
    if (entry.produced !== size) {
      throw new PackError(`entry at offset ${start} inflates to ${entry.produced} bytes, not the ${size} it claims`, {
        offset: start,
      });
    }
    this.#partial = null;
    this.#record(entry);
    return entry.position - start;
  }

  #record({ start, type, headerBytes, size, crc, name, whole, isCut }: LargeEntry): void {
    const index = this.entries.push(start, type, headerBytes, size);
    this.entries.crcs[index] = crc;
    if (isCut) this.#large!.finish(index);
    if (name !== null) name.digest().copy(this.entries.oids, index * this.entries.oidBytes);
    if (whole !== null) this.#names.take(index, type, whole, HEADER_ROOM, size);
  }

  #readTrailer(available: number, final: boolean): boolean {
    const width = this.entries.oidBytes;
    const end = this.entries.end;
    if (available < end + width) {
      if (final) throw new PackError(`pack ends before its checksum at offset ${end}`, { offset: end });
      return false;
    }
    while (this.#hashed < end) {
      const { buffer, at, end: windowEnd } = this.#source.window(this.#hashed, Math.min(STEP_BYTES, end - this.#hashed));
      const length = Math.min(windowEnd - at, end - this.#hashed);
      this.#hash.update(buffer.subarray(at, at + length));
      this.#hashed += length;
    }
    const trailer = this.#source.window(end, width);
    const claimed = Buffer.from(trailer.buffer.subarray(trailer.at, trailer.at + width));
    const actual = this.#hash.digest();
    if (!actual.equals(claimed)) {
      throw new PackError(`pack checksum is ${claimed.toString('hex')}, its bytes have ${actual.toString('hex')}`, {
        offset: end,
      });
    }
    this.checksum = claimed;
    return true;
  }
}
