import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { readFully } from './pack-source.ts';

let serial = 0;

/** Bytes that are too many to hold: a file without a name, gone when it is closed or its process ends. */
export class SpoolFile {
  readonly #fd: number;
  #closed = false;
  sizeBytes: number;

  private constructor(fd: number, sizeBytes: number) {
    this.#fd = fd;
    this.sizeBytes = sizeBytes;
  }

  static create(folder: string): SpoolFile {
    const path = join(folder, `large-${serial++}`);
    const fd = openSync(path, 'wx+', 0o600);
    unlinkSync(path);
    return new SpoolFile(fd, 0);
  }

  /** Takes over a file that somebody wrote; its name goes. */
  static adopt(path: string, sizeBytes: number): SpoolFile {
    const fd = openSync(path, 'r');
    unlinkSync(path);
    return new SpoolFile(fd, sizeBytes);
  }

  append(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const written = writeSync(this.#fd, bytes, at, bytes.length - at, this.sizeBytes);
      at += written;
      this.sizeBytes += written;
    }
  }

  /** Reads `length` bytes at `offset` into `into[at]`; how many there were. */
  readInto(into: Buffer, at: number, offset: number, length: number): number {
    return readFully(this.#fd, into.subarray(at, at + length), offset, length);
  }

  close(): void {
    if (!this.#closed) closeSync(this.#fd);
    this.#closed = true;
  }
}
