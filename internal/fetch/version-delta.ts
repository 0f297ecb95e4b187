import { createDeflate, type Deflate } from 'node:zlib';
import {
  type ChunkRecipe,
  type DeltaPlan,
  encodeCopy,
  encodeDeltaHead,
  encodeInsert,
  type InsertStep,
  narrowInsert,
} from '../chunking/mod.ts';
import type { ChunkedBlobs } from '../packread/mod.ts';
import { blockMatches } from './block-matches.ts';

/** New chunks of one delta that are held, with those of the base that they took the place of, to find what exactly is new in them. */
const HELD_BYTES_MAX = 8 << 20;
/** Chunks of the base are looked at when they are at most this much more than the new ones; and that much more in all. */
const BASE_EXTRA_BYTES_MAX = 1 << 20;
const BASE_EXTRA_BYTES_TOTAL = 8 << 20;
const INSERT_BYTES_MAX = 127;

/**
 * A delta between two versions of a chunked blob: its size, which stands before it, and its bytes, which may be asked for once. Small ones
 * are made whole and tell apart what has changed inside chunks; large ones insert their new chunks as they are, a few at a time.
 */
export interface VersionDelta {
  readonly deltaBytes: number;
  readonly pieces: AsyncIterable<Buffer>;
}

export async function versionDelta(
  chunked: ChunkedBlobs,
  base: ChunkRecipe,
  result: ChunkRecipe,
  plan: DeltaPlan,
  signal: AbortSignal,
): Promise<VersionDelta> {
  if (plan.insertedBytes > HELD_BYTES_MAX) {
    return { deltaBytes: plan.deltaBytes, pieces: streamed(chunked, result, plan, signal) };
  }
  const delta = await narrowed(chunked, base, result, plan, signal);
  return { deltaBytes: delta.length, pieces: alone(delta) };
}

async function* alone(delta: Buffer): AsyncGenerator<Buffer> {
  yield delta;
}

/** The whole delta, whose inserts are cut down to what their chunks do not begin or end with alike in the base. */
async function narrowed(
  chunked: ChunkedBlobs,
  base: ChunkRecipe,
  result: ChunkRecipe,
  plan: DeltaPlan,
  signal: AbortSignal,
): Promise<Buffer> {
  const inserts = plan.steps.filter((step): step is InsertStep => step.kind === 'insert');
  const compared = comparedInserts(base, inserts);
  const [fresh, old] = await Promise.all([
    gather(
      chunked.plain(
        result,
        inserts.flatMap(({ first, end }) => numbers(first, end)),
        signal,
      ),
    ),
    gather(
      chunked.plain(
        base,
        [...compared].flatMap(({ baseFirst, baseEnd }) => numbers(baseFirst, baseEnd)),
        signal,
      ),
    ),
  ]);
  const ops = new DeltaOps(plan);
  for (const step of plan.steps) {
    if (step.kind === 'copy') {
      ops.copy(step.offset, step.sizeBytes);
      continue;
    }
    const bytes = Buffer.concat(fresh.splice(0, step.end - step.first));
    const before = compared.has(step) ? Buffer.concat(old.splice(0, step.baseEnd - step.baseFirst)) : Buffer.alloc(0);
    const { prefixBytes, suffixBytes } = narrowInsert(before, bytes);
    ops.copy(step.baseOffset, prefixBytes);
    ops.between(
      before.subarray(prefixBytes, before.length - suffixBytes),
      step.baseOffset + prefixBytes,
      bytes.subarray(prefixBytes, bytes.length - suffixBytes),
    );
    ops.copy(step.baseOffset + before.length - suffixBytes, suffixBytes);
  }
  return ops.delta();
}

/** The inserts, in their order, whose bytes are compared with what stood there in the base: both are held. */
function comparedInserts(base: ChunkRecipe, inserts: readonly InsertStep[]): ReadonlySet<InsertStep> {
  let extraBytes = 0;
  const compared = inserts.filter((step) => {
    const extra = Math.max(0, baseBytes(base, step) - step.sizeBytes);
    if (extra > BASE_EXTRA_BYTES_MAX || extraBytes + extra > BASE_EXTRA_BYTES_TOTAL) return false;
    extraBytes += extra;
    return true;
  });
  return new Set(compared);
}

