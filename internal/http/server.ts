import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { codeOf, failpoint, type Logger, PackhouseError } from '../base/mod.ts';
import { Admission, type AdmissionLimits, type Admitted, clientOf } from './admission.ts';
import { type App, createApp } from './app.ts';
import { answerBrokenConnection, bodyErrorOf } from './connection-errors.ts';
import { Exchange } from './exchange.ts';
import { serveGit } from './git-routes.ts';
import type { GitService } from './git-service.ts';
import type { Metrics } from './metrics.ts';
import { recordRequest } from './record.ts';

/** The slice of the configuration that HTTP reads; a whole Config fits. */
export interface HttpConfig {
  readonly http: {
    readonly listen: string;
    readonly idleTimeoutMs: number;
    readonly drainDelayMs: number;
    readonly drainTimeoutMs: number;
    readonly drainBytesMax: number;
    /** Of a proxy in front; '' when there is none. */
    readonly forwardedHeader: string;
  };
  readonly push: { readonly maxDurationMs: number };
  readonly limits: AdmissionLimits & {
    readonly requestBytesMax: number;
    readonly fetchRequestBytesMax: number;
  };
}

export interface HttpServerParts {
  readonly service: GitService;
  readonly config: HttpConfig;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export interface HttpServer {
  /** Rejects when the address cannot be had. `url` has the real port when the configured one is 0. */
  listen(): Promise<{ readonly url: string }>;
  /**
   * Not ready at once; no new connections after `http.drain_delay`; running requests finish within `http.drain_timeout`, then are cut, and
   * services get a moment to put their affairs in order. Safe to call twice.
   */
  drain(): Promise<void>;
  readonly app: App;
}

const HEADERS_MS_MAX = 30_000;
/** After the deadline's abort, how long services have to answer before connections are cut, and then to take back what they have begun. */
const ABORT_GRACE_MS = 1_000;
const UNDO_MS_MAX = 4_000;
const CONNECTIONS_MIN = 1_024;
const CONNECTIONS_PER_REQUEST = 16;

export function createHttpServer(parts: HttpServerParts): HttpServer {
  return new GitHttpServer(parts);
}

/** Invariant: `#exchanges` holds every request from its headers to the close of its answer; `#admission` counts the git ones. */
class GitHttpServer implements HttpServer {
  readonly app: App;
  readonly #parts: HttpServerParts;
  readonly #server: Server;
  readonly #exchanges = new Set<Exchange>();
  readonly #bySocket = new WeakMap<object, Exchange>();
  readonly #byRequest = new WeakMap<IncomingMessage, Exchange>();
  readonly #admission: Admission;
  /** Services at work: longer than their exchange when the client leaves first. */
  readonly #serving = new Set<Promise<void>>();
  #stopping = false;
  #closing = false;
  #drained: Promise<void> | undefined;

  constructor(parts: HttpServerParts) {
    this.#parts = parts;
    this.#admission = new Admission(parts.config.limits);
    this.app = createApp({
      ready: () => parts.service.ready(),
      stopping: () => this.#stopping,
      metrics: parts.metrics,
      log: parts.log,
      serveGit: (bindings) => {
        const served: Promise<void> = this.#serveGit(bindings).finally(() => this.#serving.delete(served));
        this.#serving.add(served);
        return served;
      },
    });
    this.#server = this.#createServer();
  }

