import type { ServerResponse } from 'node:http';
import { assert, PackhouseError } from '../base/mod.ts';
import type { ResponseSink } from './git-service.ts';
import type { IdleWatch } from './idle-watch.ts';

const HELD_BYTES_MAX = 64 * 1024;
const HELD_MS_MAX = 25;
const DONE: Promise<void> = Promise.resolve();

/** What git's own server sends with everything that changes (gitprotocol-http, "smart server response"). */
export const NO_CACHE: Readonly<Record<string, string>> = {
  'Cache-Control': 'no-cache, max-age=0, must-revalidate',
  Expires: 'Fri, 01 Jan 1980 00:00:00 GMT',
  Pragma: 'no-cache',
};

/** What the sink needs of its exchange: a whole answer in one go, and an end that waits for the request's body. */
export interface AnswerPath {
  answer(status: number, headers: Readonly<Record<string, string>>, body: readonly Uint8Array[]): Promise<void>;
  finishStreamed(): Promise<void>;
}

/**
 * The sink of a git answer: held → streaming → ended. Held bytes have not left, so a small answer gets a Content-Length and a
 * late error still becomes a status; a timer lets progress lines through. HTTP/1.0 clients get no chunks (Node sees to it). What is written may be
 * used for something else when its promise resolves.
 */
export class GitResponse implements ResponseSink {
  readonly #outgoing: ServerResponse;
  readonly #watch: IdleWatch;
  readonly #path: AnswerPath;
  readonly #contentType: string;
  #state: 'held' | 'streaming' | 'ended' = 'held';
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Writes that the system has not taken yet. */
  #waiting = 0;

  constructor(outgoing: ServerResponse, watch: IdleWatch, path: AnswerPath, contentType: string) {
    this.#outgoing = outgoing;
    this.#watch = watch;
    this.#path = path;
    this.#contentType = contentType;
  }

  get started(): boolean {
    return this.#outgoing.headersSent;
  }

  get ended(): boolean {
    return this.#state === 'ended';
  }

  write(chunk: Uint8Array | readonly Uint8Array[]): Promise<void> {
    assert(this.#state !== 'ended', 'an answer is not written to after its end');
    if (this.#outgoing.destroyed) return Promise.reject(clientGone());
    const chunks = chunk instanceof Uint8Array ? [chunk] : chunk;
    if (this.#state === 'streaming') return this.#send(chunks);
    for (const part of chunks) this.#heldBytes += part.length;
    const isLong = this.#heldBytes >= HELD_BYTES_MAX;
    for (const part of chunks) this.#held.push(isLong ? part : Buffer.from(part));
    if (isLong) return this.#startStreaming();
    this.#timer ??= setTimeout(() => this.#release(), HELD_MS_MAX);
    return DONE;
  }

  async end(): Promise<void> {
    if (this.#state === 'ended') return;
    const held = this.#state === 'held';
    this.close();
    if (this.#outgoing.destroyed) throw clientGone();
    await (held ? this.#path.answer(200, this.#headers(), this.#held) : this.#path.finishStreamed());
  }

  /** No more bytes and no timer; what was held and not sent is forgotten unless `end` sends it. */
  close(): void {
    clearTimeout(this.#timer);
    this.#state = 'ended';
  }

  /** The hold has lasted long enough. Backpressure is met by the next write. */
  #release(): void {
    if (this.#state !== 'held' || this.#outgoing.destroyed) return;
    this.#startStreaming().catch(() => {});
  }

  #startStreaming(): Promise<void> {
    clearTimeout(this.#timer);
    this.#state = 'streaming';
    this.#outgoing.writeHead(200, this.#headers());
    const held = this.#held;
    this.#held = [];
    return this.#send(held);
  }

  #headers(): Readonly<Record<string, string>> {
    return { ...NO_CACHE, 'Content-Type': this.#contentType };
  }

  #send(chunks: readonly Uint8Array[]): Promise<void> {
    writeTogether(this.#outgoing, chunks);
    // What write() returned is not enough: while corked it knows nothing of the socket behind it.
    return this.#outgoing.writableLength === 0 ? DONE : this.#flushed();
  }

  /** The system has taken all of it, or never will. */
  async #flushed(): Promise<void> {
    const { socket } = this.#outgoing;
    if (socket === null || this.#outgoing.destroyed) throw clientGone();
    // What is written while something waits, as a keepalive, is no sign of life of the client.
    if (this.#waiting++ === 0) this.#watch.begin('write', () => socket.destroy());
    await new Promise<void>((resolve) => {
      this.#outgoing.once('close', resolve);
      // After a fault the answer closes, and who waits for that knows before us.
      socket.write('', (fault) => {
        if (fault) return;
        this.#outgoing.off('close', resolve);
        resolve();
      });
    });
    if (--this.#waiting === 0) this.#watch.end('write');
    if (this.#outgoing.destroyed) throw clientGone();
  }
}

/** One writev for all of them, and one HTTP chunk. */
export function writeTogether(outgoing: ServerResponse, chunks: readonly Uint8Array[]): void {
  // A response that is uncorked hands its socket piece by piece, after it has uncorked it: each would be a packet of its own.
  const { socket } = outgoing;
  socket?.cork();
  outgoing.cork();
  for (const chunk of chunks) if (chunk.length > 0) outgoing.write(chunk);
  outgoing.uncork();
  socket?.uncork();
}

export function clientGone(): PackhouseError {
  return new PackhouseError('client-gone', 'the client closed the connection');
}
