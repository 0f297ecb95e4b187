import { type Kysely, type Selectable, sql } from 'kysely';
import type { AccessTokens, DB } from './types.ts';

/** A token without its hash. */
export type TokenRow = Omit<Selectable<AccessTokens>, 'token_sha256'>;

export interface NewToken {
  readonly name: string;
  readonly prefix: string;
  readonly token_sha256: Buffer;
  readonly scopes: string[];
  readonly owner: string | null;
  readonly repository: string | null;
  readonly expires_at: Date | null;
}

const COLUMNS = [
  'id',
  'name',
  'prefix',
  'scopes',
  'owner',
  'repository',
  'created_at',
  'expires_at',
  'revoked_at',
  'last_used_at',
] as const;

/** @throws a unique violation (23505) when a token in force has that name. */
export async function insertToken(db: Kysely<DB>, values: NewToken): Promise<TokenRow> {
  return db.insertInto('access_tokens').values(values).returning(COLUMNS).executeTakeFirstOrThrow();
}

export interface UsableToken extends TokenRow {
  readonly token_sha256: Buffer;
  /** Its last use was noted more than a minute ago. */
  readonly unnoted: boolean;
}

/** The token in force with that hash, by PostgreSQL's clock. */
export async function findUsableToken(db: Kysely<DB>, sha256: Buffer): Promise<UsableToken | null> {
  const row = await db
    .selectFrom('access_tokens')
    .select([...COLUMNS, 'token_sha256', sql<boolean>`coalesce(last_used_at < now() - interval '1 minute', true)`.as('unnoted')])
    .where('token_sha256', '=', sha256)
    .where('revoked_at', 'is', null)
    .where((where) => where.or([where('expires_at', 'is', null), where('expires_at', '>', sql<Date>`now()`)]))
    .executeTakeFirst();
  return row ?? null;
}

/** Notes that a token was used, to the minute: a busy token does not write for every request. */
export async function touchToken(db: Kysely<DB>, id: number): Promise<void> {
  await db
    .updateTable('access_tokens')
    .set({ last_used_at: sql`now()` })
    .where('id', '=', id)
    .where((where) =>
      where.or([where('last_used_at', 'is', null), where('last_used_at', '<', sql<Date>`now() - interval '1 minute'`)]),
    )
    .execute();
}

export async function listTokens(db: Kysely<DB>, includeRevoked: boolean): Promise<TokenRow[]> {
  let query = db.selectFrom('access_tokens').select(COLUMNS);
  if (!includeRevoked) query = query.where('revoked_at', 'is', null);
  return query.orderBy('id').execute();
}

/** Revokes the token in force of that name or prefix; null when there is none. */
export async function revokeToken(db: Kysely<DB>, nameOrPrefix: string): Promise<TokenRow | null> {
  const row = await db
    .updateTable('access_tokens')
    .set({ revoked_at: sql`now()` })
    .where('revoked_at', 'is', null)
    .where((where) => where.or([where('name', '=', nameOrPrefix), where('prefix', '=', nameOrPrefix)]))
    .returning(COLUMNS)
    .executeTakeFirst();
  return row ?? null;
}
