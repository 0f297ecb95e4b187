import { setTimeout as sleep } from 'node:timers/promises';

/** Shorter waits than this are saved up: a timer costs more than they gain. */
const WAIT_MS_MIN = 20;

/** Holds reading and writing of maintenance to so many bytes a second, all that use it together. What is not used is not saved up for later. */
export class Throttle {
  readonly #bytesPerMs: number;
  /** When what was taken until now will have been paid for. */
  #paidAt = 0;

  /** `Infinity`: no bound. */
  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  /** Waits for its turn to move `bytes`. @throws the signal's reason */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const now = performance.now();
    this.#paidAt = Math.max(this.#paidAt, now) + bytes / this.#bytesPerMs;
    const waitMs = this.#paidAt - now;
    if (waitMs >= WAIT_MS_MIN) await sleep(waitMs, undefined, { signal });
  }
}
