import { hash } from 'node:crypto';
import {
  adler32,
  type ChunkingParameters,
  type ChunkRecipe,
  combineAdler32,
  encodeSegment,
  FastCdcCutter,
  SHA256_BYTES,
} from '../chunking/mod.ts';
import { type ObjectFormat, OidMap } from '../object/mod.ts';
import { ChunkPackFile } from './chunk-pack-file.ts';
import type { ChunkPack, FoundChunks } from './chunking-options.ts';

/** Plain bytes of chunks that are looked up together. */
const BATCH_BYTES = 4 << 20;
/**
 * Known chunks between new ones are stored again when they are fewer in a row. One more ranged read costs a store about as much time as
 * half a MiB of bytes (1.6 ms for 4 KiB, 3.9 ms for 1 MiB), and four chunks are a quarter of one.
 */
const RUN_CHUNKS_MIN = 4;

/** A chunk that was cut and is not placed yet; its plain bytes are the next ones of the held. */
interface Waiting {
  readonly size: number;
  readonly sha256: Buffer;
}

/** Cuts blobs, one after the other, and writes the chunks that the pool lacks into the push's chunk pack. Synchronous: a worker's work. */
export class ChunkWriter {
  readonly #find: (sha256s: Buffer) => FoundChunks;
  readonly #cutter: FastCdcCutter;
  readonly #pack: ChunkPackFile;
  /** Every chunk that was looked up or written in this push, and its place: pack -1 where there is none. */
  readonly #known = new OidMap(SHA256_BYTES);
  readonly #packIds: number[] = [];
  readonly #offsets: number[] = [];
  readonly #lengths: number[] = [];
  /** Plain bytes of waiting chunks, then of the chunk that has not ended. */
  #held: Buffer = Buffer.alloc(0);
  readonly #heldBytesMax: number;
  #heldBytes = 0;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #afterNew = false;
  #recipe = new RecipeRows();

  /** @throws PackhouseError `chunking-parameters` */
  constructor(parameters: ChunkingParameters, format: ObjectFormat, path: string, find: (sha256s: Buffer) => FoundChunks) {
    this.#find = find;
    this.#cutter = new FastCdcCutter(parameters);
    this.#pack = new ChunkPackFile(path, format);
    this.#heldBytesMax = BATCH_BYTES + parameters.maxBytes * (RUN_CHUNKS_MIN + 1);
  }

