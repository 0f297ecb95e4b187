import { BATCH_AT, BATCH_BYTES, BLOCK_BYTES, DIGESTS_AT, JOBS_AT, JOBS_MAX, type Kernel, pad, sha1Kernel } from './kernel.ts';

const DIGEST_BYTES = 20;
/** A message that takes more of the batch than this is better streamed: eight of about one size are worked on at a time. */
const MESSAGE_BYTES_MAX = BATCH_BYTES / 4;

/**
 * Many messages that are hashed together, eight at a time. All batches of a thread share one memory: between `clear` and the last look at what `run`
 * has made there is no other.
 */
export class Sha1Batch {
  readonly #kernel: Kernel = sha1Kernel();
  readonly #starts = new Uint32Array(JOBS_MAX);
  readonly #ends = new Uint32Array(JOBS_MAX);
  /** Number of each message in the kernel's table. */
  readonly #places = new Uint16Array(JOBS_MAX);
  readonly #keys = new Uint32Array(JOBS_MAX);
  #end = BATCH_AT;
  /** Messages that were added. */
  count = 0;

  /** Whether a message of that size ever fits. */
  static holds(bytes: number): boolean {
    return bytes <= MESSAGE_BYTES_MAX;
  }

  clear(): void {
    this.count = 0;
    this.#end = BATCH_AT;
  }

  /** Takes a copy of the message `buffer[start, end)`; false when the batch is full. */
  add(buffer: Buffer, start: number, end: number): boolean {
    const at = this.#end;
    const size = end - start;
    if (this.count === JOBS_MAX || at + size + 2 * BLOCK_BYTES > BATCH_AT + BATCH_BYTES) return false;
    const { memory } = this.#kernel;
    buffer.copy(memory, at, start, end);
    const padded = pad(memory, at, at + size, size);
    this.#starts[this.count] = at;
    this.#ends[this.count] = at + size;
    // By length, then by order: the longest are begun first, so that the eight end at about the same time.
    this.#keys[this.count] = (padded / BLOCK_BYTES) * JOBS_MAX + this.count;
    this.#end = at + padded;
    this.count++;
    return true;
  }

  /** Hashes all. The number of a message that is of a collision attack, with which the digests of the others may be missing; -1: none. */
  run(): number {
    const { memory } = this.#kernel;
    const keys = this.#keys.subarray(0, this.count).sort();
    for (let place = 0; place < this.count; place++) {
      const key = keys[this.count - 1 - place]!;
      const message = key % JOBS_MAX;
      this.#places[message] = place;
      memory.writeUInt32LE(this.#starts[message]!, JOBS_AT + place * 8);
      memory.writeUInt32LE(Math.floor(key / JOBS_MAX), JOBS_AT + place * 8 + 4);
    }
    const found = this.#kernel.lanes(this.count);
    return found < 0 ? -1 : keys[this.count - 1 - found]! % JOBS_MAX;
  }

  /** What the messages lie in, from `start` to `end` of each. */
  get memory(): Buffer {
    return this.#kernel.memory;
  }

  start(message: number): number {
    return this.#starts[message]!;
  }

  end(message: number): number {
    return this.#ends[message]!;
  }

  /** After `run`: writes the digest of a message. */
  copyDigest(message: number, into: Buffer, at: number): void {
    const from = DIGESTS_AT + this.#places[message]! * DIGEST_BYTES;
    this.#kernel.memory.copy(into, at, from, from + DIGEST_BYTES);
  }
}
