import { hash, randomInt } from 'node:crypto';
import type { Kysely } from 'kysely';
import * as queries from '../../db/queries/tokens.ts';
import type { DB } from '../../db/queries/types.ts';
import { codeOf, PackhouseError } from '../base/mod.ts';

/** `write` includes reading. */
export type Scope = 'read' | 'write';

/** A token as it is listed: everything but the token. */
export interface AccessToken {
  readonly id: number;
  readonly name: string;
  /** The first characters of the token. */
  readonly prefix: string;
  readonly scopes: readonly Scope[];
  /** Limited to this owner's repositories; null: to none. */
  readonly owner: string | null;
  /** Limited to this repository of the owner; null: to none. */
  readonly repository: string | null;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
  /** To the minute. */
  readonly lastUsedAt: Date | null;
}

export interface TokenRequest {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly owner?: string | null;
  readonly repository?: string | null;
  readonly expiresAt?: Date | null;
}

const MARK = 'pkh_';
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** 40 of 62 letters are 238 random bits; the 8 that the prefix shows leave 190. */
const LETTERS = 40;
const PREFIX_LENGTH = MARK.length + 8;
const FORM = new RegExp(`^${MARK}[0-9A-Za-z]{${LETTERS}}$`);

/**
 * Makes a token. It is told once and never stored: the database has its SHA-256, which needs no salt or stretching because the token
 * is random.
 *
 * @throws PackhouseError `token-exists`, `token-invalid`
 */
export async function createToken(
  db: Kysely<DB>,
  request: TokenRequest,
): Promise<{ readonly token: string; readonly record: AccessToken }> {
  const { name, scopes, owner = null, repository = null, expiresAt = null } = request;
  if (name === '' || scopes.length === 0) throw new PackhouseError('token-invalid', 'a token needs a name and a scope');
  if (repository !== null && owner === null) {
    throw new PackhouseError('token-invalid', `a token limited to the repository ${repository} needs its owner`);
  }
  const token = MARK + Array.from({ length: LETTERS }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');
  try {
    const row = await queries.insertToken(db, {
      name,
      prefix: token.slice(0, PREFIX_LENGTH),
      token_sha256: tokenSha256(token),
      scopes: [...new Set(scopes)],
      owner,
      repository,
      expires_at: expiresAt,
    });
    return { token, record: toAccessToken(row) };
  } catch (error) {
    if (codeOf(error) === '23505')
      throw new PackhouseError('token-exists', `a token named '${name}' is in force already`, { name });
    throw error;
  }
}

export async function listTokens(db: Kysely<DB>, options: { readonly includeRevoked?: boolean } = {}): Promise<AccessToken[]> {
  return (await queries.listTokens(db, options.includeRevoked ?? false)).map(toAccessToken);
}

/**
 * Ends a token, named by its name or its prefix: every request that comes after that is refused.
 *
 * @throws PackhouseError `token-not-found`
 */
export async function revokeToken(db: Kysely<DB>, nameOrPrefix: string): Promise<AccessToken> {
  const row = await queries.revokeToken(db, nameOrPrefix);
  if (row === null) throw new PackhouseError('token-not-found', `no token in force is named '${nameOrPrefix}'`);
  return toAccessToken(row);
}

/** Whether `text` has the form of a token: anything else needs no look into the database. */
export function looksLikeToken(text: string): boolean {
  return FORM.test(text);
}

export function tokenSha256(token: string): Buffer {
  return hash('sha256', token, 'buffer');
}

export function toAccessToken(row: queries.TokenRow): AccessToken {
  return {
    id: row.id,
    name: row.name,
    prefix: row.prefix,
    scopes: row.scopes as Scope[],
    owner: row.owner,
    repository: row.repository,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    lastUsedAt: row.last_used_at,
  };
}