  async listen(): Promise<{ readonly url: string }> {
    const { host, port } = splitListen(this.#parts.config.http.listen);
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host, port, backlog: 1024 }, () => {
        this.#server.off('error', reject);
        this.#server.on('error', (error) => this.#parts.log.error({ err: error }, 'listening socket'));
        resolve();
      });
    });
    const { address, family, port: bound } = this.#server.address() as AddressInfo;
    return { url: `http://${family === 'IPv6' ? `[${address}]` : address}:${bound}` };
  }

  drain(): Promise<void> {
    this.#drained ??= this.#drain();
    return this.#drained;
  }

  #createServer(): Server {
    const { http, limits } = this.#parts.config;
    const listener = getRequestListener((request, env) => this.app.fetch(request, env as HttpBindings), {
      overrideGlobalObjects: false,
      // HTTP/1.0 requests may come without a Host.
      hostname: 'localhost',
    });
    const server = createServer({
      // A push may take hours; idle-watch.ts ends those that stand still.
      requestTimeout: 0,
      headersTimeout: Math.min(http.idleTimeoutMs, HEADERS_MS_MAX),
      connectionsCheckingInterval: Math.max(50, Math.min(5_000, http.idleTimeoutMs / 4)),
      keepAliveTimeout: http.idleTimeoutMs,
      noDelay: true,
      insecureHTTPParser: false,
    });
    // Not in Node's types: without it a client that shuts its sending side down after a whole request gets no answer.
    Object.assign(server, { httpAllowHalfOpen: true });
    server.maxConnections = Math.max(CONNECTIONS_MIN, CONNECTIONS_PER_REQUEST * limits.concurrentRequestsMax);
    const begin = (expectsContinue: boolean) => (incoming: IncomingMessage, outgoing: ServerResponse) => {
      this.#begin(incoming, outgoing, expectsContinue);
      listener(incoming, outgoing).catch((error: unknown) => {
        this.#parts.log.error({ err: error }, 'request listener');
        incoming.socket.destroy();
      });
    };
    server.on('request', begin(false));
    server.on('checkContinue', begin(true));
    server.on('clientError', (error, socket) => this.#onClientError(error, socket as Socket));
    return server;
  }

  #begin(incoming: IncomingMessage, outgoing: ServerResponse, expectsContinue: boolean): void {
    const { http } = this.#parts.config;
    const exchange = new Exchange(incoming, outgoing, this.#parts.log, http, expectsContinue);
    this.#exchanges.add(exchange);
    this.#byRequest.set(incoming, exchange);
    this.#bySocket.set(incoming.socket, exchange);
    if (this.#stopping) outgoing.shouldKeepAlive = false;
    const finish = recordRequest(exchange, this.#parts.metrics);
    outgoing.once('close', () => {
      this.#exchanges.delete(exchange);
      finish();
      if (this.#closing) setImmediate(() => this.#server.closeIdleConnections());
    });
  }

  async #serveGit({ incoming }: HttpBindings): Promise<void> {
    const exchange = this.#byRequest.get(incoming) as Exchange;
    const { service, config, metrics } = this.#parts;
    let admitted: Admitted;
    try {
      if (incoming.headers['transfer-encoding'] !== undefined && incoming.headers['transfer-encoding'] !== 'chunked') {
        throw new PackhouseError('bad-request', 'only the transfer coding chunked is understood');
      }
      const forwarded = incoming.headers[config.http.forwardedHeader.toLowerCase()];
      admitted = this.#admission.begin(clientOf(incoming.socket.remoteAddress, forwarded?.toString()));
    } catch (error) {
      return exchange.fail(error);
    }
    metrics.inFlight(1);
    try {
      if (await exchange.turn())
        await serveGit(exchange, service, { ...config.limits, pushMsMax: config.push.maxDurationMs }, admitted);
    } catch (error) {
      await exchange.fail(error);
    } finally {
      admitted.end();
      metrics.inFlight(-1);
    }
  }

  /** A broken request: the one being served hears of it through its body and answers; without one we answer here. */
  #onClientError(error: Error, socket: Socket): void {
    const exchange = this.#bySocket.get(socket);
    const active = exchange !== undefined && this.#exchanges.has(exchange);
    if (active && codeOf(error) !== 'ECONNRESET' && !socket.destroyed) {
      exchange.closeAfter();
      if (!exchange.incoming.complete) exchange.body.fail(bodyErrorOf(error));
      return;
    }
    if (active) return void socket.destroy();
    this.#parts.metrics.connectionError(codeOf(error) ?? 'unknown');
    this.#parts.log.debug({ code: codeOf(error) }, 'connection without a request');
    answerBrokenConnection(error, socket);
  }

  async #drain(): Promise<void> {
    const { config, log } = this.#parts;
    this.#stopping = true;
    for (const { outgoing } of this.#exchanges) if (!outgoing.headersSent) outgoing.shouldKeepAlive = false;
    // Whoever balances load looks at /readyz and sends requests here until then, on connections of before as well.
    if (config.http.drainDelayMs > 0) await sleep(config.http.drainDelayMs);
    this.#closing = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    await failpoint('serve.draining');
    if (!(await within(closed, config.http.drainTimeoutMs))) {
      log.warn({ requests: this.#exchanges.size }, 'shutdown deadline: running requests are cut');
      const reason = new PackhouseError('shutting-down', 'the server is shutting down');
      for (const exchange of this.#exchanges) exchange.abort(reason);
      if (!(await within(closed, ABORT_GRACE_MS))) this.#server.closeAllConnections();
      await closed;
    }
    // Catalog and store are taken from them next.
    await within(Promise.allSettled(this.#serving), UNDO_MS_MAX);
  }
}

/** True when it settled in time. */
async function within(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  const inTime = await Promise.race([promise.then(() => true), late]);
  clearTimeout(timer);
  return inTime;
}

/** `host:port`, the host in brackets when it is IPv6. The configuration has checked the form. */
function splitListen(listen: string): { readonly host: string; readonly port: number } {
  const colon = listen.lastIndexOf(':');
  return { host: listen.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(listen.slice(colon + 1)) };
}
