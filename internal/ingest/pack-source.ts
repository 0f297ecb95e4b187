import { readSync } from 'node:fs';
import { assert } from '../base/mod.ts';

/** A view of pack bytes: `buffer[at, end)` are the bytes of the pack from some offset on. */
export interface PackWindow {
  readonly buffer: Buffer;
  readonly at: number;
  readonly end: number;
}

/** The bytes of one incoming pack, as far as they have arrived. */
export interface PackSource {
  /** Bytes that have arrived. */
  readonly available: number;
  /** At least `minimum` bytes from `offset` on, or all that there are: a view that the next call may overwrite. */
  window(offset: number, minimum: number): PackWindow;
}

/** A pack that is held in memory whole. */
export class MemorySource implements PackSource {
  readonly bytes: Buffer;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
  get available(): number {
    return this.bytes.length;
  }
  window(offset: number): PackWindow {
    return { buffer: this.bytes, at: Math.min(offset, this.bytes.length), end: this.bytes.length };
  }
}

const WINDOW_BYTES = 1 << 20;
/** A pack up to this size is read whole before its deltas are resolved. */
const HELD_BYTES_MAX = 16 << 20;
/** What a read that does not continue the last one takes: bases of deltas are scattered and mostly small. */
const SCATTERED_BYTES = 1 << 14;

/** A pack in a spool file that is still growing: `grow` says how far it has been written. */
export class SpoolSource implements PackSource {
  readonly fd: number;
  available = 0;
  #buffer = Buffer.allocUnsafe(WINDOW_BYTES);
  #start = 0;
  #length = 0;

  constructor(fd: number) {
    this.fd = fd;
  }

  grow(available: number): void {
    assert(available >= this.available, 'a spool file never shrinks');
    this.available = available;
  }

  /** For whoever is about to look at entries in any order: of a pack that is not large, which has come whole, nothing is read again. */
  hold(): void {
    if (this.available > HELD_BYTES_MAX) return;
    this.#buffer = Buffer.allocUnsafeSlow(this.available);
    this.#start = 0;
    this.#length = readFully(this.fd, this.#buffer, 0, this.available);
  }

  window(offset: number, minimum: number): PackWindow {
    const wanted = Math.min(minimum, this.available - offset);
    const at = offset - this.#start;
    if (at >= 0 && at + wanted <= this.#length) return { buffer: this.#buffer, at, end: this.#length };
    const sequential = at >= 0 && at <= this.#length;
    const size = Math.max(sequential ? WINDOW_BYTES : SCATTERED_BYTES, minimum);
    if (this.#buffer.length < size || this.#buffer.length > 2 * WINDOW_BYTES) {
      this.#buffer = Buffer.allocUnsafe(Math.max(size, WINDOW_BYTES));
    }
    this.#start = offset;
    this.#length = readFully(this.fd, this.#buffer, offset, Math.min(size, this.available - offset));
    return { buffer: this.#buffer, at: 0, end: this.#length };
  }
}

/** Reads `length` bytes at `offset` of a file into the start of `into`; how many there were. */
export function readFully(fd: number, into: Buffer, offset: number, length: number): number {
  let got = 0;
  while (got < length) {
    const n = readSync(fd, into, got, length - got, offset + got);
    if (n === 0) break;
    got += n;
  }
  return got;
}
