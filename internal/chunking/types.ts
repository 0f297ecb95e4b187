import { PackhouseError } from '../base/mod.ts';

/** How large blobs are cut. */
export interface ChunkingParameters {
  /** Blobs of at least this size are cut, smaller ones are entries of their pack. */
  readonly thresholdBytes: number;
  /** No chunk but a blob's last is smaller. */
  readonly minBytes: number;
  /** About the mean size of chunks: a power of two. */
  readonly avgBytes: number;
  /** No chunk is larger. */
  readonly maxBytes: number;
}

/** The chunks of one blob in order, as parallel arrays. */
export interface ChunkRecipe {
  /** Of the blob. */
  readonly sizeBytes: number;
  /** Adler-32 of the whole blob, unsigned. */
  readonly adler: number;
  /** SHA-256 of each chunk's plain bytes: n × 32. */
  readonly sha256s: Buffer;
  /** The chunk pack that holds each; 0: the push's own new chunk pack, which has no id yet. */
  readonly packIds: Float64Array;
  /** First byte of the raw deflate segment in that chunk pack. */
  readonly offsets: Float64Array;
  /** Bytes of the segment. */
  readonly lengths: Float64Array;
  /** Plain bytes of the chunk. */
  readonly sizes: Float64Array;
  readonly adlers: Uint32Array;
}

export const SHA256_BYTES = 32;

/** Below it the gear hash has not seen enough bytes to cut by content. */
const MIN_BYTES_LEAST = 64;
const AVG_BYTES_MOST = 2 ** 28;
const MAX_BYTES_MOST = 2 ** 30;

/**
 * Refuses parameters that a kernel would take and make nonsense of: 64 <= min < avg < max <= 2^30, avg a power of two up to 2^28.
 * @throws PackhouseError `chunking-parameters`
 */
export function checkCutSizes({
  minBytes,
  avgBytes,
  maxBytes,
}: Pick<ChunkingParameters, 'minBytes' | 'avgBytes' | 'maxBytes'>): void {
  const whole = [minBytes, avgBytes, maxBytes].every(Number.isSafeInteger);
  const ordered = MIN_BYTES_LEAST <= minBytes && minBytes < avgBytes && avgBytes < maxBytes && maxBytes <= MAX_BYTES_MOST;
  const power = avgBytes <= AVG_BYTES_MOST && 2 ** Math.round(Math.log2(avgBytes)) === avgBytes;
  if (whole && ordered && power) return;
  throw new PackhouseError(
    'chunking-parameters',
    `chunk sizes ${minBytes}, ${avgBytes}, ${maxBytes}: must be ${MIN_BYTES_LEAST} <= min < avg < max <= 2^30, avg a power of two`,
    { minBytes, avgBytes, maxBytes },
  );
}
