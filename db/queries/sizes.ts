import { type Kysely, sql } from 'kysely';
import type { DB } from './types.ts';

/** A row of v_pool_size (db/migrations). */
export interface PoolSizeRow {
  readonly pool_id: number;
  readonly repositories: number;
  readonly packs: number;
  readonly objects: number;
  readonly logical_bytes: number;
  readonly tail_bytes: number;
  readonly store_bytes: number;
  readonly chunk_bytes: number;
  readonly packed_bytes: number;
}

/** A row of v_dedup. */
export interface DedupRow {
  readonly distinct_objects: number;
  readonly repeated_bytes: number;
  readonly chunked_blobs: number;
  readonly chunked_plain_bytes: number;
  readonly deduplicated_bytes: number;
}

/** Sizes of the pools, or of one of them, with what is stored once and twice. */
export async function poolSizes(
  db: Kysely<DB>,
  poolId: number | null,
): Promise<(PoolSizeRow & DedupRow & { names: string[] | null })[]> {
  const { rows } = await sql<
    PoolSizeRow & DedupRow & { names: string[] | null }
  >`select s.pool_id, s.repositories, s.packs, s.objects,
      s.logical_bytes, s.tail_bytes, s.store_bytes, s.chunk_bytes, s.packed_bytes, d.distinct_objects, d.repeated_bytes,
      d.chunked_blobs, d.chunked_plain_bytes, d.deduplicated_bytes,
      (select array_agg(r.owner || '/' || r.name order by r.id) from repositories r
        where r.pool_id = s.pool_id and r.deleted_at is null) as names
    from v_pool_size s join v_dedup d using (pool_id)
    where ${poolId}::bigint is null or s.pool_id = ${poolId} order by s.packed_bytes desc, s.pool_id`.execute(db);
  return rows;
}

/** Crates by number, and bytes that live packs have of them. */
export async function crateSizes(db: Kysely<DB>): Promise<{ crates: number; live_bytes: number; other_bytes: number }> {
  const { rows } = await sql<{ crates: number; live_bytes: number; other_bytes: number }>`select count(*) as crates,
      coalesce(sum(live_bytes), 0)::bigint as live_bytes, coalesce(sum(other_bytes), 0)::bigint as other_bytes from v_crates`.execute(
    db,
  );
  return rows[0]!;
}
