import { codeOf, messageOf } from '../base/mod.ts';
import { type ObjectFormat, oidLength } from '../object/mod.ts';
import { applyDelta, ENTRY_REF_DELTA, emptyEntryHeader, Inflater, readEntryHeader } from '../packformat/mod.ts';
import { unsound } from './object-table.ts';

/** Trees that are held: the base of the next one is most often among them. */
const CACHE_BYTES_MAX = 64 << 20;

/** The table of a pack in a local file, rows ascending by oid; offset -1: a chunked blob. */
export interface FileTable {
  readonly format: ObjectFormat;
  readonly lengthBytes: number;
  readonly oids: Buffer;
  readonly offsets: Float64Array;
}

/** Bytes of a pack: `buffer[at, end)` are those from an offset on, at least so many as were asked for if there are. */
export interface Windows {
  window(offset: number, minimum: number): { readonly buffer: Buffer; readonly at: number; readonly end: number };
}

/** Reads objects of a self-contained pack in a file, by row. What was made last is kept, up to a bound. */
export class PackTrees {
  readonly #source: Windows;
  readonly #table: FileTable;
  readonly #width: number;
  /** Where each entry starts, ascending, and behind the last one where it ends. */
  readonly #starts: Float64Array;
  readonly #inflater = new Inflater();
  readonly #header = emptyEntryHeader();
  /** By the offset of the entry. */
  readonly #cache = new Map<number, Buffer>();
  #cachedBytes = 0;

  constructor(source: Windows, table: FileTable) {
    this.#source = source;
    this.#table = table;
    this.#width = oidLength(table.format);
    const offsets = table.offsets.filter((offset) => offset >= 0);
    this.#starts = new Float64Array(offsets.length + 1);
    this.#starts.set(offsets);
    this.#starts[offsets.length] = table.lengthBytes - this.#width;
    this.#starts.sort();
  }

  /** The object at a row, whole; nobody may change it. @throws PackhouseError `repack-unsound` */
  read(row: number): Buffer {
    const deltas: { offset: number; delta: Buffer }[] = [];
    let offset = this.#table.offsets[row]!;
    for (;;) {
      const cached = this.#cached(offset);
      if (cached !== undefined) return this.#apply(cached, deltas);
      const { base, data } = this.#stream(offset);
      if (base < 0) return this.#apply(this.#keep(offset, data), deltas);
      deltas.push({ offset, delta: data });
      if (deltas.length >= this.#starts.length) throw unsound(`the deltas under offset ${offset} go in a circle`, { offset });
      offset = base;
    }
  }

  #apply(base: Buffer, deltas: readonly { offset: number; delta: Buffer }[]): Buffer {
    let data = base;
    for (let i = deltas.length - 1; i >= 0; i--) data = this.#keep(deltas[i]!.offset, applyDelta(data, deltas[i]!.delta));
    return data;
  }

  /** The inflated stream of an entry, and where the base of the delta that it is starts; -1 when it is none. */
  #stream(offset: number): { base: number; data: Buffer } {
    const place = this.#placeOf(offset);
    const length = this.#starts[place + 1]! - offset;
    if (this.#starts[place] !== offset || length <= 0) throw unsound(`no entry starts at offset ${offset}`, { offset });
    const { buffer, at, end } = this.#source.window(offset, length);
    const header = this.#header;
    try {
      if (end - at < length || !readEntryHeader(buffer, at, at + length, this.#width, header))
        throw unsound(`the entry at offset ${offset} is cut`, { offset });
      const data = Buffer.allocUnsafe(header.size + 1);
      if (this.#inflater.inflateInto(buffer, at + header.headerBytes, at + length, data, 0, header.size) < 0)
        throw unsound(`the entry at offset ${offset} is cut`, { offset });
      const base =
        header.type <= 4
          ? -1
          : header.type === ENTRY_REF_DELTA
            ? this.#offsetOf(buffer, header.baseAt)
            : offset - header.distance;
      return { base, data: data.subarray(0, header.size) };
    } catch (error) {
      if (codeOf(error) === 'repack-unsound') throw error;
      throw unsound(`the entry at offset ${offset} cannot be read: ${messageOf(error)}`, { offset });
    }
  }

  /** The last entry that does not start behind an offset. */
  #placeOf(offset: number): number {
    let low = 0;
    let high = this.#starts.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#starts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #offsetOf(oids: Buffer, at: number): number {
    const width = this.#width;
    const { oids: own, offsets } = this.#table;
    let low = 0;
    let high = offsets.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const order = own.compare(oids, at, at + width, middle * width, (middle + 1) * width);
      if (order === 0) return offsets[middle]!;
      if (order < 0) low = middle + 1;
      else high = middle - 1;
    }
    throw unsound(`delta base ${oids.toString('hex', at, at + width)} is not in its pack`);
  }

  #cached(offset: number): Buffer | undefined {
    const data = this.#cache.get(offset);
    if (data === undefined) return undefined;
    this.#cache.delete(offset);
    this.#cache.set(offset, data);
    return data;
  }

  #keep(offset: number, data: Buffer): Buffer {
    if (data.length > CACHE_BYTES_MAX / 2) return data;
    this.#cache.set(offset, data);
    this.#cachedBytes += data.length + 100;
    for (const [oldest, held] of this.#cache) {
      if (this.#cachedBytes <= CACHE_BYTES_MAX) break;
      this.#cache.delete(oldest);
      this.#cachedBytes -= held.length + 100;
    }
    return data;
  }

  close(): void {
    this.#cache.clear();
    this.#inflater.close();
  }
}
