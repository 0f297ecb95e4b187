import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { codeOf, type Logger, messageOf, type PackhouseError } from '../base/mod.ts';
import { IdleWatch } from './idle-watch.ts';
import { declaredLength, RequestBody } from './request-body.ts';
import { type AnswerPath, clientGone, GitResponse, NO_CACHE, writeTogether } from './response.ts';
import { isFault, statusOf } from './status.ts';

/** How long a refused body is read before the answer, and for how long after it when it was not read whole. */
const DRAIN_MS_MAX = 10_000;
const LINGER_MS_MAX = 2_000;

export interface ExchangeLimits {
  readonly idleTimeoutMs: number;
  readonly drainBytesMax: number;
}

/**
 * One request and its answer on the raw sockets. It decides what becomes of the connection: kept when the request's body was read
 * to its end, closed otherwise, and then only after the client had a chance to read the answer.
 *
 * Nothing here throws into Node: both streams have an error listener for their whole life, and `fail` is the last word.
 */
export class Exchange implements AnswerPath {
  readonly requestId = randomUUID();
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  readonly watch: IdleWatch;
  readonly body: RequestBody;
  readonly log: Logger;
  readonly #limits: ExchangeLimits;
  readonly #abort = new AbortController();
  #response: GitResponse | undefined;
  /** What went wrong, for the log line of the request. */
  failure: { readonly code: string; readonly message: string } | undefined;

  constructor(
    incoming: IncomingMessage,
    outgoing: ServerResponse,
    log: Logger,
    limits: ExchangeLimits,
    expectsContinue: boolean,
  ) {
    this.incoming = incoming;
    this.outgoing = outgoing;
    this.log = log.child({ requestId: this.requestId });
    this.#limits = limits;
    incoming.on('error', () => {});
    outgoing.on('error', () => {});
    this.watch = new IdleWatch(incoming, outgoing, limits.idleTimeoutMs);
    this.body = new RequestBody(incoming, outgoing, this.watch, limits.idleTimeoutMs, expectsContinue);
    outgoing.setHeader('X-Request-Id', this.requestId);
    outgoing.once('close', () => {
      if (!outgoing.writableFinished) this.abort(clientGone());
    });
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get declaredBytes(): number | undefined {
    return declaredLength(this.incoming);
  }

  /** Tells the service to stop: through its signal, and through the body if it is still reading. */
  abort(reason: PackhouseError): void {
    this.#abort.abort(reason);
    this.body.fail(reason);
  }

  /** The connection serves no further request after this one. */
  closeAfter(): void {
    if (!this.outgoing.headersSent) this.outgoing.shouldKeepAlive = false;
    const { socket } = this.incoming;
    this.outgoing.once('finish', () => socket.destroySoon());
  }

  respond(contentType: string): GitResponse {
    this.#response = new GitResponse(this.outgoing, this.watch, this, contentType);
    return this.#response;
  }

  /** Waits for its turn on a connection that pipelines; false when the client left first. */
  async turn(): Promise<boolean> {
    if (this.outgoing.socket === null && !this.outgoing.destroyed) {
      await new Promise<void>((resolve) => {
        this.outgoing.once('socket', () => resolve());
        this.outgoing.once('close', () => resolve());
      });
    }
    return !this.outgoing.destroyed;
  }

  refuse(status: number, text: string, headers: Readonly<Record<string, string>> = {}): Promise<void> {
    const body = text === '' ? [] : [Buffer.from(`${text}\n`)];
    return this.answer(status, { ...NO_CACHE, ...headers, 'Content-Type': 'text/plain; charset=utf-8' }, body);
  }

  /** A whole answer with its length. The request's body is read first, within limits: git reads only after it has sent. */
  async answer(status: number, headers: Readonly<Record<string, string>>, body: readonly Uint8Array[]): Promise<void> {
    const complete = await this.body.discard(this.#limits.drainBytesMax, DRAIN_MS_MAX);
    const { outgoing } = this;
    if (outgoing.destroyed || outgoing.headersSent) return;
    if (!complete) outgoing.shouldKeepAlive = false;
    const length = body.reduce((sum, chunk) => sum + chunk.length, 0);
    outgoing.writeHead(status, { ...headers, 'Content-Length': length });
    if (!complete) await this.#linger(body);
    else if (body.length === 1) outgoing.end(body[0]);
    else {
      outgoing.cork();
      writeTogether(outgoing, body);
      outgoing.end();
    }
    await this.#flushed();
  }

  async finishStreamed(): Promise<void> {
    const complete = await this.body.discard(this.#limits.drainBytesMax, DRAIN_MS_MAX);
    if (this.outgoing.destroyed) throw clientGone();
    if (!complete) this.closeAfter();
    this.outgoing.end();
    await this.#flushed();
  }

  /** Whatever was thrown: a status while that is possible, a cut connection otherwise. Never throws. */
  async fail(error: unknown): Promise<void> {
    const code = codeOf(error) ?? 'internal';
    this.failure = { code, message: messageOf(error) };
    this.#response?.close();
    try {
      const { status, text, headers } = statusOf(error, this.requestId);
      if (code === 'client-gone') return void this.incoming.socket.destroy();
      if (status === 500 || isFault(code)) this.log.error({ err: error }, 'request failed');
      if (this.outgoing.headersSent) return void this.incoming.socket.destroy();
      await this.refuse(status, text, headers);
    } catch (second) {
      this.log.error({ err: second }, 'the answer to a failed request failed');
      this.incoming.socket.destroy();
    }
  }

  /**
   * The answer is on its way but the client still sends. Closing now would reset the connection and take the answer with it, so the
   * end is held back while the rest is read, within limits.
   */
  async #linger(body: readonly Uint8Array[]): Promise<void> {
    this.outgoing.flushHeaders();
    writeTogether(this.outgoing, body);
    await this.body.discard(this.#limits.drainBytesMax, LINGER_MS_MAX);
    if (!this.outgoing.destroyed) this.outgoing.end();
  }

  async #flushed(): Promise<void> {
    const { outgoing } = this;
    if (outgoing.writableFinished || outgoing.destroyed) return;
    const { socket } = this.incoming;
    this.watch.begin('write', () => socket.destroy());
    await new Promise<void>((resolve) => {
      outgoing.once('finish', resolve);
      outgoing.once('close', resolve);
    });
    this.watch.end('write');
  }
}
