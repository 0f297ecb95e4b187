import { BLOCK_BYTES, CHAIN_AT, type Kernel, pad, sha1Kernel, WINDOW_AT, WINDOW_BYTES } from './kernel.ts';

/** One message that is hashed as it comes. It keeps its own state: any number of them may be open at a time. */
export class CheckedSha1 {
  readonly #kernel: Kernel = sha1Kernel();
  readonly #chain = Uint32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0);
  /** The bytes of the block that is not full. */
  readonly #rest = Buffer.alloc(BLOCK_BYTES);
  #restBytes = 0;
  #size = 0;
  /** Whether a block of a collision attack was among the bytes; known once they have been digested. */
  isAttack = false;

  update(bytes: Buffer): this {
    const { memory } = this.#kernel;
    this.#size += bytes.length;
    for (let at = 0; at < bytes.length; ) {
      this.#rest.copy(memory, WINDOW_AT, 0, this.#restBytes);
      const taken = Math.min(bytes.length - at, WINDOW_BYTES - this.#restBytes);
      bytes.copy(memory, WINDOW_AT + this.#restBytes, at, at + taken);
      at += taken;
      const held = this.#restBytes + taken;
      this.#restBytes = held % BLOCK_BYTES;
      this.#compress(held - this.#restBytes);
      memory.copy(this.#rest, 0, WINDOW_AT + held - this.#restBytes, WINDOW_AT + held);
    }
    return this;
  }

  #compress(bytes: number): void {
    if (bytes === 0) return;
    const { memory, serial } = this.#kernel;
    for (let i = 0; i < 5; i++) memory.writeUInt32LE(this.#chain[i]!, CHAIN_AT + 16 * i);
    if (serial(CHAIN_AT, WINDOW_AT, bytes / BLOCK_BYTES) === 1) this.isAttack = true;
    for (let i = 0; i < 5; i++) this.#chain[i] = memory.readUInt32LE(CHAIN_AT + 16 * i);
  }

  digest(): Buffer {
    const { memory } = this.#kernel;
    this.#rest.copy(memory, WINDOW_AT, 0, this.#restBytes);
    this.#compress(pad(memory, WINDOW_AT, WINDOW_AT + this.#restBytes, this.#size));
    const digest = Buffer.allocUnsafe(20);
    for (let i = 0; i < 5; i++) digest.writeUInt32BE(this.#chain[i]!, 4 * i);
    return digest;
  }
}
