import type { MemoryBudget, MemoryClaim } from '../base/mod.ts';

/** What a worker holds whatever it works on: an isolate, windows, the cache of bases (`baseCacheBytesMax`). */
const WORKER_BYTES = 80 << 20;
/** What tables, links and object blocks take for each object of the pack, in the worker and after it. */
const OBJECT_BYTES = 300;

/** A pack that still comes after so long gives way to others. */
const PATIENCE_MS = 10_000;

export interface AdmissionOptions {
  /** Bounds what all packs that are worked on by workers hold together; undefined: nothing does. */
  readonly memory?: MemoryBudget;
  /** Told how much memory a pack takes beyond what every pack does, while it is worked on; what it gives is called when that is over. */
  readonly makeRoom?: (bytes: number) => () => void;
  /** How long a pack that comes slowly may hold memory that others wait for. */
  readonly patienceMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * The leave of one pack to be worked on by a worker. Until it is given the pack may come, into a file; it counts until `end`. The estimate goes by what
 * the pack's header announces, which costs a liar time: his pack waits until it fits. Who sends slowly must not keep others from it: a pack that
 * is wanted by others gives way, and asks again when it has come whole.
 */
export class Admission {
  /** Rejects with `overloaded`, or when it was ended before. */
  granted: Promise<void>;
  isGranted = false;
  readonly #over = new AbortController();
  readonly #bytes: number;
  readonly #options: AdmissionOptions;
  #claim: MemoryClaim | null = null;
  #giveRoomBack: (() => void) | null = null;
  #grantedAtMs = 0;

  constructor(first: readonly Buffer[], options: AdmissionOptions) {
    this.#bytes = WORKER_BYTES + OBJECT_BYTES * announcedObjects(first);
    this.#options = options;
    this.granted = this.#take();
    this.granted.catch(() => {});
  }

  async #take(): Promise<void> {
    const { memory, signal } = this.#options;
    if (memory !== undefined) {
      const either = signal === undefined ? this.#over.signal : AbortSignal.any([signal, this.#over.signal]);
      this.#claim = await memory.take(this.#bytes, either);
      // Ended in the moment between the grant and here.
      if (this.#over.signal.aborted) this.#claim.release();
    }
    this.#over.signal.throwIfAborted();
    this.isGranted = true;
    this.#grantedAtMs = performance.now();
  }

  /** Whether it has had its time and others wait. */
  get isWanted(): boolean {
    const { memory, patienceMs = PATIENCE_MS } = this.#options;
    return this.isGranted && memory !== undefined && memory.waiting > 0 && performance.now() - this.#grantedAtMs >= patienceMs;
  }

  /** Lets others go first; the worker has been stopped. */
  giveWay(): void {
    this.isGranted = false;
    this.#claim?.release();
    this.#claim = null;
  }

  /** Asks once more, behind all who wait. */
  again(): void {
    this.granted = this.#take();
    this.granted.catch(() => {});
  }

  /** The pack has come whole and holds as many objects as it announced: what it will take is no client's word any more. */
  work(): void {
    this.#giveRoomBack = this.#options.makeRoom?.(this.#bytes - WORKER_BYTES) ?? null;
  }

  end(): void {
    this.#over.abort();
    this.#claim?.release();
    this.#giveRoomBack?.();
  }
}

/** What the pack's header says, 0 when these bytes are none: the scan will tell. */
function announcedObjects(first: readonly Buffer[]): number {
  const head = Buffer.concat(first.slice(0, 12).map((chunk) => chunk.subarray(0, 12)));
  return head.length >= 12 && head.toString('latin1', 0, 4) === 'PACK' ? head.readUInt32BE(8) : 0;
}
