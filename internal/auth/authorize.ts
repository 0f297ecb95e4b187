import { timingSafeEqual } from 'node:crypto';
import type { Kysely } from 'kysely';
import * as queries from '../../db/queries/tokens.ts';
import type { DB } from '../../db/queries/types.ts';
import { type AccessToken, looksLikeToken, type Scope, toAccessToken, tokenSha256 } from './tokens.ts';

/** How long a process believes what the database last said of a token. */
const CACHE_MS = 3000;
const CACHE_ENTRIES_MAX = 4096;

/** Who asks. `invalid` gave credentials that are no token in force, and is never treated as anonymous: git would not ask again. */
export type Identity =
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'invalid' }
  | { readonly kind: 'token'; readonly token: AccessToken };

/** What is asked for. `missing` is a repository that does not exist (yet). */
export interface Target {
  readonly owner: string;
  readonly name: string;
  readonly visibility: 'public' | 'private' | 'missing';
}

/**
 * - `allow`
 * - `authenticate`: 401, so that git's credential helpers ask; the same for a private repository and a missing one.
 * - `not-found`: the reply of a missing repository, whether it is missing or may not be known of.
 * - `forbidden`: 403; the caller may read the repository but not do this.
 */
export type Decision = 'allow' | 'authenticate' | 'not-found' | 'forbidden';

export interface AuthPolicy {
  readonly mode: 'none' | 'token';
  readonly anonymousRead: boolean;
}

export interface Authorizer {
  /** Who an `Authorization` header stands for: Basic with the token as password (or as user name), or Bearer. */
  authenticate(authorization: string | undefined): Promise<Identity>;
  /** What that header may do. */
  authorize(authorization: string | undefined, target: Target, access: Scope): Promise<Decision>;
}

/** Looks tokens up in `db`. `nowMs` is a monotonic clock. */
export function createAuthorizer(db: Kysely<DB>, policy: AuthPolicy, nowMs: () => number = () => performance.now()): Authorizer {
  const cache = new Map<string, { readonly identity: Promise<Identity>; readonly untilMs: number }>();

  const lookUp = (token: string): Promise<Identity> => {
    const sha256 = tokenSha256(token);
    const key = sha256.toString('latin1');
    const known = cache.get(key);
    if (known && known.untilMs > nowMs()) return known.identity;
    const identity = identityOf(db, sha256);
    cache.delete(key);
    if (cache.size >= CACHE_ENTRIES_MAX) cache.delete(cache.keys().next().value as string);
    cache.set(key, { identity, untilMs: nowMs() + CACHE_MS });
    identity.catch(() => cache.delete(key));
    return identity;
  };

  const authenticate = async (authorization: string | undefined): Promise<Identity> => {
    // Without authentication configured, credentials that a client happens to send mean nothing.
    if (policy.mode === 'none' || authorization === undefined) return { kind: 'anonymous' };
    const token = tokenIn(authorization);
    return token === undefined ? { kind: 'invalid' } : lookUp(token);
  };

  return {
    authenticate,
    async authorize(authorization, target, access) {
      return decide(policy, await authenticate(authorization), target, access);
    },
  };
}

/** The rule, as a pure function. */
export function decide(policy: AuthPolicy, identity: Identity, target: Target, access: Scope): Decision {
  if (policy.mode === 'none') return 'allow';
  if (identity.kind === 'invalid') return 'authenticate';
  const openToAll = target.visibility === 'public' && policy.anonymousRead;
  if (access === 'read' && openToAll) return 'allow';
  if (identity.kind === 'anonymous') return 'authenticate';
  if (permits(identity.token, target, access)) return 'allow';
  const mayRead = openToAll || (target.visibility !== 'missing' && permits(identity.token, target, 'read'));
  return mayRead ? 'forbidden' : 'not-found';
}

/** Whether a token of that scope and limits covers the repository. */
function permits(token: AccessToken, target: Target, access: Scope): boolean {
  if (token.owner !== null && token.owner !== target.owner) return false;
  if (token.repository !== null && token.repository !== target.name) return false;
  return token.scopes.includes(access) || (access === 'read' && token.scopes.includes('write'));
}

async function identityOf(db: Kysely<DB>, sha256: Buffer): Promise<Identity> {
  const row = await queries.findUsableToken(db, sha256);
  if (row === null || !timingSafeEqual(row.token_sha256, sha256)) return { kind: 'invalid' };
  await queries.touchToken(db, row.id);
  return { kind: 'token', token: toAccessToken(row) };
}

/** The token in an Authorization header (RFC 7617, RFC 6750), or undefined when there is none of our form. */
function tokenIn(authorization: string): string | undefined {
  const [scheme = '', value = ''] = authorization.trim().split(/ +/, 2);
  if (scheme.toLowerCase() === 'bearer') return looksLikeToken(value) ? value : undefined;
  if (scheme.toLowerCase() !== 'basic') return undefined;
  const text = Buffer.from(value, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  return [text.slice(colon + 1), colon < 0 ? '' : text.slice(0, colon)].find(looksLikeToken);
}
