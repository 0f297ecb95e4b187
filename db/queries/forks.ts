import { type Kysely, sql } from 'kysely';
import { byteaArray } from './publish.ts';
import type { DB } from './types.ts';

/** Arguments of `fork_repository` (db/migrations). */
export interface ForkRow {
  readonly parentId: number;
  readonly owner: string;
  readonly name: string;
  /** Null: as the parent is. */
  readonly private: boolean | null;
  readonly hidden: readonly Buffer[];
  readonly actor: string;
}

/** The new repository's id; null when its name is taken. @throws PH001 when the parent is deleted */
export async function forkRepository(db: Kysely<DB>, fork: ForkRow): Promise<number | null> {
  const { rows } = await sql<{ id: number | null }>`select fork_repository(${fork.parentId}, ${fork.owner}, ${fork.name},
    ${fork.private}, ${byteaArray(fork.hidden)}::bytea[], ${fork.actor}) as id`.execute(db);
  return rows[0]!.id;
}

/** Whether a second repository, deleted or not, is in the pool. */
export async function sharesPool(db: Kysely<DB>, poolId: number): Promise<boolean> {
  const rows = await db.selectFrom('repositories').select('id').where('pool_id', '=', poolId).limit(2).execute();
  return rows.length > 1;
}
