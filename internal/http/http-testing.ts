import { connect } from 'node:net';
import { codeOf, createLogger, PackhouseError } from '../base/mod.ts';
import type { GitService, RepositoryAddress, RequestContext, ResponseSink } from './git-service.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { createHttpServer, type HttpConfig, type HttpServer } from './server.ts';

type Work = (
  body: AsyncIterable<Buffer>,
  sink: ResponseSink,
  context: RequestContext,
  address: RepositoryAddress,
) => Promise<void>;

export const UPLOAD = 'application/x-git-upload-pack-request';
export const RECEIVE = 'application/x-git-receive-pack-request';

/** Sends the request's body back as it comes. */
export const echo: Work = async (body, sink) => {
  for await (const chunk of body) await sink.write(chunk);
  await sink.end();
};

export function serviceWith(parts: Partial<GitService> & { readonly work?: Work } = {}): GitService {
  const work = parts.work ?? echo;
  return {
    advertise: async (address, service) => Buffer.from(`# service=${service} ${address.owner}/${address.name}\n`),
    receivePack: (address, body, sink, context) => work(body, sink, context, address),
    uploadPack: (address, body, sink, context) => work(body, sink, context, address),
    authorize: async () => ({ kind: 'anonymous' }),
    ready: async () => {},
    ...parts,
  };
}

/** A service that reads the body and remembers how that ended. */
export function reader() {
  const ends: (string | undefined)[] = [];
  let bytes = 0;
  const service = serviceWith({
    work: async (body) => {
      try {
        for await (const chunk of body) bytes += chunk.length;
        ends.push('end');
      } catch (error) {
        ends.push(codeOf(error));
        throw error;
      }
    },
  });
  return { service, ends, bytes: () => bytes };
}

export interface ConfigOverrides {
  readonly http?: Partial<HttpConfig['http']>;
  readonly limits?: Partial<HttpConfig['limits']>;
  readonly push?: HttpConfig['push'];
}

export interface RunningServer extends AsyncDisposable {
  readonly server: HttpServer;
  readonly metrics: Metrics;
  readonly url: string;
  readonly port: number;
  /** Log lines so far, parsed. */
  readonly lines: readonly Record<string, unknown>[];
}

export async function startServer(service: GitService, overrides: ConfigOverrides = {}): Promise<RunningServer> {
  const lines: Record<string, unknown>[] = [];
  const log = createLogger('debug');
  const metrics = createMetrics();
  const config: HttpConfig = {
    http: {
      listen: '127.0.0.1:0',
      idleTimeoutMs: 10_000,
      drainDelayMs: 0,
      drainTimeoutMs: 2_000,
      drainBytesMax: 8 << 20,
      forwardedHeader: '',
      ...overrides.http,
    },
    push: { maxDurationMs: 60_000, ...overrides.push },
    limits: {
      requestBytesMax: 1 << 30,
      fetchRequestBytesMax: 1 << 30,
      concurrentRequestsMax: 64,
      requestsPerAddressMax: 64,
      requestsPerTokenMax: 64,
      ...overrides.limits,
    },
  };
  const server = createHttpServer({ service, config, log: recording(log, lines), metrics });
  const { url } = await server.listen();
  return { server, metrics, url, port: Number(new URL(url).port), lines, [Symbol.asyncDispose]: () => server.drain() };
}

/** A logger that keeps what it is given; children share the list. */
function recording(log: ReturnType<typeof createLogger>, lines: Record<string, unknown>[], bound: object = {}): typeof log {
  const keep = (level: string) => (fields: object, message: string) => void lines.push({ level, message, ...bound, ...fields });
  const replaced: Record<string, unknown> = { child: (more: object) => recording(log, lines, { ...bound, ...more }) };
  for (const level of ['debug', 'info', 'warn', 'error']) replaced[level] = keep(level);
  return new Proxy(log, { get: (target, key) => replaced[key as string] ?? Reflect.get(target, key) });
}

export interface RawOptions {
  readonly halfClose?: boolean;
  /** Sent after a pause, to test what a slow client sees. */
  readonly later?: readonly (string | Buffer)[];
  readonly pauseMs?: number;
}

/** Bytes in, bytes out until the server closes. */
export function raw(port: number, first: string | Buffer, options: RawOptions = {}): Promise<string> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const send = async () => {
      socket.write(first);
      for (const part of options.later ?? []) {
        await new Promise((wake) => setTimeout(wake, options.pauseMs ?? 20));
        if (socket.writable) socket.write(part);
      }
      if (options.halfClose) socket.end();
    };
    socket.on('connect', () => void send());
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
  });
}

/** A POST head for the raw tests; lines end as HTTP wants it. */
export function head(service: 'upload-pack' | 'receive-pack', ...headers: readonly string[]): string {
  const type = service === 'upload-pack' ? UPLOAD : RECEIVE;
  return [`POST /o/r.git/git-${service} HTTP/1.1`, 'Host: x', `Content-Type: ${type}`, ...headers, '', ''].join('\r\n');
}

export function post(
  url: string,
  body: NonNullable<RequestInit['body']>,
  headers: Record<string, string> = {},
  service: 'upload-pack' | 'receive-pack' = 'upload-pack',
): Promise<Response> {
  const path = `/o/r.git/git-${service}`;
  return fetch(url + path, {
    method: 'POST',
    body,
    headers: { 'Content-Type': service === 'upload-pack' ? UPLOAD : RECEIVE, ...headers },
    duplex: 'half',
  } as RequestInit);
}

export function thrower(code: string): () => Promise<never> {
  return () => Promise.reject(new PackhouseError(code, `told ${code}`));
}

/** Polls until it holds; the test runner's own limit ends a wait in vain. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((wake) => setTimeout(wake, 5));
}
