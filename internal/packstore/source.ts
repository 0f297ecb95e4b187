import type { Hash } from 'node:crypto';
import { Readable } from 'node:stream';
import { orAborted, PackhouseError } from '../base/mod.ts';
import type { PutSource } from './store.ts';

const FIRST_PART_BYTES = 64 * 1024;
/** How much of an array is given at a time: between two of them an abort is looked for. */
const ARRAY_RUN_BYTES = 1 << 20;

/** A run of a source's bytes; `digest` is the hash of them when a hash was asked for. */
export interface Part {
  readonly bytes: Buffer;
  readonly digest: string;
}

export interface CutOptions {
  readonly partSizeBytes: number;
  readonly signal?: AbortSignal | undefined;
  /** A fresh hash for each part, fed while the part fills, so that no part is hashed in one long go. */
  readonly startHash?: () => Hash;
}

/**
 * Tells a source that nobody will read on. Its answer is not waited for: a generator that is stuck in an await of its own
 * would hold the caller for ever.
 */
function closeSource(source: PutSource, iterator: AsyncIterator<Uint8Array>): void {
  if (source instanceof Readable) {
    source.once('error', () => {});
    source.destroy();
    return;
  }
  void iterator.return?.().then(undefined, () => {});
}

async function* chunksOf(source: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  let open = true;
  try {
    while (true) {
      signal?.throwIfAborted();
      const { done, value } = await orAborted(iterator.next(), signal).catch((error: unknown) => {
        // The source's own failure has ended it; an abort has not.
        open = signal?.aborted ?? false;
        throw error;
      });
      if (done) {
        open = false;
        return;
      }
      if (!(value instanceof Uint8Array)) {
        throw new PackhouseError('store-bad-source', `a source must yield bytes, not ${typeof value}`, { type: typeof value });
      }
      yield value;
    }
  } finally {
    if (open) closeSource(source, iterator);
  }
}

/** Collects chunks of any size into a buffer that starts small and grows to the size of a part. */
class PartFiller {
  readonly #partSizeBytes: number;
  readonly #startHash: (() => Hash) | undefined;
  #buffer = Buffer.alloc(0);
  #hash: Hash | undefined;
  #filled = 0;
  #capacity: number;

  constructor(options: CutOptions) {
    this.#partSizeBytes = options.partSizeBytes;
    this.#startHash = options.startHash;
    this.#capacity = Math.min(FIRST_PART_BYTES, options.partSizeBytes);
    this.#hash = options.startHash?.();
  }

  get filled(): number {
    return this.#filled;
  }

  /** Takes what fits of `chunk` and returns how much that was. */
  take(chunk: Uint8Array): number {
    const wanted = Math.min(chunk.length, this.#partSizeBytes - this.#filled);
    this.#reserve(this.#filled + wanted);
    const taken = wanted === chunk.length ? chunk : chunk.subarray(0, wanted);
    this.#buffer.set(taken, this.#filled);
    this.#hash?.update(taken);
    this.#filled += wanted;
    return wanted;
  }

  get full(): boolean {
    return this.#filled === this.#partSizeBytes;
  }

  finish(): Part {
    const part = { bytes: this.#buffer.subarray(0, this.#filled), digest: this.#hash?.digest('hex') ?? '' };
    this.#buffer = Buffer.alloc(0);
    this.#filled = 0;
    this.#hash = this.#startHash?.();
    return part;
  }

  #reserve(needed: number): void {
    if (this.#buffer.length >= needed) return;
    while (this.#capacity < needed) this.#capacity *= 2;
    this.#capacity = Math.min(this.#capacity, this.#partSizeBytes);
    const larger = Buffer.allocUnsafeSlow(this.#capacity);
    this.#buffer.copy(larger, 0, 0, this.#filled);
    this.#buffer = larger;
  }
}

function* slicesOf(bytes: Uint8Array, { partSizeBytes, startHash }: CutOptions): Generator<Part> {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at === 0 || at < all.length; at += partSizeBytes) {
    const slice = all.subarray(at, at + partSizeBytes);
    yield { bytes: slice, digest: startHash?.().update(slice).digest('hex') ?? '' };
  }
}

/**
 * Cuts a source into parts of exactly `partSizeBytes`, the last one shorter; an empty source is one empty part. Bytes given as one
 * array are cut without a copy; of a stream, one part is held at a time besides those the caller keeps.
 */
export async function* cutParts(source: PutSource, options: CutOptions): AsyncGenerator<Part> {
  if (source instanceof Uint8Array) {
    for (const part of slicesOf(source, options)) {
      options.signal?.throwIfAborted();
      yield part;
    }
    return;
  }
  const filler = new PartFiller(options);
  let parts = 0;
  for await (const chunk of chunksOf(source, options.signal)) {
    for (let rest = chunk; rest.length > 0; ) {
      rest = rest.subarray(filler.take(rest));
      if (!filler.full) continue;
      parts += 1;
      yield filler.finish();
    }
  }
  if (filler.filled > 0 || parts === 0) yield filler.finish();
}

/**
 * The bytes of a source for a writer that is done with each run before it asks for the next one: large chunks come as they are, small ones
 * are collected in one buffer, so that no run but those beside a large chunk and the last is shorter than `leastBytes`.
 */
export async function* gatherChunks(
  source: PutSource,
  leastBytes: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  if (source instanceof Uint8Array) {
    for (const { bytes } of slicesOf(source, { partSizeBytes: ARRAY_RUN_BYTES })) {
      signal?.throwIfAborted();
      yield bytes;
    }
    return;
  }
  let held: Buffer | undefined;
  let filled = 0;
  for await (const chunk of chunksOf(source, signal)) {
    if (filled > 0 && filled + chunk.length > leastBytes) {
      yield held!.subarray(0, filled);
      filled = 0;
    }
    if (chunk.length >= leastBytes) {
      yield chunk;
      continue;
    }
    held ??= Buffer.allocUnsafeSlow(leastBytes);
    held.set(chunk, filled);
    filled += chunk.length;
  }
  if (filled > 0) yield held!.subarray(0, filled);
}
