import { markAsUntransferable } from 'node:worker_threads';

const SLAB_BYTES = 8192;
/** Longer ones get memory of their own. */
const SHARED_BYTES_MAX = SLAB_BYTES / 8;

const slabs = new WeakSet<ArrayBufferLike>();
let slab = Buffer.alloc(0);
let used = 0;

/**
 * The same bytes for whoever keeps them long. Node cuts small buffers from blocks of 64 KiB, and most of a block is for what lives for a moment: 20 bytes
 * that are kept out of one keep all of it alive. What comes from here shares memory only with other bytes that are kept.
 */
export function keepBytes(bytes: Buffer): Buffer {
  const { length } = bytes;
  if (length * 2 > bytes.buffer.byteLength || slabs.has(bytes.buffer)) return bytes;
  if (length > SHARED_BYTES_MAX) {
    const own = Buffer.allocUnsafeSlow(length);
    own.set(bytes);
    return own;
  }
  if (used + length > slab.length) {
    slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    markAsUntransferable(slab.buffer);
    slabs.add(slab.buffer);
    used = 0;
  }
  const kept = slab.subarray(used, used + length);
  kept.set(bytes);
  used += length;
  return kept;
}