/** Instructions of a delta; copies that continue each other are one. */
class DeltaOps {
  readonly #parts: Buffer[];
  #copyFrom = 0;
  #copyBytes = 0;

  constructor({ baseBytes, resultBytes }: DeltaPlan) {
    this.#parts = [encodeDeltaHead(baseBytes, resultBytes)];
  }

  copy(offset: number, sizeBytes: number): void {
    if (sizeBytes === 0) return;
    if (this.#copyBytes > 0 && this.#copyFrom + this.#copyBytes === offset) {
      this.#copyBytes += sizeBytes;
      return;
    }
    this.#flush();
    this.#copyFrom = offset;
    this.#copyBytes = sizeBytes;
  }

  insert(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#flush();
    this.#parts.push(encodeInsert(bytes));
  }

  /** What makes `result` of the bytes of the base that stand at `offset`. */
  between(base: Buffer, offset: number, result: Buffer): void {
    let done = 0;
    for (const { resultAt, baseAt, lengthBytes } of blockMatches(base, result)) {
      this.insert(result.subarray(done, resultAt));
      this.copy(offset + baseAt, lengthBytes);
      done = resultAt + lengthBytes;
    }
    this.insert(result.subarray(done));
  }

  #flush(): void {
    if (this.#copyBytes > 0) this.#parts.push(encodeCopy(this.#copyFrom, this.#copyBytes));
    this.#copyBytes = 0;
  }

  delta(): Buffer {
    this.#flush();
    return Buffer.concat(this.#parts);
  }
}

function baseBytes(base: ChunkRecipe, { baseFirst, baseEnd }: InsertStep): number {
  return base.sizes.subarray(baseFirst, baseEnd).reduce((sum, size) => sum + size, 0);
}

/** The delta as it was planned, chunk by chunk. */
async function* streamed(
  chunked: ChunkedBlobs,
  result: ChunkRecipe,
  plan: DeltaPlan,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  yield encodeDeltaHead(plan.baseBytes, plan.resultBytes);
  for (const step of plan.steps) {
    if (step.kind === 'copy') {
      yield encodeCopy(step.offset, step.sizeBytes);
      continue;
    }
    // Instructions are as long as they may be across chunks: so the plan has counted them.
    let rest = Buffer.alloc(0);
    for await (const plain of chunked.plain(result, numbers(step.first, step.end), signal)) {
      const bytes = rest.length === 0 ? plain : Buffer.concat([rest, plain]);
      const ends = bytes.length - (bytes.length % INSERT_BYTES_MAX);
      yield encodeInsert(bytes.subarray(0, ends));
      rest = Buffer.from(bytes.subarray(ends));
    }
    if (rest.length > 0) yield encodeInsert(rest);
  }
}

/** A zlib stream of pieces, made while they come. */
export async function* deflatedPieces(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const stream = createDeflate({ chunkSize: 64 << 10 });
  const feeding = feed(stream, pieces);
  feeding.catch((error: Error) => stream.destroy(error));
  try {
    for await (const piece of stream) yield piece as Buffer;
    await feeding;
  } finally {
    stream.destroy();
  }
}

async function feed(stream: Deflate, pieces: AsyncIterable<Buffer>): Promise<void> {
  for await (const piece of pieces) {
    if (stream.destroyed) return;
    if (!stream.write(piece)) await drained(stream);
  }
  stream.end();
}

/** Resolves when the stream takes more, or takes no more ever. */
function drained(stream: Deflate): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.on('drain', done).on('close', done);
  });
}

async function gather(pieces: AsyncIterable<Buffer>): Promise<Buffer[]> {
  const parts: Buffer[] = [];
  for await (const piece of pieces) parts.push(piece);
  return parts;
}

function numbers(first: number, end: number): number[] {
  return Array.from({ length: end - first }, (_, i) => first + i);
}
