import { assert } from '../base/mod.ts';

/** How many entries the table has room for at first; it widens as entries really arrive, whatever the pack's header claims. */
const FIRST_CAPACITY = 64;
/** With so many it widens by more than twice: memory that is not written yet is none, and every narrower table stands about as garbage. */
const LEAP_ENTRIES_MIN = 1 << 16;
const LEAP_FACTOR_MAX = 16;
const LEAP_BYTES_MAX = 256 << 20;
/** Bytes of a row besides its oid. */
const NUMBERS_BYTES = 35;

/** What several threads have of one table in shared memory. Each writes what it resolves, in rows of its own. */
export interface SharedEntries {
  readonly oidBytes: number;
  readonly count: number;
  readonly end: number;
  readonly offsets: Float64Array;
  readonly types: Uint8Array;
  readonly kinds: Uint8Array;
  readonly headerBytes: Uint8Array;
  readonly streamSizes: Float64Array;
  readonly sizes: Float64Array;
  readonly turns: Uint32Array;
  readonly oids: Uint8Array;
}

/** One row an entry, in pack order, as typed arrays in one piece of memory: 55 bytes an entry of SHA-1. */
export class EntryTable {
  readonly oidBytes: number;
  /** Its columns are in shared memory. */
  readonly isShared: boolean;
  count = 0;
  /** How many there will be at most, as far as that is known. */
  countMax = Infinity;
  /** First byte of the entry in the pack; the entry ends where the next begins. */
  offsets: Float64Array = new Float64Array(0);
  /** Entry type as in the pack: 1 to 4, 6 (`ofs` delta), 7 (`ref` delta). */
  types: Uint8Array = new Uint8Array(0);
  /** Object kind, 0 until a delta is resolved. */
  kinds: Uint8Array = new Uint8Array(0);
  headerBytes: Uint8Array = new Uint8Array(0);
  /** Bytes of the entry's inflated stream. */
  streamSizes: Float64Array = new Float64Array(0);
  /** Bytes of the object; of a delta known once resolved. */
  sizes: Float64Array = new Float64Array(0);
  crcs: Uint32Array = new Uint32Array(0);
  /** Of a delta: its turn among those that its thread resolved, from 1; 0 for a whole object. A base's is always the lower one. */
  turns: Uint32Array = new Uint32Array(0);
  oids: Buffer = Buffer.alloc(0);
  /** Where the last entry ends. */
  end = 12;

  constructor(oidBytes: number, isShared = false) {
    this.oidBytes = oidBytes;
    this.isShared = isShared;
    this.#grow(FIRST_CAPACITY);
  }

  /** The table of another thread, to which no row is added any more. */
  static of({ oids, ...columns }: SharedEntries): EntryTable {
    const table = Object.assign(new EntryTable(columns.oidBytes, true), columns);
    table.oids = Buffer.from(oids.buffer, oids.byteOffset, oids.length);
    return table;
  }

  /** What another thread makes its table of. */
  shared(): SharedEntries {
    assert(this.isShared, 'only shared memory can be given to another thread');
    const { oidBytes, count, end, offsets, types, kinds, headerBytes, streamSizes, sizes, turns, oids } = this;
    return { oidBytes, count, end, offsets, types, kinds, headerBytes, streamSizes, sizes, turns, oids };
  }

  /** A new row; its index. */
  push(offset: number, type: number, headerBytes: number, streamSize: number): number {
    if (this.count === this.offsets.length) this.#widen();
    const index = this.count++;
    this.offsets[index] = offset;
    this.types[index] = type;
    this.headerBytes[index] = headerBytes;
    this.streamSizes[index] = streamSize;
    if (type <= 4) {
      this.kinds[index] = type;
      this.sizes[index] = streamSize;
    }
    return index;
  }

  #widen(): void {
    const { count } = this;
    const leap = Math.min(LEAP_FACTOR_MAX * count, Math.floor(LEAP_BYTES_MAX / (NUMBERS_BYTES + this.oidBytes)));
    const wanted = count < LEAP_ENTRIES_MIN ? 2 * count : Math.max(2 * count, leap);
    this.#grow(Math.max(Math.min(wanted, this.countMax), count + 1));
  }

  #grow(capacity: number): void {
    const bytes = capacity * (NUMBERS_BYTES + this.oidBytes);
    const memory = this.isShared ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes);
    let at = 0;
    const column = <T extends Float64Array | Uint8Array | Uint32Array>(
      before: T,
      make: new (memory: ArrayBufferLike, at: number, length: number) => T,
      width = 1,
    ): T => {
      const wider = new make(memory, at, capacity * width);
      wider.set(before);
      at += wider.byteLength;
      return wider;
    };
    // The widest first, so that each begins at a multiple of its width.
    this.offsets = column(this.offsets, Float64Array);
    this.streamSizes = column(this.streamSizes, Float64Array);
    this.sizes = column(this.sizes, Float64Array);
    this.crcs = column(this.crcs, Uint32Array);
    this.turns = column(this.turns, Uint32Array);
    this.types = column(this.types, Uint8Array);
    this.kinds = column(this.kinds, Uint8Array);
    this.headerBytes = column(this.headerBytes, Uint8Array);
    const oids = column<Uint8Array>(this.oids, Uint8Array, this.oidBytes);
    this.oids = Buffer.from(memory, oids.byteOffset, oids.length);
  }

  /** Where the entry ends in the pack. */
  endOf(index: number): number {
    return index + 1 < this.count ? this.offsets[index + 1]! : this.end;
  }

  oid(index: number): Buffer {
    return this.oids.subarray(index * this.oidBytes, (index + 1) * this.oidBytes);
  }

  hex(index: number): string {
    return this.oids.toString('hex', index * this.oidBytes, (index + 1) * this.oidBytes);
  }

  /** The entry that starts at `offset`, or -1. */
  indexAt(offset: number): number {
    let low = 0;
    let high = this.count - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const value = this.offsets[middle]!;
      if (value === offset) return middle;
      if (value < offset) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** Indexes in ascending order of oid; of equal oids the earlier entry first. */
  order(): Uint32Array {
    assert(this.count < 2 ** 32, 'a pack has fewer than 2^32 entries');
    const order = new Uint32Array(this.count);
    for (let i = 0; i < order.length; i++) order[i] = i;
    const { oids, oidBytes } = this;
    // The first 48 bits decide almost always and are one exact number.
    const keys = new Float64Array(this.count);
    for (let i = 0; i < order.length; i++) keys[i] = oids.readUIntBE(i * oidBytes, 6);
    return order.sort((a, b) => {
      const difference = keys[a]! - keys[b]!;
      if (difference !== 0) return difference;
      return oids.compare(oids, b * oidBytes, (b + 1) * oidBytes, a * oidBytes, (a + 1) * oidBytes) || a - b;
    });
  }
}
