import { assert } from '../base/mod.ts';

/**
 * A set of raw oids, each with a dense index 0, 1, 2 … in order of insertion. Open addressing over one slab: 700,000 SHA-1 names
 * cost about 22 MB, where a Map of hex strings costs over 100. Oids are uniformly distributed, so four of their bytes are the hash;
 * an attacker who grinds colliding prefixes only slows their own push, and probing is capped by the table's load of one half.
 */
export class OidMap {
  readonly oidBytes: number;
  #slab: Buffer;
  #table: Int32Array;
  #mask: number;
  #size = 0;
  readonly #salt: number;

  constructor(oidBytes: number, expected = 16) {
    this.oidBytes = oidBytes;
    let capacity = 32;
    while (capacity < expected * 2) capacity *= 2;
    this.#table = new Int32Array(capacity).fill(-1);
    this.#mask = capacity - 1;
    this.#slab = Buffer.allocUnsafe(Math.max(16, expected) * oidBytes);
    this.#salt = (Math.random() * 12) | 0;
  }

  get size(): number {
    return this.#size;
  }

  #hash(source: Uint8Array, at: number): number {
    const p = at + this.#salt;
    return ((source[p]! | (source[p + 1]! << 8) | (source[p + 2]! << 16) | (source[p + 3]! << 24)) ^ (source[at + 16]! << 7)) >>> 0;
  }

  #equal(index: number, source: Uint8Array, at: number): boolean {
    const slab = this.#slab;
    const start = index * this.oidBytes;
    for (let i = 0; i < this.oidBytes; i++) if (slab[start + i] !== source[at + i]) return false;
    return true;
  }

  /** The index of the oid that starts at `source[at]`, or -1. */
  get(source: Uint8Array, at = 0): number {
    const table = this.#table;
    let slot = this.#hash(source, at) & this.#mask;
    for (;;) {
      const index = table[slot]!;
      if (index < 0) return -1;
      if (this.#equal(index, source, at)) return index;
      slot = (slot + 1) & this.#mask;
    }
  }

  has(source: Uint8Array, at = 0): boolean {
    return this.get(source, at) >= 0;
  }

  /** Inserts the oid when it is new; its index either way. `size` tells which: it grew when the oid was new. */
  add(source: Uint8Array, at = 0): number {
    let slot = this.#hash(source, at) & this.#mask;
    for (;;) {
      const index = this.#table[slot]!;
      if (index < 0) break;
      if (this.#equal(index, source, at)) return index;
      slot = (slot + 1) & this.#mask;
    }
    const index = this.#size++;
    const width = this.oidBytes;
    if (this.#slab.length < this.#size * width) {
      const grown = Buffer.allocUnsafe(this.#slab.length * 2);
      this.#slab.copy(grown);
      this.#slab = grown;
    }
    for (let i = 0; i < width; i++) this.#slab[index * width + i] = source[at + i]!;
    this.#table[slot] = index;
    if (this.#size * 2 > this.#table.length) this.#grow();
    return index;
  }

  #grow(): void {
    const capacity = this.#table.length * 2;
    assert(capacity <= 2 ** 30, 'OidMap holds at most 2^29 oids');
    const table = new Int32Array(capacity).fill(-1);
    const mask = capacity - 1;
    for (let index = 0; index < this.#size; index++) {
      let slot = this.#hash(this.#slab, index * this.oidBytes) & mask;
      while (table[slot]! >= 0) slot = (slot + 1) & mask;
      table[slot] = index;
    }
    this.#table = table;
    this.#mask = mask;
  }

  /** The raw oid with that index: a view that the next `add` may detach from the map; copy it to keep it. */
  oid(index: number): Buffer {
    return this.#slab.subarray(index * this.oidBytes, (index + 1) * this.oidBytes);
  }

  hex(index: number): string {
    return this.#slab.toString('hex', index * this.oidBytes, (index + 1) * this.oidBytes);
  }

  /** All oids, one after the other, in order of insertion: a view. */
  slab(): Buffer {
    return this.#slab.subarray(0, this.#size * this.oidBytes);
  }
}
