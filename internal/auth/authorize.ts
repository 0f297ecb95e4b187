import { timingSafeEqual } from 'node:crypto';
import type { Kysely } from 'kysely';
import * as queries from '../../db/queries/tokens.ts';
import type { DB } from '../../db/queries/types.ts';
import { PackhouseError } from '../base/mod.ts';
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

/** What Basic authentication carried: bytes of the user's choosing. */
export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** Who was allowed. `id` is the token's name, for logs and for the push log. */
export type Principal = { readonly kind: 'anonymous' } | { readonly kind: 'token'; readonly id: string };

/**
 * - `allow`
 * - `unauthenticated`: git's credential helpers are to ask; the same for a private repository and a missing one.
 * - `repository-not-found`: the reply of a missing repository, whether it is missing or may not be known of.
 * - `forbidden`: the caller may read the repository but not do this.
 */
export type Decision = 'allow' | 'unauthenticated' | 'repository-not-found' | 'forbidden';

const REFUSALS: Readonly<Record<Exclude<Decision, 'allow'>, string>> = {
  unauthenticated: 'authentication is required: give an access token as the password',
  'repository-not-found': 'repository not found',
  forbidden: 'this token may read the repository but not write it',
};

export interface AuthPolicy {
  readonly mode: 'none' | 'token';
  readonly anonymousRead: boolean;
}

export interface Authorizer {
  /** Who credentials stand for: the token as the password, or as the user name. */
  authenticate(credentials: Credentials | null): Promise<Identity>;
  /**
   * Resolves when those credentials may do it.
   *
   * @throws PackhouseError `unauthenticated`, `repository-not-found`, `forbidden`
   */
  authorize(credentials: Credentials | null, target: Target, access: Scope): Promise<Principal>;
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

  const authenticate = async (credentials: Credentials | null): Promise<Identity> => {
    // Without authentication configured, credentials that a client happens to send mean nothing.
    if (policy.mode === 'none' || credentials === null) return { kind: 'anonymous' };
    const token = [credentials.password, credentials.user].find(looksLikeToken);
    return token === undefined ? { kind: 'invalid' } : lookUp(token);
  };

  return {
    authenticate,
    async authorize(credentials, target, access) {
      const identity = await authenticate(credentials);
      const decision = decide(policy, identity, target, access);
      if (decision !== 'allow') throw new PackhouseError(decision, REFUSALS[decision]);
      return identity.kind === 'token' ? { kind: 'token', id: identity.token.name } : { kind: 'anonymous' };
    },
  };
}

/** The rule, as a pure function. */
export function decide(policy: AuthPolicy, identity: Identity, target: Target, access: Scope): Decision {
  if (policy.mode === 'none') return 'allow';
  if (identity.kind === 'invalid') return 'unauthenticated';
  const openToAll = target.visibility === 'public' && policy.anonymousRead;
  if (access === 'read' && openToAll) return 'allow';
  if (identity.kind === 'anonymous') return 'unauthenticated';
  if (permits(identity.token, target, access)) return 'allow';
  const mayRead = openToAll || (target.visibility !== 'missing' && permits(identity.token, target, 'read'));
  return mayRead ? 'forbidden' : 'repository-not-found';
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
