import { Worker } from 'node:worker_threads';

/** With a small nursery, what is not looked at any more gives its memory back soon: a third less at the peak, and faster. */
export const WORKER_LIMITS = { maxYoungGenerationSizeMb: 2 };
const EVENTS = ['message', 'error', 'exit'] as const;

/** Nobody hears of it any more. Only what was added: a worker listens to itself as well. */
export function leaveWorker(worker: Worker): void {
  for (const event of EVENTS) worker.removeAllListeners(event);
}

/** Threads that run one file, of which one that has done its work waits for more: it need not start, and its code is compiled. */
export class SpareWorker {
  readonly #file: URL;
  readonly #waitMsMax: number;
  #idle: { readonly worker: Worker; readonly timer: NodeJS.Timeout } | null = null;

  constructor(file: URL, waitMsMax: number) {
    this.#file = file;
    this.#waitMsMax = waitMsMax;
  }

  /** Starts one that waits, unless one does, which waits on: whoever takes it need not wait for its start. The one that waits, which must not answer. */
  prepare(): Worker {
    if (this.#idle === null) this.keep(this.take());
    const { worker, timer } = this.#idle!;
    timer.refresh();
    return worker;
  }

  take(): Worker {
    if (this.#idle === null) return new Worker(this.#file, { resourceLimits: WORKER_LIMITS });
    const { worker, timer } = this.#idle;
    this.#idle = null;
    clearTimeout(timer);
    leaveWorker(worker);
    worker.ref();
    return worker;
  }

  /** Keeps a worker whose work is done, for a while; it does not keep the process from its end. */
  keep(worker: Worker): void {
    leaveWorker(worker);
    if (this.#idle !== null) return void worker.terminate();
    const drop = (): void => {
      if (this.#idle?.worker === worker) this.#idle = null;
      void worker.terminate();
    };
    // One that has more to say was not done.
    for (const event of EVENTS) worker.on(event, drop);
    worker.unref();
    this.#idle = { worker, timer: setTimeout(drop, this.#waitMsMax).unref() };
  }
}
