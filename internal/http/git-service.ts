import type { Logger } from '../base/mod.ts';

export type GitServiceName = 'git-upload-pack' | 'git-receive-pack';

export type Access = 'read' | 'write';

/** Who asks, as `authorize` found out. `id` names the token in logs; the secret itself is never part of it. */
export type Principal = { readonly kind: 'anonymous' } | { readonly kind: 'token'; readonly id: string };

/** What Basic authentication carried: bytes of the user's choosing, not yet believed. */
export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** Both parts match `[A-Za-z0-9._-]{1,100}` without a leading dot; a `.git` at the end of the URL's name is already gone. */
export interface RepositoryAddress {
  readonly owner: string;
  readonly name: string;
}

export interface RequestContext {
  /** Also in the client's `X-Request-Id` header and in each log line of `log`. */
  readonly requestId: string;
  readonly log: Logger;
  /** Aborted when the client is gone (`client-gone`) or the shutdown deadline has passed (`shutting-down`). */
  readonly signal: AbortSignal;
  /** The `Git-Protocol` header as it came, '' when there is none. */
  readonly gitProtocol: string;
  /** The `User-Agent` header as it came, '' when there is none. */
  readonly userAgent: string;
  readonly principal: Principal;
}

/**
 * The answer of a git request. Writing sends 200 with the service's result type and no-cache headers.
 *
 * Up to 64 KiB, and for at most 25 ms, nothing is sent: an answer that ends by then gets a Content-Length, and an error thrown
 * by then becomes a status. The bytes given to `write` belong to the sink; the caller must not change them afterwards.
 */
export interface ResponseSink {
  /** Resolves when the socket takes more. Rejects with `client-gone` when nobody listens any more. */
  write(chunk: Uint8Array | readonly Uint8Array[]): Promise<void>;
  /** Ends the answer; resolves when the operating system has it all. An answer never written to becomes 200 with no bytes. */
  end(): Promise<void>;
  /** The status line has left; an error thrown from now on can only cut the connection. */
  readonly started: boolean;
}

/**
 * The git work behind the routes. Whatever these throw before the answer has started becomes a status by its `code`:
 *
 * | code | status |
 * |---|---|
 * | `bad-request`, `body-truncated` | 400 |
 * | `unauthenticated` | 401 with `WWW-Authenticate: Basic realm="packhouse"` |
 * | `forbidden` | 403 |
 * | `repository-not-found` | 404, with one fixed text so that a private repository reads as a missing one |
 * | `body-stalled`, `too-slow` | 408 |
 * | `too-large` | 413 |
 * | `unsupported` | 415 |
 * | `overloaded`, `shutting-down` | 503 with `Retry-After` |
 * | anything else | 500 that names only the request id; the error is in the log |
 *
 * Iterating `body` throws `body-truncated` (it ended early), `body-stalled` (nothing came for `http.idle_timeout`), `too-large`
 * (more decoded bytes than the service's limit), `bad-request` (broken chunking or gzip), `too-slow` or `shutting-down`: an implementation may
 * turn these into a report in git's own form. It may stop reading early; the rest is drained up to `http.drain_bytes_max`.
 */
export interface GitService {
  /** The whole body of `info/refs?service=…`, from the `# service=` line on where the protocol version has one. */
  advertise(address: RepositoryAddress, service: GitServiceName, context: RequestContext): Promise<Uint8Array>;
  receivePack(
    address: RepositoryAddress,
    body: AsyncIterable<Buffer>,
    sink: ResponseSink,
    context: RequestContext,
  ): Promise<void>;
  uploadPack(address: RepositoryAddress, body: AsyncIterable<Buffer>, sink: ResponseSink, context: RequestContext): Promise<void>;
  /** Runs before anything else of a git request. Throws `unauthenticated`, `forbidden` or `repository-not-found`. */
  authorize(credentials: Credentials | null, address: RepositoryAddress, access: Access): Promise<Principal>;
  /** Asks what the service stands on (PostgreSQL, the store); throws when one does not answer. */
  ready(): Promise<void>;
}
