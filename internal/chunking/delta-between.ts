import type { ChunkRecipe } from './types.ts';
import { SHA256_BYTES } from './types.ts';

/** Git makes and takes no deltas of objects from here on: the client's default `core.bigFileThreshold`. */
const DELTA_OBJECT_BYTES_MAX = 512 * 2 ** 20;
/** A copy instruction has three bytes for its size (gitformat-pack, "Instruction to copy from base object"). */
const COPY_BYTES_MAX = 0xffffff;
/** An insert instruction has seven bits for its size. */
const INSERT_BYTES_MAX = 127;

/** A run of bytes that both blobs have. */
export interface CopyStep {
  readonly kind: 'copy';
  /** Where the run starts in the base. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Chunks [`first`, `end`) of the result that the base does not have. */
export interface InsertStep {
  readonly kind: 'insert';
  readonly first: number;
  readonly end: number;
  readonly sizeBytes: number;
  /**
   * Chunks [`baseFirst`, `baseEnd`) of the base, which stand between the neighbouring copies' and were perhaps edited to become these:
   * whoever reads both can cut off what their plain bytes begin and end with alike (`narrowInsert`). Empty when there are none.
   */
  readonly baseFirst: number;
  readonly baseEnd: number;
  /** Where those start in the base. */
  readonly baseOffset: number;
}

/** A git delta as data, in order of the result. */
export interface DeltaPlan {
  readonly baseBytes: number;
  readonly resultBytes: number;
  readonly steps: readonly (CopyStep | InsertStep)[];
  readonly insertedBytes: number;
  /** Bytes of the delta when every insert goes whole. */
  readonly deltaBytes: number;
}

/**
 * The delta that makes the blob `to` of the blob `from`: copies of the chunks that both have, inserts of the others. Null when they share
 * no chunk, or one has 512 MiB or more, where git takes no deltas.
 */
export function deltaBetween(from: ChunkRecipe, to: ChunkRecipe): DeltaPlan | null {
  if (from.sizeBytes >= DELTA_OBJECT_BYTES_MAX || to.sizeBytes >= DELTA_OBJECT_BYTES_MAX) return null;
  const matches = matchChunks(from, to);
  if (matches.every((match) => match < 0)) return null;
  const starts = startsOf(from);
  const steps: (CopyStep | InsertStep)[] = [];
  let baseAt = 0;
  for (let i = 0; i < matches.length; ) {
    const run = i;
    let sizeBytes = 0;
    const first = matches[i]!;
    if (first >= 0) {
      for (; i < matches.length && matches[i] === first + (i - run); i++) sizeBytes += to.sizes[i]!;
      steps.push({ kind: 'copy', offset: starts[first]!, sizeBytes });
      baseAt = first + (i - run);
    } else {
      for (; i < matches.length && matches[i]! < 0; i++) sizeBytes += to.sizes[i]!;
      const next = i < matches.length ? matches[i]! : from.sizes.length;
      const baseEnd = Math.max(next, baseAt);
      steps.push({ kind: 'insert', first: run, end: i, sizeBytes, baseFirst: baseAt, baseEnd, baseOffset: starts[baseAt]! });
    }
  }
  return measured(from.sizeBytes, to.sizeBytes, steps);
}

/** For each chunk of `to` the chunk of `from` that is the same, or -1; where there are several, the one that continues the last copy. */
function matchChunks(from: ChunkRecipe, to: ChunkRecipe): Int32Array {
  const known = new Map<string, number>();
  for (let i = from.sizes.length - 1; i >= 0; i--) known.set(keyOf(from, i), i);
  const matches = new Int32Array(to.sizes.length);
  let next = 0;
  for (let i = 0; i < matches.length; i++) {
    const continues = next < from.sizes.length && isSameChunk(from, next, to, i);
    matches[i] = continues ? next : (known.get(keyOf(to, i)) ?? -1);
    if (matches[i]! >= 0) next = matches[i]! + 1;
  }
  return matches;
}

function keyOf(recipe: ChunkRecipe, index: number): string {
  return recipe.sha256s.toString('latin1', index * SHA256_BYTES, (index + 1) * SHA256_BYTES);
}

function isSameChunk(from: ChunkRecipe, index: number, to: ChunkRecipe, other: number): boolean {
  const [at, otherAt] = [index * SHA256_BYTES, other * SHA256_BYTES];
  return from.sha256s.compare(to.sha256s, otherAt, otherAt + SHA256_BYTES, at, at + SHA256_BYTES) === 0;
}

/** Where each chunk starts in the blob, and behind them its size. */
function startsOf({ sizes }: ChunkRecipe): Float64Array {
  const starts = new Float64Array(sizes.length + 1);
  for (let i = 0; i < sizes.length; i++) starts[i + 1] = starts[i]! + sizes[i]!;
  return starts;
}

function measured(baseBytes: number, resultBytes: number, steps: readonly (CopyStep | InsertStep)[]): DeltaPlan {
  let insertedBytes = 0;
  let deltaBytes = encodeDeltaHead(baseBytes, resultBytes).length;
  for (const step of steps) {
    if (step.kind === 'insert') insertedBytes += step.sizeBytes;
    deltaBytes +=
      step.kind === 'insert' ? insertInstructionBytes(step.sizeBytes) : encodeCopy(step.offset, step.sizeBytes).length;
  }
  return { baseBytes, resultBytes, steps, insertedBytes, deltaBytes };
}

/** How many bytes the base's and the result's have in common at their start, and then at their end. */
export function narrowInsert(base: Buffer, result: Buffer): { readonly prefixBytes: number; readonly suffixBytes: number } {
  const most = Math.min(base.length, result.length);
  let prefixBytes = 0;
  while (prefixBytes < most && base[prefixBytes] === result[prefixBytes]) prefixBytes++;
  let suffixBytes = 0;
  const [baseLast, resultLast] = [base.length - 1, result.length - 1];
  while (suffixBytes < most - prefixBytes && base[baseLast - suffixBytes] === result[resultLast - suffixBytes]) suffixBytes++;
  return { prefixBytes, suffixBytes };
}

/** The two sizes that a delta begins with. */
export function encodeDeltaHead(baseBytes: number, resultBytes: number): Buffer {
  const bytes: number[] = [];
  for (let rest of [baseBytes, resultBytes]) {
    while (rest >= 0x80) {
      bytes.push((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    bytes.push(rest);
  }
  return Buffer.from(bytes);
}

/** The instructions that copy `sizeBytes` from `offset` (below 2^32) of the base; none for 0 bytes. */
export function encodeCopy(offset: number, sizeBytes: number): Buffer {
  const bytes: number[] = [];
  for (let done = 0; done < sizeBytes; ) {
    const size = Math.min(sizeBytes - done, COPY_BYTES_MAX);
    const opAt = bytes.push(0x80) - 1;
    for (let byte = 0, rest = offset + done; byte < 4; byte++, rest = Math.floor(rest / 256)) {
      if (rest % 256 > 0) bytes[opAt]! |= 1 << byte;
      if (rest % 256 > 0) bytes.push(rest % 256);
    }
    for (let byte = 0, rest = size; size !== 0x10000 && byte < 3; byte++, rest >>>= 8) {
      if ((rest & 0xff) > 0) bytes[opAt]! |= 0x10 << byte;
      if ((rest & 0xff) > 0) bytes.push(rest & 0xff);
    }
    done += size;
  }
  return Buffer.from(bytes);
}

/** The instructions that insert `bytes`. */
export function encodeInsert(bytes: Buffer): Buffer {
  const out = Buffer.allocUnsafe(insertInstructionBytes(bytes.length));
  for (let from = 0, to = 0; from < bytes.length; ) {
    const size = Math.min(bytes.length - from, INSERT_BYTES_MAX);
    out[to++] = size;
    bytes.copy(out, to, from, from + size);
    from += size;
    to += size;
  }
  return out;
}

/** How many bytes `encodeInsert` makes of so many. */
export function insertInstructionBytes(sizeBytes: number): number {
  return sizeBytes + Math.ceil(sizeBytes / INSERT_BYTES_MAX);
}
