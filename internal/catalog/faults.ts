import { codeOf, messageOf } from '../base/mod.ts';

/**
 * What a failed statement leaves to be done:
 * - `again`: rolled back because of others that ran beside it (serialization, deadlock): the same may succeed at once;
 * - `refused`: rolled back, and PostgreSQL cannot do it now (no room, no memory, no connection left, took too long);
 * - `unknown`: the connection broke or said nothing: it may have happened.
 */
export type CatalogFault = 'again' | 'refused' | 'unknown';

/** https://www.postgresql.org/docs/current/errcodes-appendix.html */
const AGAIN = new Set(['40001', '40P01']);
/** A connection that PostgreSQL ends (57P01 to 57P03) says so also when the statement was done. */
const UNKNOWN = /^(?:08|57P)/;
/** Insufficient resources, operator intervention, system errors, a lock that was not to be had, a limit of time (25P03, 25P04). */
const REFUSED = /^(?:53|57|58|55P03|25P03|25P04)/;
const SQLSTATE = /^[0-9A-Z]{5}$/;
const NETWORK = new Set([
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'EMFILE',
  'ENETUNREACH',
  'ENOENT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
]);
/** What pg says without a code. */
const BROKEN =
  /^(?:Connection terminated|timeout exceeded when trying to connect|Query read timeout|timeout expired|Client has encountered a connection error|Client was closed)/;

/** Null for what is no fault of PostgreSQL or of the way to it. */
export function catalogFaultOf(error: unknown): CatalogFault | null {
  const code = codeOf(error);
  if (code === undefined) return BROKEN.test(messageOf(error)) ? 'unknown' : null;
  if (NETWORK.has(code)) return (error as { syscall?: unknown }).syscall === 'open' ? null : 'unknown';
  if (!SQLSTATE.test(code)) return null;
  if (AGAIN.has(code)) return 'again';
  if (UNKNOWN.test(code)) return 'unknown';
  return REFUSED.test(code) ? 'refused' : null;
}

/** A connection that was there and is not any more: one that lay idle too long for something on the way, or PostgreSQL was started again. */
const LOST = /^Connection terminated|^Client has encountered a connection error/;
const LOST_CODES = new Set(['57P01', '57P02', 'ECONNRESET', 'EPIPE']);
/** How many lost connections in a row a statement may meet. */
const LOST_MAX = 3;

/** Runs a statement that changes nothing, and runs it again when it is its connection that was lost. */
export async function readAgain<T>(read: () => Promise<T>): Promise<T> {
  for (let lost = 1; ; lost++) {
    try {
      return await read();
    } catch (error) {
      const code = codeOf(error);
      const isLost = code === undefined ? LOST.test(messageOf(error)) : LOST_CODES.has(code);
      if (!isLost || lost > LOST_MAX) throw error;
    }
  }
}
