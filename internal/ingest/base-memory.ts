import type { TreeShape } from '../object/mod.ts';

/** A larger base is a buffer of its own, handed over where it fits. */
const HANDED_OVER_BYTES_MIN = 1 << 20;
/** Room for a delta or what it makes; most packs of one commit have none. */
const ROOM_BYTES_MIN = 1 << 16;
/** Sizes grow by a quarter of a power of two, so that at most a fifth of a buffer is not used. */
const STEPS = 4;
/** What is smaller takes as much. */
const LEAST_BITS = 8;
/** More that nobody uses is left to the garbage collector. */
const FREE_BYTES_MAX = 8 << 20;
/** What is kept takes at most so many times its bytes. */
const SLACK = 1.25;
const NOTHING = Buffer.alloc(0);

/**
 * Memory for making objects of deltas: a buffer for a delta, one for what it makes, and what is kept of it as bases. Those come and go by the hundred
 * thousand, so what was given back is the next one's: left to the garbage collector, it stands about until there are 64 MiB of it in each thread.
 */
export class BaseMemory {
  /** By size class. */
  readonly #free: ArrayBuffer[][] = [];
  #freeBytes = 0;
  #delta: Buffer = NOTHING;
  #scratch: Buffer = NOTHING;
  #spare: Buffer = NOTHING;

  /** Room for a delta of at least so many bytes, until the next call. */
  delta(size: number): Buffer {
    if (this.#delta.length < size) this.#delta = wider(this.#delta, size);
    return this.#delta;
  }

  /** Room for what a delta makes, until the next call. */
  scratch(size: number): Buffer {
    if (this.#scratch.length >= size) return this.#scratch;
    const isSpareWide = this.#spare.length >= size;
    if (isSpareWide) this.#scratch = this.#spare;
    this.#spare = NOTHING;
    if (!isSpareWide) this.#scratch = wider(this.#scratch, size);
    return this.#scratch;
  }

  /** What is in the scratch buffer, for keeping: of a large result that fills it the buffer is given away, others are copied. */
  keep(bytes: Buffer): Buffer {
    if (bytes.length < HANDED_OVER_BYTES_MIN || bytes.buffer.byteLength > bytes.length * SLACK) {
      const kept = this.base(bytes.length);
      bytes.copy(kept);
      return kept;
    }
    this.#scratch = this.#spare;
    this.#spare = NOTHING;
    return bytes;
  }

  /** A copy of a shape. */
  keepShape(shape: TreeShape): TreeShape {
    const kept = new Uint32Array(this.#take(shape.byteLength).buffer, 0, shape.length);
    kept.set(shape);
    return kept;
  }

  /** A base of that size, with anything in it. */
  base(size: number): Buffer {
    return size < HANDED_OVER_BYTES_MIN ? this.#take(size) : Buffer.allocUnsafeSlow(size);
  }

  /**
   * Takes back a base or shape that nobody looks at any more. A large one is the next scratch buffer: waiting for the collector would hold several
   * at once.
   */
  giveBack(kept: Buffer | TreeShape): void {
    const buffer = kept.buffer as ArrayBuffer;
    if (kept instanceof Buffer && kept.length >= HANDED_OVER_BYTES_MIN) {
      if (kept.length > this.#spare.length) this.#spare = kept;
    } else if (this.#freeBytes + buffer.byteLength <= FREE_BYTES_MAX) {
      const sizeClass = classOf(buffer.byteLength);
      const free = this.#free[sizeClass];
      if (free === undefined) this.#free[sizeClass] = [buffer];
      else free.push(buffer);
      this.#freeBytes += buffer.byteLength;
    }
  }

  #take(size: number): Buffer<ArrayBuffer> {
    const sizeClass = classOf(size);
    const found = this.#free[sizeClass]?.pop();
    if (found === undefined) return Buffer.allocUnsafeSlow(bytesOf(sizeClass)).subarray(0, size);
    this.#freeBytes -= found.byteLength;
    return Buffer.from(found, 0, size);
  }
}

function wider(buffer: Buffer, size: number): Buffer {
  return Buffer.allocUnsafeSlow(Math.max(size, ROOM_BYTES_MIN, Math.min(buffer.length * 2, 1 << 24)));
}

/** The smallest class whose buffers have `size` bytes. */
function classOf(size: number): number {
  const bits = Math.max(LEAST_BITS, 31 - Math.clz32(Math.max(size - 1, 1)));
  const step = Math.ceil(((Math.max(size, 1 << LEAST_BITS) - 2 ** bits) / 2 ** bits) * STEPS);
  return (bits - LEAST_BITS) * STEPS + step;
}

function bytesOf(sizeClass: number): number {
  return 2 ** (LEAST_BITS + Math.floor(sizeClass / STEPS)) * (1 + (sizeClass % STEPS) / STEPS);
}
