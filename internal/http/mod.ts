/**
 * http: bytes in and out, and errors to status codes. It knows HTTP and nothing of packs; the git work is behind GitService.
 *
 * Routes: `/<owner>/<name>[.git]/{info/refs,git-upload-pack,git-receive-pack}` for git, `/livez`, `/readyz` and `/metrics`. What git's
 * dumb protocol would ask for, and services not offered, are 403.
 *
 * Promises:
 * - Every answer carries `X-Request-Id`, and the log's line of that request too. Credentials never reach the log.
 * - A request body is read with backpressure, decoded with a cap, and counted as an error when it ends early.
 * - A refused body is read up to `http.drain_bytes_max` before the answer, so that the user sees the reason.
 * - A connection is kept only when the body of its request was read to the end.
 * - No total limit cuts a long push or clone; a peer that stands still for `http.idle_timeout` while we wait for it is cut.
 * - An error after the answer has begun cuts the connection, and never the process.
 */
export type { App } from './app.ts';
export type {
  Access,
  Credentials,
  GitService,
  GitServiceName,
  Principal,
  RepositoryAddress,
  RequestContext,
  ResponseSink,
} from './git-service.ts';
export { createMetrics, type FetchKind, type Metrics, type PushResult } from './metrics.ts';
export { createHttpServer, type HttpConfig, type HttpServer, type HttpServerParts } from './server.ts';
