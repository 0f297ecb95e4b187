import { OidMap } from '../object/mod.ts';
import { ENTRY_OFS_DELTA, ENTRY_REF_DELTA } from '../packformat/mod.ts';
import type { EntryTable } from './entry-table.ts';
import type { PackSource } from './pack-source.ts';

/** Lists of deltas that several threads read in shared memory. */
export type SharedLinks = Pick<DeltaLinks, 'firstChild' | 'sibling'>;

/** Which deltas of a pack hang on which of its entries, or wait for an oid. */
export class DeltaLinks {
  readonly #entries: EntryTable;
  readonly #source: PackSource;
  /** First child and next sibling of the deltas on a base in the pack, or on one oid; -1 ends a list. */
  readonly firstChild: Int32Array;
  readonly sibling: Int32Array;
  /** Base oids of `ref` deltas, and for each the first delta that waits for it. */
  readonly #waiting: OidMap;
  #waitingHead: Int32Array;
  /** How many entries are deltas. */
  deltas = 0;

  /** `links` are those of another thread, of a pack in which no delta names its base by oid. */
  constructor(entries: EntryTable, source: PackSource, links?: SharedLinks) {
    this.#entries = entries;
    this.#source = source;
    this.#waiting = new OidMap(entries.oidBytes);
    this.#waitingHead = new Int32Array(16);
    if (links !== undefined) {
      this.firstChild = links.firstChild;
      this.sibling = links.sibling;
      return;
    }
    const room = (): ArrayBufferLike =>
      entries.isShared ? new SharedArrayBuffer(entries.count * 4) : new ArrayBuffer(entries.count * 4);
    this.firstChild = new Int32Array(room()).fill(-1);
    this.sibling = new Int32Array(room()).fill(-1);
    this.#link();
  }

  #link(): void {
    const entries = this.#entries;
    for (let i = 0; i < entries.count; i++) {
      const type = entries.types[i]!;
      if (type < ENTRY_OFS_DELTA) continue;
      this.deltas++;
      const start = entries.offsets[i]!;
      const { buffer, at } = this.#source.window(start, entries.headerBytes[i]!);
      if (type === ENTRY_REF_DELTA) {
        const known = this.#waiting.size;
        const slot = this.#waiting.add(buffer, at + entries.headerBytes[i]! - entries.oidBytes);
        if (this.#waiting.size > known && slot >= this.#waitingHead.length) {
          const wider = new Int32Array(this.#waitingHead.length * 2);
          wider.set(this.#waitingHead);
          this.#waitingHead = wider;
        }
        this.sibling[i] = this.#waiting.size > known ? -1 : this.#waitingHead[slot]!;
        this.#waitingHead[slot] = i;
      } else {
        const base = entries.indexAt(start - this.#distance(buffer, at, entries.headerBytes[i]!));
        this.sibling[i] = this.firstChild[base]!;
        this.firstChild[base] = i;
      }
    }
  }

  /** The distance at the end of an `ofs` header that the scan has checked. */
  #distance(buffer: Buffer, at: number, headerBytes: number): number {
    let position = at;
    while (buffer[position++]! & 0x80);
    let distance = 0;
    const end = at + headerBytes;
    for (; position < end; position++) {
      const byte = buffer[position]!;
      distance += byte & 0x7f;
      if (byte & 0x80) distance = (distance + 1) * 128;
    }
    return distance;
  }

  /** Entries that are no deltas, with deltas on them. */
  roots(): number[] {
    const roots: number[] = [];
    const { count, types } = this.#entries;
    for (let i = 0; i < count; i++) if (types[i]! < ENTRY_OFS_DELTA && this.firstChild[i]! >= 0) roots.push(i);
    return roots;
  }

  /** Base oids that no resolved object has, raw, one after the other: of objects outside the pack, or of deltas on such. */
  missingBases(): Buffer {
    const missing: Buffer[] = [];
    for (let slot = 0; slot < this.#waiting.size; slot++)
      if (this.#waitingHead[slot]! >= 0) missing.push(this.#waiting.oid(slot));
    return Buffer.concat(missing);
  }

  /** Whether deltas still wait for an object of that oid: objects that were resolved meanwhile may have been it. */
  awaits(oid: Uint8Array): boolean {
    const slot = this.#waiting.get(oid);
    return slot >= 0 && this.#waitingHead[slot]! >= 0;
  }

  /** The first of the deltas that wait for an oid, -1 when there are none: they wait no more. */
  take(oid: Uint8Array): number {
    const slot = this.#waiting.get(oid);
    if (slot < 0) return -1;
    const first = this.#waitingHead[slot]!;
    this.#waitingHead[slot] = -1;
    return first;
  }

  /** Whether any delta of the pack names its base by oid. */
  get anyByOid(): boolean {
    return this.#waiting.size > 0;
  }

  /** Hands the deltas that wait for this object's oid over to it as children. */
  adopt(index: number): void {
    if (this.#waiting.size === 0) return;
    const slot = this.#waiting.get(this.#entries.oids, index * this.#entries.oidBytes);
    if (slot < 0) return;
    let child = this.#waitingHead[slot]!;
    if (child < 0) return;
    this.#waitingHead[slot] = -1;
    let last = child;
    while (this.sibling[last]! >= 0) last = this.sibling[last]!;
    this.sibling[last] = this.firstChild[index]!;
    this.firstChild[index] = child;
    child = -1;
  }
}
