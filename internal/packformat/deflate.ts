import { constants, createDeflate, type Deflate } from 'node:zlib';
import { assert, PackhouseError } from '../base/mod.ts';
import { type ReusableHandle, reusableHandle } from './zlib-handle.ts';

/**
 * A zlib encoder that is used again for one small object after another: a new one is 268 KiB of memory, which the garbage collector hears of.
 */
export class Deflater {
  /** The longest input that it takes. */
  readonly bytesMax: number;
  readonly #stream: Deflate;
  readonly #zlib: ReusableHandle;
  readonly #out: Buffer;
  #error: string | null = null;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
    // Never longer than stored blocks of 16 KiB or less, five bytes each, in a frame of 6 (zlib.h, deflateBound).
    this.#out = Buffer.allocUnsafeSlow(bytesMax + (bytesMax >>> 6) + 64);
    this.#stream = createDeflate();
    this.#zlib = reusableHandle(this.#stream, (message) => {
      this.#error = message;
    });
  }

  /** The zlib stream of `data`, at the level that git takes. */
  deflate(data: Uint8Array): Buffer {
    assert(data.length <= this.bytesMax, 'the input is short enough');
    const out = this.#out;
    this.#error = null;
    this.#zlib.handle.reset();
    this.#zlib.handle.writeSync(constants.Z_FINISH, data, 0, data.length, out, 0, out.length);
    const left = this.#zlib.state[0]!;
    if (this.#error !== null || this.#zlib.state[1] !== 0 || left === 0)
      throw new PackhouseError('internal', `zlib did not deflate ${data.length} bytes: ${this.#error ?? 'no room'}`);
    return Buffer.from(out.subarray(0, out.length - left));
  }
}
