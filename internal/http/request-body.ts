import type { IncomingMessage, ServerResponse } from 'node:http';
import { PackhouseError } from '../base/mod.ts';
import { bodyStalled, type IdleWatch } from './idle-watch.ts';

const QUEUE_BYTES_HIGH = 512 * 1024;
const QUEUE_BYTES_LOW = 128 * 1024;

/**
 * The bytes of a request as they come from the socket, chunking undone. Read once, by one reader.
 *
 * Buffers pass without a copy; when QUEUE_BYTES_HIGH wait for the reader the socket is paused. `for await` that stops early leaves
 * the rest on the socket for `discard`. Invariant: after `#ended` or `#error` is set nothing more is queued.
 */
export class RequestBody implements AsyncIterable<Buffer> {
  readonly #incoming: IncomingMessage;
  readonly #outgoing: ServerResponse;
  readonly #watch: IdleWatch;
  readonly #idleMs: number;
  readonly #queue: Buffer[] = [];
  #queuedBytes = 0;
  #paused = false;
  #listening = false;
  #continueOwed: boolean;
  #discarding = false;
  #ended: boolean;
  #error: PackhouseError | undefined;
  #wake: (() => void) | undefined;
  /** Bytes taken off the wire, still compressed. */
  bytesRead = 0;

  /** `continueOwed`: the client sent `Expect: 100-continue` and waits for leave to send. */
  constructor(incoming: IncomingMessage, outgoing: ServerResponse, watch: IdleWatch, idleMs: number, continueOwed: boolean) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    this.#watch = watch;
    this.#idleMs = idleMs;
    this.#continueOwed = continueOwed;
    this.#ended = declaredLength(incoming) === 0;
  }

  /** Nothing more will be read from it: it was read to its end, or it broke. */
  get settled(): boolean {
    return this.complete || this.#error !== undefined;
  }

  /** The parser saw its end, so the connection can carry another request. */
  get complete(): boolean {
    return this.#ended || (this.#incoming.complete && this.#error === undefined);
  }

  /** Makes the reader throw, after what is queued. The first error stays. */
  fail(error: PackhouseError): void {
    if (this.#ended || this.#error !== undefined) return;
    this.#error = error;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, void> {
    this.#sendContinue();
    this.#listen();
    for (;;) {
      const chunk = this.#queue.shift();
      if (chunk !== undefined) {
        this.#queuedBytes -= chunk.length;
        if (this.#paused && this.#queuedBytes < QUEUE_BYTES_LOW) this.#resume();
        this.#countBytes(chunk.length);
        yield chunk;
      } else if (this.#error !== undefined) {
        throw this.#error;
      } else if (this.#ended) {
        return;
      } else {
        await this.#more();
      }
    }
  }

  /**
   * Reads on and forgets, so that a client that sends before it listens gets to our answer. True when the end was reached; false
   * past `bytesMax` or `msMax`, or when the body is broken. A client that waits for a 100 is not given one.
   */
  async discard(bytesMax: number, msMax: number): Promise<boolean> {
    if (this.#ended || this.#error !== undefined || this.#continueOwed) return this.complete;
    this.#discarding = true;
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    this.#watch.end('body');
    this.#listen();
    this.#resume();
    if (this.complete) return true;
    const start = this.bytesRead;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake?.();
    }, msMax);
    while (!this.settled && !late && this.bytesRead - start <= bytesMax)
      await new Promise<void>((resolve) => (this.#wake = resolve));
    clearTimeout(timer);
    this.#wake = undefined;
    if (!this.settled) this.#pause();
    return this.complete;
  }

  #countBytes(bytes: number): void {
    const stalled = this.#watch.stalledAfter(bytes);
    if (stalled === undefined) return;
    this.fail(stalled);
    throw stalled;
  }

  async #more(): Promise<void> {
    this.#watch.begin('body', () => this.fail(bodyStalled('no byte of the request body came', this.#idleMs)));
    await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = undefined;
    this.#watch.end('body');
  }

  #sendContinue(): void {
    if (!this.#continueOwed) return;
    this.#continueOwed = false;
    if (!this.#outgoing.destroyed) this.#outgoing.writeContinue();
  }

  #listen(): void {
    if (this.#listening || this.#ended || this.#error !== undefined) return;
    this.#listening = true;
    this.#incoming.on('data', (chunk: Buffer) => this.#onData(chunk));
    this.#incoming.on('end', () => this.#onEnd());
    this.#incoming.on('close', () => this.#onClose());
    if (this.#incoming.destroyed) this.#onClose();
  }

  #onData(chunk: Buffer): void {
    this.bytesRead += chunk.length;
    if (this.#error === undefined && !this.#discarding) {
      this.#queue.push(chunk);
      this.#queuedBytes += chunk.length;
      if (this.#queuedBytes >= QUEUE_BYTES_HIGH) this.#pause();
    }
    this.#wake?.();
  }

  #onEnd(): void {
    if (this.#incoming.complete) {
      this.#ended = this.#error === undefined;
      this.#wake?.();
    } else {
      this.#onClose();
    }
  }

  #onClose(): void {
    // Each request ends so: an error would be made for nobody.
    if (this.#ended || this.#error !== undefined) return;
    const data = { bytes: this.bytesRead };
    this.fail(
      this.#incoming.complete
        ? new PackhouseError('client-gone', 'the client closed the connection', data)
        : new PackhouseError('body-truncated', `the request body ended early, after ${this.bytesRead} bytes`, data),
    );
  }

  #pause(): void {
    this.#paused = true;
    this.#incoming.pause();
  }

  #resume(): void {
    this.#paused = false;
    this.#incoming.resume();
  }
}

/** Bytes the headers promise; undefined for a chunked body, 0 for none. */
export function declaredLength(incoming: IncomingMessage): number | undefined {
  if (incoming.headers['transfer-encoding'] !== undefined) return undefined;
  return Number(incoming.headers['content-length'] ?? 0);
}
