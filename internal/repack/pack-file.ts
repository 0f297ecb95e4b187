import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import type { ObjectFormat } from '../object/mod.ts';

const HELD_BYTES_MAX = 1 << 20;

/** A file that is written from start to end through a buffer; with a format, hashed on the way. */
export class FileWriter {
  readonly #fd: number;
  #hash: Hash | null;
  readonly #held = Buffer.allocUnsafe(HELD_BYTES_MAX);
  #heldBytes = 0;
  /** Bytes given to it so far. */
  position = 0;

  constructor(path: string, format?: ObjectFormat) {
    this.#fd = openSync(path, 'w', 0o600);
    this.#hash = format === undefined ? null : createHash(format);
  }

  write(bytes: Buffer): void {
    this.position += bytes.length;
    if (this.#heldBytes + bytes.length > HELD_BYTES_MAX) this.flush();
    if (bytes.length > HELD_BYTES_MAX) {
      this.#put(bytes);
      return;
    }
    bytes.copy(this.#held, this.#heldBytes);
    this.#heldBytes += bytes.length;
  }

  /** Everything that was given is in the file. */
  flush(): void {
    if (this.#heldBytes > 0) this.#put(this.#held.subarray(0, this.#heldBytes));
    this.#heldBytes = 0;
  }

  #put(bytes: Buffer): void {
    this.#hash?.update(bytes);
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
  }

  /** Ends the file with the hash of all that was written, which is given back too. */
  trailer(): Buffer {
    this.flush();
    const digest = this.#hash!.digest();
    this.#hash = null;
    this.write(digest);
    this.flush();
    return digest;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
