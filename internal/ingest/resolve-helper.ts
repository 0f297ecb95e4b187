import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { PackhouseError, WORKER_LIMITS } from '../base/mod.ts';
import type { SharedLinks } from './delta-links.ts';
import type { SharedEntries } from './entry-table.ts';
import { PackError } from './errors.ts';
import type { PackLimits } from './limits.ts';
import type { GatheredLinks } from './links.ts';
import type { WorkOptions } from './work.ts';

/** Packs of fewer entries are resolved before another thread has started. */
const ENTRIES_MIN = 5_000;
const ARRIVED_BYTES_MIN = 1 << 20;

/** The entries whose trees of deltas are resolved: each thread takes the next ones until there are none. */
export interface SharedRoots {
  readonly indexes: Uint32Array;
  /** How many were taken. */
  readonly taken: Int32Array;
}

/** What a helper needs to resolve deltas of a pack: plain data and shared memory. */
export interface HelperJob {
  readonly fd: number;
  /** Bytes of the spool file. */
  readonly available: number;
  readonly entries: SharedEntries;
  readonly links: SharedLinks;
  readonly roots: SharedRoots;
  readonly options: Pick<WorkOptions, 'format' | 'severities' | 'detectCollisions'> & { readonly limits: PackLimits };
  readonly cutBytesMin: number;
  /** MiB that all have made. */
  readonly made: Int32Array;
  /** Entries of trees in which something was found. */
  readonly faulty: readonly number[];
}

/** What a helper has made of it. */
export interface HelperResult {
  readonly kind: 'resolved';
  readonly deltas: number;
  /** Roots of trees with blobs that are to be cut: nothing of them counts as resolved. */
  readonly left: readonly number[];
  readonly links: GatheredLinks;
  readonly warnings: readonly string[];
  readonly gitmodules: Uint8Array;
  readonly gitattributes: Uint8Array;
}

export type FromHelper = HelperResult | { readonly kind: 'failed'; readonly code: string; readonly message: string };

/** How a helper is spoken to: a job comes by the port and its result goes there, then `bell` counts up. */
export interface HelperData {
  readonly port: MessagePort;
  readonly bell: Int32Array;
}

/** The next roots that nobody has taken, one after the other; -1: none is left. */
export function nextRoot({ indexes, taken }: SharedRoots): number {
  const at = Atomics.add(taken, 0, 1);
  return at < indexes.length ? indexes[at]! : -1;
}

/**
 * A second thread for the deltas of large packs, started while such a pack still arrives. The thread that has it waits for it without an event loop; should
 * the helper die, whoever waits for this thread ends both (push.max_duration).
 */
export class ResolveHelper {
  #worker: Worker | null = null;
  #port: MessagePort | null = null;
  readonly #bell = new Int32Array(new SharedArrayBuffer(4));
  #rings = 0;
  #isReady = false;

  /** Makes it ready when the pack is worth it. */
  prepare(entries: number, arrivedBytes: number): void {
    if (this.#isReady || entries < ENTRIES_MIN || arrivedBytes < ARRIVED_BYTES_MIN) return;
    this.#isReady = true;
    this.start();
  }

  /** Starts the thread, if it is not there from an earlier pack. */
  start(): void {
    if (this.#worker !== null) return;
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#worker = new Worker(new URL('./resolve-worker.ts', import.meta.url), {
      workerData: { port: port2, bell: this.#bell } satisfies HelperData,
      transferList: [port2],
      resourceLimits: WORKER_LIMITS,
    });
    this.#worker.unref();
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  begin(job: HelperJob): void {
    this.#rings = Atomics.load(this.#bell, 0);
    this.#port!.postMessage(job);
  }

  /** Sleeps until it is done. @throws PackError */
  wait(): HelperResult {
    for (;;) {
      const received = receiveMessageOnPort(this.#port!) as { readonly message: FromHelper } | undefined;
      if (received === undefined) {
        Atomics.wait(this.#bell, 0, this.#rings);
        this.#rings = Atomics.load(this.#bell, 0);
        continue;
      }
      const { message } = received;
      if (message.kind === 'resolved') return message;
      throw message.code === 'bad-pack' ? new PackError(message.message) : new PackhouseError(message.code, message.message);
    }
  }

  /** The pack is done with; the thread stays for the next one. */
  release(): void {
    this.#isReady = false;
  }

  /** Ends the thread: after a large pack its garbage is worth more than its start. */
  end(): void {
    this.#isReady = false;
    void this.#worker?.terminate();
    this.#worker = null;
  }
}