  /** Takes the next bytes of the blob. */
  write(bytes: Buffer): void {
    if (this.#held.length === 0) this.#held = Buffer.allocUnsafe(this.#heldBytesMax);
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + Math.min(BATCH_BYTES, this.#held.length - this.#heldBytes));
      part.copy(this.#held, this.#heldBytes);
      this.#heldBytes += part.length;
      at += part.length;
      for (const size of this.#cutter.push(part)) this.#ended(size);
      if (this.#waitingBytes >= BATCH_BYTES || this.#heldBytes === this.#held.length) this.#place(false);
    }
  }

  /** Ends the blob; the next bytes begin another. */
  finish(): ChunkRecipe {
    for (const size of this.#cutter.finish()) this.#ended(size);
    this.#place(true);
    this.#afterNew = false;
    const recipe = this.#recipe.recipe();
    this.#recipe = new RecipeRows();
    return recipe;
  }

  #ended(size: number): void {
    const plain = this.#held.subarray(this.#waitingBytes, this.#waitingBytes + size);
    this.#waiting.push({ size, sha256: hash('sha256', plain, 'buffer') });
    this.#waitingBytes += size;
  }

  /** Places the chunks that wait, but for a run of known ones at the end whose length is still open. */
  #place(final: boolean): void {
    this.#lookUp();
    const waiting = this.#waiting;
    let at = 0;
    let placed = 0;
    const next = (place: (chunk: Waiting, plain: Buffer) => void): void => {
      const chunk = waiting[placed++]!;
      place(chunk, this.#held.subarray(at, at + chunk.size));
      at += chunk.size;
    };
    while (placed < waiting.length) {
      let end = placed;
      while (end < waiting.length && this.#isKnown(waiting[end]!)) end++;
      const isShort = this.#afterNew && end - placed < RUN_CHUNKS_MIN;
      if (isShort && end === waiting.length && !final) break;
      const again = isShort && end < waiting.length;
      while (placed < end) next((chunk, plain) => this.#reference(chunk, plain, again));
      this.#afterNew = placed < waiting.length;
      if (this.#afterNew) next((chunk, plain) => this.#store(chunk, plain));
    }
    this.#held.copyWithin(0, at, this.#heldBytes);
    this.#heldBytes -= at;
    this.#waitingBytes -= at;
    this.#waiting = waiting.slice(placed);
  }

  #lookUp(): void {
    const asked: Buffer[] = [];
    for (const { sha256 } of this.#waiting) {
      if (this.#known.has(sha256)) continue;
      this.#note(sha256, -1, 0, 0);
      asked.push(sha256);
    }
    if (asked.length === 0) return;
    const found = this.#find(Buffer.concat(asked));
    for (const [i, sha256] of asked.entries()) {
      if (found.packIds[i]! > 0) this.#note(sha256, found.packIds[i]!, found.offsets[i]!, found.lengths[i]!);
    }
  }

  #note(sha256: Buffer, packId: number, offset: number, length: number): void {
    const slot = this.#known.add(sha256);
    this.#packIds[slot] = packId;
    this.#offsets[slot] = offset;
    this.#lengths[slot] = length;
  }

  #isKnown({ sha256 }: Waiting): boolean {
    return this.#packIds[this.#known.get(sha256)]! >= 0;
  }

  /** Takes a known chunk from where it is; with `again` it is stored beside its neighbours, unless it is in this push's pack. */
  #reference(chunk: Waiting, plain: Buffer, again: boolean): void {
    if (again && this.#packIds[this.#known.get(chunk.sha256)] !== 0) this.#store(chunk, plain);
    else this.#row(chunk, adler32(plain));
  }

  #store(chunk: Waiting, plain: Buffer): void {
    const adler = adler32(plain);
    const segment = encodeSegment(plain);
    const offset = this.#pack.add(plain, segment, adler);
    this.#note(chunk.sha256, 0, offset, segment.length);
    this.#row(chunk, adler);
  }

  #row({ sha256, size }: Waiting, adler: number): void {
    const slot = this.#known.get(sha256);
    this.#recipe.add(sha256, this.#packIds[slot]!, this.#offsets[slot]!, this.#lengths[slot]!, size, adler);
  }

  /** Completes the pack of new chunks; null when there are none. */
  end(): ChunkPack | null {
    return this.#pack.end();
  }

  close(): void {
    this.#pack.close();
  }
}

/** A recipe that grows. Hashes are copied: 80,000 small buffers would hold some 40 MiB until the blob ends. */
class RecipeRows {
  #sha256s = Buffer.allocUnsafe(64 * SHA256_BYTES);
  readonly #packIds: number[] = [];
  readonly #offsets: number[] = [];
  readonly #lengths: number[] = [];
  readonly #sizes: number[] = [];
  readonly #adlers: number[] = [];
  #sizeBytes = 0;
  #adler = 1;

  add(sha256: Buffer, packId: number, offset: number, length: number, size: number, adler: number): void {
    const at = this.#packIds.length * SHA256_BYTES;
    if (at === this.#sha256s.length) this.#sha256s = Buffer.concat([this.#sha256s], 2 * at);
    sha256.copy(this.#sha256s, at);
    this.#packIds.push(packId);
    this.#offsets.push(offset);
    this.#lengths.push(length);
    this.#sizes.push(size);
    this.#adlers.push(adler);
    this.#sizeBytes += size;
    this.#adler = combineAdler32(this.#adler, adler, size);
  }

  recipe(): ChunkRecipe {
    return {
      sizeBytes: this.#sizeBytes,
      adler: this.#adler,
      sha256s: Buffer.from(this.#sha256s.subarray(0, this.#packIds.length * SHA256_BYTES)),
      packIds: Float64Array.from(this.#packIds),
      offsets: Float64Array.from(this.#offsets),
      lengths: Float64Array.from(this.#lengths),
      sizes: Float64Array.from(this.#sizes),
      adlers: Uint32Array.from(this.#adlers),
    };
  }
}
