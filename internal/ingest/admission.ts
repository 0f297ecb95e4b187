import type { MemoryBudget, MemoryClaim } from '../base/mod.ts';

/** What a worker holds whatever it works on: an isolate, windows, the cache of bases (`baseCacheBytesMax`). */
const WORKER_BYTES = 80 << 20;
/** What tables, links and object blocks take for each object of the pack, in the worker and after it. */
const OBJECT_BYTES = 300;

/**
 * The leave of one pack to be worked on by a worker. Until it is given the pack may come, into a file; it counts until `end`. The estimate goes by what
 * the pack's header announces, which costs a liar time: his pack waits until it fits.
 */
export class Admission {
  /** Rejects with `overloaded`, or when it was ended before. */
  readonly granted: Promise<void>;
  isGranted = false;
  readonly #over = new AbortController();
  #claim: MemoryClaim | null = null;

  constructor(first: readonly Buffer[], options: { readonly memory?: MemoryBudget; readonly signal?: AbortSignal }) {
    this.granted = this.#take(WORKER_BYTES + OBJECT_BYTES * announcedObjects(first), options);
    this.granted.catch(() => {});
  }

  async #take(
    bytes: number,
    { memory, signal }: { readonly memory?: MemoryBudget; readonly signal?: AbortSignal },
  ): Promise<void> {
    if (memory !== undefined) {
      const either = signal === undefined ? this.#over.signal : AbortSignal.any([signal, this.#over.signal]);
      this.#claim = await memory.take(bytes, either);
      // Ended in the moment between the grant and here.
      if (this.#over.signal.aborted) this.#claim.release();
    }
    this.#over.signal.throwIfAborted();
    this.isGranted = true;
  }

  end(): void {
    this.#over.abort();
    this.#claim?.release();
  }
}

/** What the pack's header says, 0 when these bytes are none: the scan will tell. */
function announcedObjects(first: readonly Buffer[]): number {
  const head = Buffer.concat(first.slice(0, 12).map((chunk) => chunk.subarray(0, 12)));
  return head.length >= 12 && head.toString('latin1', 0, 4) === 'PACK' ? head.readUInt32BE(8) : 0;
}
