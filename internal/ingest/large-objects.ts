import { deflateSync } from 'node:zlib';
import type { ChunkRecipe } from '../chunking/mod.ts';
import { KIND_BLOB } from '../object/mod.ts';
import { encodeEntryHeader, type Inflater } from '../packformat/mod.ts';
import { applyDeltaStream, type CopySource, EntryStream, fileCopies, memoryCopies, peekDeltaSizes } from './apply-stream.ts';
import type { ChunkWriter } from './chunk-writer.ts';
import type { EntryTable } from './entry-table.ts';
import { PackError } from './errors.ts';
import { HEADER_ROOM } from './hash-slab.ts';
import { objectLimit, type PackLimits, type WorkMeter } from './limits.ts';
import type { ObjectNames } from './object-names.ts';
import type { PackSource } from './pack-source.ts';
import { SpoolFile } from './spool-file.ts';

const WINDOW_BYTES = 1 << 20;
const NOTHING = Buffer.alloc(0);

/** An object that deltas hang on: its bytes behind HEADER_ROOM spare ones, or in a file. */
export type BaseBytes = Buffer | SpoolFile;

/** Where the large blobs of one pack go, in place of memory. */
export interface LargeObjectsOptions {
  readonly names: ObjectNames;
  readonly limits: PackLimits;
  /** Blobs of this size and more are cut. */
  readonly cutBytesMin: number;
  readonly chunks: ChunkWriter;
  /** For files of bases. */
  readonly folder: string;
}

/**
 * The blobs of one pack that are cut and never held: those that came whole, and those that deltas make. Both go through the hash and the
 * chunk writer in windows; into a file only while deltas hang on them.
 */
export class LargeObjects {
  /** Recipes of the cut blobs, by entry. */
  readonly recipes = new Map<number, ChunkRecipe>();
  readonly #options: LargeObjectsOptions;
  readonly #inflater: Inflater;
  readonly #meter: WorkMeter;
  /** Whole entries of deltas that make small blobs of large ones: their bases go, so they can not stay deltas. */
  readonly #wholes = new Map<number, { readonly offset: number; readonly lengthBytes: number }>();
  #wholesFile: SpoolFile | null = null;
  /** Lent to one stream at a time; made for the first. */
  #inflated = NOTHING;
  #result = NOTHING;

  constructor(options: LargeObjectsOptions, inflater: Inflater, meter: WorkMeter) {
    this.#options = options;
    this.#inflater = inflater;
    this.#meter = meter;
  }

  isLarge(kind: number, size: number): boolean {
    return kind === KIND_BLOB && size >= this.#options.cutBytesMin;
  }

  /** Takes the bytes of a blob that came whole. */
  write(bytes: Buffer): void {
    this.#options.chunks.write(bytes);
  }

  /** Ends the blob that was written. */
  finish(index: number): void {
    this.recipes.set(index, this.#options.chunks.finish());
  }

  /** A base from outside the pack, in a file whose name goes. */
  adopt(path: string, sizeBytes: number): SpoolFile {
    return SpoolFile.adopt(path, sizeBytes);
  }

  #stream(entries: EntryTable, source: PackSource, index: number): EntryStream {
    if (this.#inflated.length === 0) this.#inflated = Buffer.allocUnsafe(WINDOW_BYTES);
    if (this.#result.length === 0) this.#result = Buffer.allocUnsafe(WINDOW_BYTES);
    const from = entries.offsets[index]! + entries.headerBytes[index]!;
    return new EntryStream(source, this.#inflater, from, entries.endOf(index), entries.streamSizes[index]!, this.#inflated);
  }

  /** Bytes of what a delta makes, as it claims. */
  resultSize(entries: EntryTable, source: PackSource, index: number): number {
    return peekDeltaSizes(this.#stream(entries, source, index)).resultSize;
  }

  /** A whole blob of the pack, or a delta's result once more, in a file. */
  toFile(entries: EntryTable, source: PackSource, index: number, base: BaseBytes | null): SpoolFile {
    const file = SpoolFile.create(this.#options.folder);
    try {
      this.#meter.takeLarge(entries.sizes[index]!);
      const stream = this.#stream(entries, source, index);
      if (base !== null) applyDeltaStream(stream, this.#copies(base), this.#result, (bytes) => file.append(bytes));
      else for (let bytes = stream.next(); bytes.length > 0; bytes = stream.next()) file.append(bytes);
      return file;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  #copies(base: BaseBytes): CopySource {
    return base instanceof SpoolFile ? fileCopies(base, this.#meter) : memoryCopies(base.subarray(HEADER_ROOM));
  }

  /** Makes a small object of a delta on a large base; `output` has room for it at `at`. */
  applyInto(entries: EntryTable, source: PackSource, index: number, base: BaseBytes, output: Buffer, at: number): void {
    let position = at;
    applyDeltaStream(this.#stream(entries, source, index), this.#copies(base), this.#result, (bytes) => {
      position += bytes.copy(output, position);
    });
  }

  /** Names and cuts what a delta makes; into a file too when that is `wanted`. */
  cut(entries: EntryTable, source: PackSource, index: number, base: BaseBytes, size: number, wanted: boolean): SpoolFile | null {
    const { names, limits, chunks, folder } = this.#options;
    const limit = objectLimit(limits, KIND_BLOB);
    if (size > limit) {
      throw new PackError(`delta at offset ${entries.offsets[index]} makes ${size} bytes, the limit is ${limit}`, { limit });
    }
    this.#meter.takeLarge(entries.streamSizes[index]! + size);
    const file = wanted ? SpoolFile.create(folder) : null;
    try {
      const name = names.begin(KIND_BLOB, size);
      applyDeltaStream(this.#stream(entries, source, index), this.#copies(base), this.#result, (bytes) => {
        name.update(bytes);
        chunks.write(bytes);
        file?.append(bytes);
      });
      name.digest().copy(entries.oids, index * entries.oidBytes);
      this.recipes.set(index, chunks.finish());
      return file;
    } catch (error) {
      file?.close();
      throw error;
    }
  }

  /** Keeps the object of a delta on a large base as a whole entry. */
  keepWhole(index: number, data: Buffer): void {
    const entry = Buffer.concat([encodeEntryHeader(KIND_BLOB, data.length), deflateSync(data)]);
    this.#wholesFile ??= SpoolFile.create(this.#options.folder);
    this.#wholes.set(index, { offset: this.#wholesFile.sizeBytes, lengthBytes: entry.length });
    this.#wholesFile.append(entry);
  }

  /** The whole entry that stands for a delta, null when the delta stays one. */
  wholeEntry(index: number): Buffer | null {
    const place = this.#wholes.get(index);
    if (place === undefined) return null;
    const bytes = Buffer.allocUnsafe(place.lengthBytes);
    this.#wholesFile!.readInto(bytes, 0, place.offset, place.lengthBytes);
    return bytes;
  }

  close(): void {
    this.#wholesFile?.close();
  }
}
