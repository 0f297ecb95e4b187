import { codeOf, messageOf, PackhouseError } from '../base/mod.ts';

export interface StatusAnswer {
  readonly status: number;
  readonly text: string;
  readonly headers: Readonly<Record<string, string>>;
}

const NONE: Readonly<Record<string, string>> = {};
const RETRY = { 'Retry-After': '1' };
const CHALLENGE = { 'WWW-Authenticate': 'Basic realm="packhouse"' };

const FAULTS: ReadonlySet<string> = new Set(['catalog-unavailable', 'push-unknown', 'store-damaged', 'store-unavailable']);

/** Whether an error is of something below the server: its log is to say so. */
export function isFault(code: string): boolean {
  return FAULTS.has(code);
}

/**
 * The one place where an error becomes a status. Texts of 401 and 404 are fixed: what the service knew must not show. An error
 * without a known code is ours, and says nothing but the request id.
 */
export function statusOf(error: unknown, requestId: string): StatusAnswer {
  const told = (status: number, headers = NONE): StatusAnswer => ({ status, text: messageOf(error), headers });
  switch (codeOf(error)) {
    case 'bad-request':
    case 'body-truncated':
      return told(400);
    case 'unauthenticated':
      return { status: 401, text: 'authentication required', headers: CHALLENGE };
    case 'forbidden':
      return told(403);
    case 'repository-not-found':
      return { status: 404, text: 'repository not found', headers: NONE };
    case 'body-stalled':
    case 'too-slow':
      return told(408);
    case 'too-large':
      return told(413);
    case 'unsupported':
      return told(415);
    case 'overloaded':
      return told(503, { 'Retry-After': String(retryAfterSeconds(error) ?? 1) });
    case 'shutting-down':
      return told(503, RETRY);
    // What failed names objects and servers: that is for the log.
    case 'catalog-unavailable':
    case 'store-damaged':
    case 'store-unavailable':
      return { status: 503, text: `not possible now, try again later; request ${requestId}`, headers: RETRY };
    case 'push-unknown':
      return {
        status: 503,
        text: `it is not known whether the push happened, look before trying again; request ${requestId}`,
        headers: NONE,
      };
    default:
      return { status: 500, text: `internal error; request ${requestId}`, headers: NONE };
  }
}

function retryAfterSeconds(error: unknown): number | undefined {
  const seconds = error instanceof PackhouseError ? error.data.retryAfterSeconds : undefined;
  return typeof seconds === 'number' ? seconds : undefined;
}
