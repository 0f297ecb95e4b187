import { assert } from '../base/mod.ts';

/** How many entries the table has room for at first; it doubles as entries really arrive, whatever the pack's header claims. */
const FIRST_CAPACITY = 64;

/** One row an entry, in pack order, as typed arrays: about 75 bytes an entry. */
export class EntryTable {
  readonly oidBytes: number;
  count = 0;
  /** First byte of the entry in the pack; the entry ends where the next begins. */
  offsets = new Float64Array(FIRST_CAPACITY);
  /** Entry type as in the pack: 1 to 4, 6 (`ofs` delta), 7 (`ref` delta). */
  types = new Uint8Array(FIRST_CAPACITY);
  /** Object kind, 0 until a delta is resolved. */
  kinds = new Uint8Array(FIRST_CAPACITY);
  headerBytes = new Uint8Array(FIRST_CAPACITY);
  /** Bytes of the entry's inflated stream. */
  streamSizes = new Float64Array(FIRST_CAPACITY);
  /** Bytes of the object; of a delta known once resolved. */
  sizes = new Float64Array(FIRST_CAPACITY);
  crcs = new Uint32Array(FIRST_CAPACITY);
  /** Of a delta: its turn among the deltas that were resolved, from 1; 0 for a whole object. A base's is always the lower one. */
  turns = new Uint32Array(FIRST_CAPACITY);
  oids: Buffer;
  /** Where the last entry ends. */
  end = 12;

  constructor(oidBytes: number) {
    this.oidBytes = oidBytes;
    this.oids = Buffer.alloc(FIRST_CAPACITY * oidBytes);
  }

  /** A new row; its index. */
  push(offset: number, type: number, headerBytes: number, streamSize: number): number {
    if (this.count === this.offsets.length) this.#grow();
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

  #grow(): void {
    const capacity = this.offsets.length * 2;
    const wider = <T extends Float64Array | Uint8Array | Uint32Array>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    this.offsets = wider(this.offsets, new Float64Array(capacity));
    this.types = wider(this.types, new Uint8Array(capacity));
    this.kinds = wider(this.kinds, new Uint8Array(capacity));
    this.headerBytes = wider(this.headerBytes, new Uint8Array(capacity));
    this.streamSizes = wider(this.streamSizes, new Float64Array(capacity));
    this.sizes = wider(this.sizes, new Float64Array(capacity));
    this.crcs = wider(this.crcs, new Uint32Array(capacity));
    this.turns = wider(this.turns, new Uint32Array(capacity));
    const oids = Buffer.alloc(capacity * this.oidBytes);
    this.oids.copy(oids);
    this.oids = oids;
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
