import type { Deflate, Inflate } from 'node:zlib';
import { assert } from '../base/mod.ts';

/** The members of Node's zlib handle that are used here; they are not public, so `reusableHandle` checks that they are there. */
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

export interface ReusableHandle {
  readonly handle: ZlibHandle;
  /** After a write: bytes of output that are free, and of input that are left. */
  readonly state: Uint32Array;
}

/**
 * The handle of a stream that is written to by nobody else. Node closes a handle on a fault and aborts the process at the next write; `onError` takes its
 * place, and every write is to be followed by a look at what it was told.
 */
export function reusableHandle(stream: Inflate | Deflate, onError: (message: string) => void): ReusableHandle {
  const { _handle: handle, _writeState: state } = stream as unknown as { _handle: ZlibHandle; _writeState: Uint32Array };
  assert(typeof handle?.writeSync === 'function' && state?.length === 2, 'this Node has no reusable zlib handle');
  handle.onerror = onError;
  return { handle, state };
}
