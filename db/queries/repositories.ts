import { type Kysely, sql } from 'kysely';
import type { PoolClient } from 'pg';
import type { DB } from './types.ts';

/** One repository as a person manages it. `head` is a raw ref name, null while HEAD follows the first branch. */
export interface RepositoryRow {
  readonly id: number;
  readonly pool_id: number;
  readonly owner: string;
  readonly name: string;
  readonly object_format: string;
  readonly head: Buffer | null;
  readonly private: boolean;
  readonly created_at: Date;
}

const COLUMNS = ['id', 'pool_id', 'owner', 'name', 'object_format', 'head', 'private', 'created_at'] as const;

/** Creates a repository in a pool of its own. Null when an undeleted one has that name. */
export async function insertRepository(
  db: Kysely<DB>,
  values: { owner: string; name: string; format: 'sha1' | 'sha256'; private: boolean },
): Promise<RepositoryRow | null> {
  return db.transaction().execute(async (tx) => {
    const pool = await tx.insertInto('pools').values({ object_format: values.format }).returning('id').executeTakeFirstOrThrow();
    const row = await tx
      .insertInto('repositories')
      .values({ pool_id: pool.id, owner: values.owner, name: values.name, object_format: values.format, private: values.private })
      .onConflict((conflict) => conflict.columns(['owner', 'name']).where('deleted_at', 'is', null).doNothing())
      .returning(COLUMNS)
      .executeTakeFirst();
    if (row === undefined) await tx.deleteFrom('pools').where('id', '=', pool.id).execute();
    return row ?? null;
  });
}

/**
 * In a transaction of the caller's, which is to be rolled back: a repository in a pool of its own, with an id that no sequence gives and no other
 * connection takes, and a name that no URL has.
 */
export async function insertRehearsed(db: PoolClient): Promise<{ id: number; owner: string; name: string }> {
  const { rows } = await db.query<{ id: number; owner: string; name: string }>(
    `with pool as (insert into pools (id, object_format) overriding system value values (-pg_backend_pid(), 'sha1') returning id)
     insert into repositories (id, pool_id, owner, name, object_format) overriding system value
       select id, id, '', id::text, 'sha1' from pool returning id, owner, name`,
  );
  return rows[0]!;
}

export async function findRepository(db: Kysely<DB>, owner: string, name: string): Promise<RepositoryRow | null> {
  const row = await db
    .selectFrom('repositories')
    .select(COLUMNS)
    .where('owner', '=', owner)
    .where('name', '=', name)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return row ?? null;
}

export async function listRepositories(db: Kysely<DB>, owner?: string): Promise<RepositoryRow[]> {
  let query = db.selectFrom('repositories').select(COLUMNS).where('deleted_at', 'is', null);
  if (owner !== undefined) query = query.where('owner', '=', owner);
  return query.orderBy('owner').orderBy('name').execute();
}

/** @throws a unique violation (23505) when the new name is taken. */
export async function renameRepository(db: Kysely<DB>, id: number, owner: string, name: string): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('repositories')
    .set({ owner, name })
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return numUpdatedRows === 1n;
}

/** Marks a repository deleted. Waits for pushes that are being published, and none is published after it. */
export async function deleteRepository(db: Kysely<DB>, id: number): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    await tx.selectFrom('repositories').select('id').where('id', '=', id).forUpdate().execute();
    const { numUpdatedRows } = await tx
      .updateTable('repositories')
      .set({ deleted_at: sql`now()` })
      .where('id', '=', id)
      .where('deleted_at', 'is', null)
      .executeTakeFirst();
    return numUpdatedRows === 1n;
  });
}

export async function updateRepository(
  db: Kysely<DB>,
  id: number,
  values: { head?: Buffer | null; private?: boolean },
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('repositories')
    .set(values)
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return numUpdatedRows === 1n;
}
