import { constants, createDeflate, type Deflate } from 'node:zlib';
import { assert, PackhouseError } from '../base/mod.ts';

/** The members of Node's zlib handle that are used here; they are not public, so the constructor checks that they are there. */
interface ZlibHandle {
  reset(): void;
  writeSync(
    flush: number,
    input: Uint8Array,
    inAt: number,
    inLength: number,
    output: Uint8Array,
    outAt: number,
    outLength: number,
  ): void;
  onerror: (message: string, errno: number, code: string) => void;
}

/**
 * A zlib encoder that is used again for one small object after another: a new one is 268 KiB of memory, which the garbage collector hears of. Node closes
 * a handle on an error; our own `onerror` takes its place.
 */
export class Deflater {
  /** The longest input that it takes. */
  readonly bytesMax: number;
  readonly #stream: Deflate;
  readonly #handle: ZlibHandle;
  readonly #state: Uint32Array;
  readonly #out: Buffer;
  #error: string | null = null;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
    // Never longer than stored blocks of 16 KiB or less, five bytes each, in a frame of 6 (zlib.h, deflateBound).
    this.#out = Buffer.allocUnsafeSlow(bytesMax + (bytesMax >>> 6) + 64);
    this.#stream = createDeflate();
    const internals = this.#stream as unknown as { _handle: ZlibHandle; _writeState: Uint32Array };
    this.#handle = internals._handle;
    this.#state = internals._writeState;
    assert(typeof this.#handle?.writeSync === 'function' && this.#state?.length === 2, 'this Node has no reusable zlib handle');
    this.#handle.onerror = (message) => {
      this.#error = message;
    };
  }

  /** The zlib stream of `data`, at the level that git takes. */
  deflate(data: Uint8Array): Buffer {
    assert(data.length <= this.bytesMax, 'the input is short enough');
    const out = this.#out;
    this.#error = null;
    this.#handle.reset();
    this.#handle.writeSync(constants.Z_FINISH, data, 0, data.length, out, 0, out.length);
    const [left, waiting] = this.#state as unknown as [number, number];
    if (this.#error !== null || waiting !== 0 || left === 0)
      throw new PackhouseError('internal', `zlib did not deflate ${data.length} bytes: ${this.#error ?? 'no room'}`);
    return Buffer.from(out.subarray(0, out.length - left));
  }
}
