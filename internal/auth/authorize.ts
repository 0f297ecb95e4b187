import { timingSafeEqual } from 'node:crypto';
import type { Kysely } from 'kysely';
import * as queries from '../../db/queries/tokens.ts';
import type { DB } from '../../db/queries/types.ts';
import { PackhouseError } from '../base/mod.ts';
import { type AccessToken, looksLikeToken, type Scope, toAccessToken, tokenSha256 } from './tokens.ts';

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

/** A token that is being looked up, and the look-up after that for all who asked meanwhile. */
interface LookUp {
  readonly running: Promise<Identity>;
  waiting: Promise<Identity> | null;
}

/**
 * Looks tokens up in `db`, for each request: nothing is believed that was true before it came, so that a revoked token is refused everywhere
 * from then on. Requests that come at the same time share a look-up that began after they came.
 */
export function createAuthorizer(db: Kysely<DB>, policy: AuthPolicy): Authorizer {
  const lookUps = new Map<string, LookUp>();

  const run = (key: string, sha256: Buffer): Promise<Identity> => {
    const running = identityOf(db, sha256);
    const entry: LookUp = { running, waiting: null };
    lookUps.set(key, entry);
    const settled = (): void => {
      if (lookUps.get(key) === entry && entry.waiting === null) lookUps.delete(key);
    };
    running.then(settled, settled);
    return running;
  };

  const lookUp = (token: string): Promise<Identity> => {
    const sha256 = tokenSha256(token);
    const key = sha256.toString('latin1');
    const entry = lookUps.get(key);
    if (entry === undefined) return run(key, sha256);
    const again = (): Promise<Identity> => run(key, sha256);
    entry.waiting ??= entry.running.then(again, again);
    return entry.waiting;
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
  if (row.unnoted) await queries.touchToken(db, row.id);
  return { kind: 'token', token: toAccessToken(row) };
}
