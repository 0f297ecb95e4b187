import { PackhouseError } from '../base/mod.ts';
import type { SpoolSource } from '../ingest/mod.ts';
import { type ObjectFormat, OidMap, oidLength } from '../object/mod.ts';
import {
  ENTRY_HEADER_BYTES_MAX,
  ENTRY_OFS_DELTA,
  ENTRY_REF_DELTA,
  emptyEntryHeader,
  readEntryHeader,
} from '../packformat/mod.ts';

/** Rows of all inputs, pack after pack, as flat columns. Offsets count from the start of the spool file that holds the packs. */
export interface InputColumns {
  readonly oids: Uint8Array;
  readonly kinds: Uint8Array;
  readonly sizes: Float64Array;
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
  /** 1: the object stays. Equal for all rows of one oid. */
  readonly keep: Uint8Array;
  /** Number of the input pack. */
  readonly packs: Uint16Array;
}

/** No base: the copy is a whole entry. */
export const WHOLE = -1;

/** The number of the outside object that a base of -2 and below stands for, else negative. */
export function outsideOf(base: number): number {
  return -2 - base;
}

/**
 * Every object of the inputs once, and every entry that holds it (a copy), as columns: about 60 bytes an object and 40 a copy.
 * A base is the number of an object, WHOLE, or, from -2 down, an object outside the inputs.
 */
export class ObjectTable {
  readonly format: ObjectFormat;
  readonly oids: OidMap;
  readonly count: number;
  readonly kinds: Uint8Array;
  readonly sizes: Float64Array;
  readonly keep: Uint8Array;
  /** First copy of an object; `copyNext` leads to its others, -1 ends. */
  readonly firstCopy: Int32Array;
  readonly copyCount: number;
  readonly copyNext: Int32Array;
  readonly copyObject: Int32Array;
  readonly copyOffset: Float64Array;
  readonly copyLength: Float64Array;
  readonly copyBase: Int32Array;
  readonly copyPack: Uint16Array;
  /** The copy that is read, for each object. */
  readonly chosen: Int32Array;
  /** Bases that no input has. */
  readonly outside: OidMap;

  constructor(format: ObjectFormat, input: InputColumns, spool: SpoolSource) {
    this.format = format;
    const width = oidLength(format);
    const rows = input.kinds.length;
    this.copyCount = rows;
    this.oids = new OidMap(width, Math.max(16, rows));
    this.outside = new OidMap(width, 16);
    this.kinds = new Uint8Array(rows);
    this.sizes = new Float64Array(rows);
    this.keep = new Uint8Array(rows);
    this.firstCopy = new Int32Array(rows).fill(-1);
    this.chosen = new Int32Array(rows).fill(-1);
    this.copyNext = new Int32Array(rows);
    this.copyObject = new Int32Array(rows);
    this.copyOffset = new Float64Array(rows);
    this.copyLength = new Float64Array(rows);
    this.copyBase = new Int32Array(rows).fill(WHOLE);
    this.copyPack = new Uint16Array(rows);
    const order = Uint32Array.from({ length: rows }, (_, i) => i).sort((a, b) => input.offsets[a]! - input.offsets[b]!);
    for (let copy = 0; copy < rows; copy++) this.#add(copy, order[copy]!, input);
    this.count = this.oids.size;
    this.#readBases(spool);
  }

  #add(copy: number, row: number, input: InputColumns): void {
    const object = this.oids.add(input.oids, row * this.oids.oidBytes);
    if (this.firstCopy[object]! < 0) {
      this.kinds[object] = input.kinds[row]!;
      this.sizes[object] = input.sizes[row]!;
      this.keep[object] = input.keep[row]!;
    } else if (this.kinds[object] !== input.kinds[row] || this.sizes[object] !== input.sizes[row]) {
      throw unsound(`two packs disagree about ${this.oids.hex(object)}`, { oid: this.oids.hex(object) });
    }
    this.copyNext[copy] = this.firstCopy[object]!;
    this.firstCopy[object] = copy;
    this.copyObject[copy] = object;
    this.copyOffset[copy] = input.offsets[row]!;
    this.copyLength[copy] = input.lengths[row]!;
    this.copyPack[copy] = input.packs[row]!;
  }

  /** Reads the head of every entry: what it is a delta of, if it is one. */
  #readBases(spool: SpoolSource): void {
    const header = emptyEntryHeader();
    const width = this.oids.oidBytes;
    for (let copy = 0; copy < this.copyCount; copy++) {
      const offset = this.copyOffset[copy]!;
      const { buffer, at, end } = spool.window(offset, Math.min(ENTRY_HEADER_BYTES_MAX, this.copyLength[copy]!));
      const object = this.copyObject[copy]!;
      if (!readEntryHeader(buffer, at, end, width, header))
        throw unsound(`the entry at ${offset} of the inputs is cut`, { offset });
      if (header.type === ENTRY_OFS_DELTA) {
        const base = this.copyAt(offset - header.distance);
        if (base < 0) throw unsound(`the base of ${this.oids.hex(object)} is no entry`, { oid: this.oids.hex(object) });
        this.copyBase[copy] = this.copyObject[base]!;
      } else if (header.type === ENTRY_REF_DELTA) {
        const base = this.oids.get(buffer, header.baseAt);
        this.copyBase[copy] = base >= 0 ? base : -2 - this.outside.add(buffer, header.baseAt);
      } else if (header.type !== this.kinds[object] || header.size !== this.sizes[object]) {
        throw unsound(`the entry of ${this.oids.hex(object)} is not what the index says`, { oid: this.oids.hex(object) });
      }
    }
  }

  /** The copy whose entry starts at an offset of the spool file, or -1. */
  copyAt(offset: number): number {
    let low = 0;
    let high = this.copyCount - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const value = this.copyOffset[middle]!;
      if (value === offset) return middle;
      if (value < offset) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }
}

/**
 * The input whose search has left an object whole: it has a whole copy there, and no delta anywhere that could be kept. -1: none.
 * `searched` tells of each input whether deltas were searched among all its objects.
 */
export function searchedHome(table: ObjectTable, object: number, searched: Uint8Array): number {
  const copy = wholeCopy(table, object);
  return copy >= 0 && searched[table.copyPack[copy]!] === 1 ? table.copyPack[copy]! : -1;
}

/** Whether an input has the object as an entry. */
export function isInPack(table: ObjectTable, object: number, pack: number): boolean {
  for (let copy = table.firstCopy[object]!; copy >= 0; copy = table.copyNext[copy]!)
    if (table.copyPack[copy] === pack) return true;
  return false;
}

/** The smallest copy of an object that is a whole entry, or -1. */
export function wholeCopy(table: ObjectTable, object: number): number {
  let best = -1;
  for (let copy = table.firstCopy[object]!; copy >= 0; copy = table.copyNext[copy]!) {
    if (table.copyBase[copy] !== WHOLE) continue;
    if (best < 0 || table.copyLength[copy]! < table.copyLength[best]!) best = copy;
  }
  return best;
}

/** Maintenance stops: what is stored is not what it should be, or what was made is not what was meant. */
export function unsound(message: string, data: Readonly<Record<string, unknown>> = {}): PackhouseError {
  return new PackhouseError('repack-unsound', message, data);
}
