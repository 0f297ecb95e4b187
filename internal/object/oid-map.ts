import { getRandomValues } from 'node:crypto';
import { assert } from '../base/mod.ts';

/**
 * Keys of the hash, drawn anew by every process. Oids of objects are uniform, but the oids that trees and commits *link to* are
 * whatever a client writes, and a million of them in one slot would hold up the whole process. The hash is multilinear over 16-bit
 * halves, twice, the upper 16 bits of each sum (Thorup, "High Speed Hashing for Integers and Strings", vectors): universal, so
 * nobody without the keys can choose names that meet more often than by chance.
 */
const HALVES_MAX = 16;
const KEYS = new Int32Array(2 * HALVES_MAX);
getRandomValues(KEYS);

/**
 * A set of raw oids, each with a dense index 0, 1, 2 … in order of insertion. Open addressing over one slab: 700,000 SHA-1 names
 * cost about 22 MB, where a Map of hex strings costs over 100. At most half of the slots are taken.
 */
export class OidMap {
  readonly oidBytes: number;
  #slab: Buffer<ArrayBuffer>;
  #table: Int32Array;
  #mask: number;
  #size = 0;

  constructor(oidBytes: number, expected = 16) {
    this.oidBytes = oidBytes;
    let capacity = 32;
    while (capacity < expected * 2) capacity *= 2;
    this.#table = new Int32Array(capacity).fill(-1);
    this.#mask = capacity - 1;
    this.#slab = Buffer.allocUnsafeSlow(Math.max(16, expected) * oidBytes);
  }

  /** Another set of the same oids under the same indexes. */
  copy(): OidMap {
    const copy = new OidMap(this.oidBytes);
    copy.#slab = Buffer.from(this.#slab);
    copy.#table = this.#table.slice();
    copy.#mask = this.#mask;
    copy.#size = this.#size;
    return copy;
  }

  get size(): number {
    return this.#size;
  }

  #hash(source: Uint8Array, at: number): number {
    let low = 0;
    let high = 0;
    const halves = this.oidBytes >>> 1;
    for (let i = 0; i < halves; i++) {
      const half = source[at + 2 * i]! | (source[at + 2 * i + 1]! << 8);
      low = (low + Math.imul(half, KEYS[i]!)) | 0;
      high = (high + Math.imul(half, KEYS[HALVES_MAX + i]!)) | 0;
    }
    return ((high & 0xffff0000) | (low >>> 16)) >>> 0;
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
    if (this.#slab.length < this.#size * width) this.#growSlab(this.#slab.length * 2);
    for (let i = 0; i < width; i++) this.#slab[index * width + i] = source[at + i]!;
    this.#table[slot] = index;
    if (this.#size * 2 > this.#table.length) this.#growTable(this.#table.length * 2);
    return index;
  }

  /** Makes room for `more` oids at once. */
  reserve(more: number): void {
    const slabBytes = (this.#size + more) * this.oidBytes;
    if (slabBytes > this.#slab.length) this.#growSlab(Math.max(slabBytes, this.#slab.length * 2));
    let capacity = this.#table.length;
    while (capacity < (this.#size + more) * 2) capacity *= 2;
    if (capacity > this.#table.length) this.#growTable(capacity);
  }

  #growSlab(lengthBytes: number): void {
    const grown = Buffer.allocUnsafeSlow(lengthBytes);
    this.#slab.copy(grown);
    this.#slab = grown;
  }

  #growTable(capacity: number): void {
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
  slab(): Buffer<ArrayBuffer> {
    return this.#slab.subarray(0, this.#size * this.oidBytes);
  }
}
