import { PackhouseError } from './errors.ts';

/** Large requests take seconds to minutes. */
const RETRY_AFTER_SECONDS = 30;

/** Memory that was granted. It counts until `release`, which may be called again. */
export interface MemoryClaim {
  readonly bytes: number;
  release(): void;
}

interface Waiter {
  readonly bytes: number;
  readonly grant: (claim: MemoryClaim) => void;
}

/**
 * A bound on what the large requests of a process hold together. Whoever is about to need much memory takes a claim for the most that he will
 * hold, and waits until there is room for it: those who wait are served in the order in which they came, so that a large claim is not passed
 * over for ever. A claim of more than the whole budget is granted alone. Small work takes no claim and so never waits.
 *
 * It counts what callers say and measures nothing: an estimate that is too low shows in the memory of the process.
 */
export class MemoryBudget {
  readonly #bytesMax: number;
  readonly #waitersMax: number;
  readonly #waiters = new Set<Waiter>();
  #used = 0;

  constructor(options: { readonly bytesMax: number; readonly waitersMax: number }) {
    this.#bytesMax = options.bytesMax;
    this.#waitersMax = options.waitersMax;
  }

  /** Bytes of the claims that are held. */
  get usedBytes(): number {
    return this.#used;
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  /**
   * A claim, once there is room for it. Whoever gives up waiting does so by the signal.
   * @throws PackhouseError `overloaded` with `retryAfterSeconds` in its data, at once, when as many wait as may; the reason of the signal
   */
  async take(bytes: number, signal?: AbortSignal): Promise<MemoryClaim> {
    signal?.throwIfAborted();
    const wanted = Math.min(bytes, this.#bytesMax);
    if (this.#waiters.size === 0 && this.#used + wanted <= this.#bytesMax) return this.#grant(wanted);
    if (this.#waiters.size >= this.#waitersMax)
      throw new PackhouseError('overloaded', 'too many large requests at a time; try again later', {
        waiting: this.#waiters.size,
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      });
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiters.delete(waiter);
        reject(signal!.reason as Error);
        this.#serve();
      };
      const waiter: Waiter = {
        bytes: wanted,
        grant: (claim) => {
          signal?.removeEventListener('abort', onAbort);
          resolve(claim);
        },
      };
      this.#waiters.add(waiter);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  #grant(bytes: number): MemoryClaim {
    this.#used += bytes;
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      this.#used -= bytes;
      this.#serve();
    };
    return { bytes, release };
  }

  #serve(): void {
    for (const waiter of this.#waiters) {
      if (this.#used + waiter.bytes > this.#bytesMax) return;
      this.#waiters.delete(waiter);
      waiter.grant(this.#grant(waiter.bytes));
    }
  }
}
