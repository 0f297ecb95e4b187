import { hash } from 'node:crypto';
import { type ChunkingParameters, checkCutSizes } from './types.ts';

export type CutSizes = Pick<ChunkingParameters, 'minBytes' | 'avgBytes' | 'maxBytes'>;

/** Cuts one stream of bytes by its content. Cuts do not depend on how the stream was split into calls. */
export interface Cutter {
  /** Takes the next bytes; the sizes of the chunks that ended since the last call. The array is used again by the next call. */
  push(bytes: Uint8Array): readonly number[];
  /** Ends the stream and begins another; the sizes of the chunks that were left. */
  finish(): readonly number[];
}

/** How much harder cuts are before the average size, and easier behind it: level 2 of the paper's normalized chunking, in bits. */
const NORMALIZATION_BITS = 2;
/** One random word for each value of a byte: the first four bytes, big-endian, of SHA-256 of this text and the value in decimal. */
const GEAR_SEED = 'packhouse gear ';
const GEAR = Int32Array.from({ length: 256 }, (_, byte) => hash('sha256', `${GEAR_SEED}${byte}`, 'buffer').readInt32BE(0));

/**
 * FastCDC (Xia et al., USENIX ATC 2016): a gear hash h = (h << 1) + gear[byte] of 32 bits from a chunk's `minBytes`-th byte on; a chunk
 * ends behind the byte where the hash's upper bits are all zero, log2(avg) + 2 of them before `avgBytes`, log2(avg) - 2 from there on, and at
 * `maxBytes` in any case. A shift moves a byte out of the hash after 32 others, so cuts settle soon after an edit.
 */
export class FastCdcCutter implements Cutter {
  readonly #min: number;
  readonly #avg: number;
  readonly #max: number;
  readonly #hardMask: number;
  readonly #easyMask: number;
  /** Bytes of the chunk so far, and the hash over those from `minBytes` on. */
  #size = 0;
  #hash = 0;
  #cut = false;
  readonly #sizes: number[] = [];

  /** @throws PackhouseError `chunking-parameters` */
  constructor(sizes: CutSizes) {
    checkCutSizes(sizes);
    this.#min = sizes.minBytes;
    this.#avg = sizes.avgBytes;
    this.#max = sizes.maxBytes;
    const bits = Math.log2(sizes.avgBytes);
    this.#hardMask = upperBits(bits + NORMALIZATION_BITS);
    this.#easyMask = upperBits(bits - NORMALIZATION_BITS);
  }

  push(bytes: Uint8Array): readonly number[] {
    const sizes = this.#sizes;
    sizes.length = 0;
    for (let start = 0; start < bytes.length; ) {
      const end = this.#end(bytes, start);
      this.#size += end - start;
      start = end;
      if (!this.#cut) break;
      sizes.push(this.#size);
      this.#size = 0;
      this.#hash = 0;
    }
    return sizes;
  }

  /** Where the chunk that goes on at `start` ends in `bytes`, or their length; `#cut` says whether it does. */
  #end(bytes: Uint8Array, start: number): number {
    const left = (most: number): number => Math.min(start + Math.max(most - this.#size, 0), bytes.length);
    this.#cut = false;
    let at = this.#search(bytes, left(this.#min), left(this.#avg), this.#hardMask);
    if (!this.#cut) at = this.#search(bytes, at, left(this.#max), this.#easyMask);
    if (at - start === this.#max - this.#size) this.#cut = true;
    return at;
  }

  /** Hashes `bytes[from, to)` until there is a cut: the place behind it, or `to`. All numbers stay small integers, or it is four times slower. */
  #search(bytes: Uint8Array, from: number, to: number, mask: number): number {
    const gear = GEAR;
    let h = this.#hash;
    for (let at = from; at < to; at++) {
      h = ((h << 1) + gear[bytes[at]!]!) | 0;
      if ((h & mask) === 0) {
        this.#cut = true;
        return at + 1;
      }
    }
    this.#hash = h;
    return Math.max(from, to);
  }

  finish(): readonly number[] {
    const sizes = this.#sizes;
    sizes.length = 0;
    if (this.#size > 0) sizes.push(this.#size);
    this.#size = 0;
    this.#hash = 0;
    return sizes;
  }
}

function upperBits(count: number): number {
  return count >= 32 ? -1 : ~(0xffffffff >>> count);
}
