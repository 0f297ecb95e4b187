import { codeOf, messageOf } from '../base/mod.ts';
import type { SpoolSource } from '../ingest/mod.ts';
import { applyDelta, emptyEntryHeader, Inflater, readEntryHeader } from '../packformat/mod.ts';
import { type ObjectTable, outsideOf, unsound, WHOLE } from './object-table.ts';

/** Objects from outside the inputs: their plain bytes, one after the other in a file. */
export interface OutsideObjects {
  readonly source: SpoolSource;
  readonly offsets: Float64Array;
  readonly sizes: Float64Array;
}

/** Reads objects of the inputs through their chosen copies. What was made last is kept, up to a bound, since neighbours share bases. */
export class ObjectBytes {
  readonly #table: ObjectTable;
  readonly #spool: SpoolSource;
  readonly #outside: OutsideObjects;
  readonly #inflater = new Inflater();
  readonly #header = emptyEntryHeader();
  readonly #cache = new Map<number, Buffer>();
  readonly #cacheBytesMax: number;
  #cachedBytes = 0;

  constructor(table: ObjectTable, spool: SpoolSource, outside: OutsideObjects, cacheBytesMax: number) {
    this.#table = table;
    this.#spool = spool;
    this.#outside = outside;
    this.#cacheBytesMax = cacheBytesMax;
  }

  /** The object, which nobody may change. @throws PackhouseError `repack-unsound` when its bytes are not what they should be */
  read(object: number): Buffer {
    const table = this.#table;
    const chain: number[] = [];
    let at = object;
    let bytes: Buffer | undefined;
    for (;;) {
      bytes = at < 0 ? this.#readOutside(outsideOf(at)) : this.#cached(at);
      if (bytes !== undefined) break;
      chain.push(at);
      if (chain.length > table.count) throw unsound(`the deltas under ${table.oids.hex(object)} go in a circle`);
      const base = table.copyBase[table.chosen[at]!]!;
      if (base === WHOLE) break;
      at = base;
    }
    for (let i = chain.length - 1; i >= 0; i--) {
      bytes = this.#make(chain[i]!, bytes);
      this.#remember(chain[i]!, bytes);
    }
    return bytes!;
  }

  /** The inflated stream of a copy: the object, or its delta. */
  stream(copy: number): Buffer {
    const table = this.#table;
    const offset = table.copyOffset[copy]!;
    const length = table.copyLength[copy]!;
    const { buffer, at, end } = this.#spool.window(offset, length);
    const name = table.oids.hex(table.copyObject[copy]!);
    if (end - at < length || !readEntryHeader(buffer, at, at + length, table.oids.oidBytes, this.#header)) {
      throw unsound(`the entry of ${name} is cut`, { oid: name });
    }
    const { size, headerBytes } = this.#header;
    const data = Buffer.allocUnsafe(size + 1);
    const consumed = this.#inflater.inflateInto(buffer, at + headerBytes, end, data, 0, size);
    if (consumed !== length - headerBytes)
      throw unsound(`the entry of ${name} has another length than its index says`, { oid: name });
    return data.subarray(0, size);
  }

  #make(object: number, base: Buffer | undefined): Buffer {
    const table = this.#table;
    const copy = table.chosen[object]!;
    try {
      const stream = this.stream(copy);
      const bytes = table.copyBase[copy] === WHOLE ? stream : applyDelta(base!, stream);
      if (bytes.length !== table.sizes[object]) throw unsound(`it has ${bytes.length} bytes, not ${table.sizes[object]}`);
      return bytes;
    } catch (error) {
      const oid = table.oids.hex(object);
      const code = codeOf(error);
      if (code !== 'delta' && code !== 'zlib' && code !== 'zlib-size' && code !== 'repack-unsound') throw error;
      throw unsound(`${oid} cannot be read: ${messageOf(error)}`, { oid });
    }
  }

  #readOutside(index: number): Buffer {
    const { source, offsets, sizes } = this.#outside;
    const { buffer, at } = source.window(offsets[index]!, sizes[index]!);
    return Buffer.from(buffer.subarray(at, at + sizes[index]!));
  }

  #cached(object: number): Buffer | undefined {
    const bytes = this.#cache.get(object);
    if (bytes === undefined) return undefined;
    this.#cache.delete(object);
    this.#cache.set(object, bytes);
    return bytes;
  }

  #remember(object: number, bytes: Buffer): void {
    if (bytes.length > this.#cacheBytesMax / 2) return;
    this.#cache.set(object, bytes);
    this.#cachedBytes += bytes.length;
    for (const [oldest, held] of this.#cache) {
      if (this.#cachedBytes <= this.#cacheBytesMax) break;
      this.#cache.delete(oldest);
      this.#cachedBytes -= held.length;
    }
  }

  close(): void {
    this.#cache.clear();
    this.#inflater.close();
  }
}
