import type { PoolClient } from 'pg';
import { numberArray, type Queryable } from './publish.ts';

/** Rewriting the recipes of a large pool takes longer than a request's statement may. */
const LONG_MS = 600_000;

export interface ChunkPackUseRow {
  readonly pool_id: number;
  readonly id: number;
  readonly extent_length: number;
  readonly leased: boolean;
}

/** Live packs of chunks, of all pools or of one. */
export async function liveChunkPacks(db: Queryable, poolId: number | null): Promise<ChunkPackUseRow[]> {
  const { rows } = await db.query<ChunkPackUseRow>(
    `select pool_id, id, extent_length, coalesce(lease_until >= clock_timestamp(), false) as leased from packs
      where tier = 'chunks' and state = 'live' and ($1::bigint is null or pool_id = $1) order by pool_id, id`,
    [poolId],
  );
  return rows;
}

/** For each chunk pack of a pool the stored bytes of chunks that some recipe names. */
export async function usedBytes(db: PoolClient, poolId: number): Promise<{ pack_id: number; bytes: number }[]> {
  const text = `select u.pack_id, sum(u.length)::bigint as bytes from (
      select distinct c.pack_id, c.pack_offset, c.length from chunked_blobs b
        cross join unnest(b.chunk_packs, b.offsets, b.lengths) c (pack_id, pack_offset, length) where b.pool_id = $1) u group by u.pack_id`;
  return (await longQuery<{ pack_id: number; bytes: number }>(db, text, [poolId])).rows;
}

export interface UsedChunkRow {
  readonly pack_id: number;
  readonly pack_offset: number;
  readonly length: number;
  readonly sha256: Buffer;
}

/** The chunks in some packs that some recipe names, each once, in order of place. */
export async function usedChunks(db: PoolClient, poolId: number, packIds: readonly number[]): Promise<UsedChunkRow[]> {
  const text = `select distinct on (c.pack_id, c.pack_offset) c.pack_id, c.pack_offset, c.length,
        substring(b.sha256s from (c.i::integer - 1) * 32 + 1 for 32) as sha256
      from chunked_blobs b cross join unnest(b.chunk_packs, b.offsets, b.lengths) with ordinality c (pack_id, pack_offset, length, i)
      where b.pool_id = $1 and b.chunk_packs && $2::bigint[] and c.pack_id = any ($2::bigint[])
      order by c.pack_id, c.pack_offset`;
  return (await longQuery<UsedChunkRow>(db, text, [poolId, packIds])).rows;
}

/** Keeps pushes and swaps of a pool away until the transaction ends: nobody copies or writes a recipe meanwhile. */
export async function lockPool(db: PoolClient, poolId: number): Promise<void> {
  await db.query('select pg_advisory_xact_lock($1, $2::integer)', [1347, poolId]);
}

export interface MovedChunks {
  readonly fromPacks: ArrayLike<number>;
  readonly fromOffsets: ArrayLike<number>;
  readonly toOffsets: ArrayLike<number>;
  readonly lengths: ArrayLike<number>;
}

/**
 * Writes into all recipes of a pool that chunks of `inputs` are in `output` now. Answers false when a recipe names one that was not moved: the
 * caller rolls back.
 */
export async function rewriteRecipes(
  db: PoolClient,
  poolId: number,
  inputs: readonly number[],
  output: number,
  moved: MovedChunks,
): Promise<boolean> {
  await db.query(
    'create temporary table moved_chunks (pack_id bigint, pack_offset bigint, to_offset bigint, length bigint) on commit drop',
  );
  await longQuery(db, 'insert into moved_chunks select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])', [
    numberArray(moved.fromPacks),
    numberArray(moved.fromOffsets),
    numberArray(moved.toOffsets),
    numberArray(moved.lengths),
  ]);
  await db.query('create index on moved_chunks (pack_id, pack_offset)');
  await db.query('analyze moved_chunks');
  const text = `with moves as materialized (
      select b.pack_id, b.oid, bool_or(c.pack_id = any ($2::bigint[]) and m.to_offset is null) as lost,
             array_agg(case when m.to_offset is null then c.pack_id else $3 end order by c.i) as chunk_packs,
             array_agg(coalesce(m.to_offset, c.pack_offset) order by c.i) as offsets,
             array_agg(coalesce(m.length, c.length) order by c.i) as lengths
        from chunked_blobs b cross join unnest(b.chunk_packs, b.offsets, b.lengths) with ordinality c (pack_id, pack_offset, length, i)
        left join moved_chunks m on m.pack_id = c.pack_id and m.pack_offset = c.pack_offset
        where b.pool_id = $1 and b.chunk_packs && $2::bigint[] group by b.pack_id, b.oid
    ), written as (
      update chunked_blobs b set chunk_packs = n.chunk_packs, offsets = n.offsets, lengths = n.lengths
        from moves n where b.pool_id = $1 and b.pack_id = n.pack_id and b.oid = n.oid)
    select coalesce(bool_or(lost), false) as lost from moves`;
  const { rows } = await longQuery<{ lost: boolean }>(db, text, [poolId, inputs, output]);
  return !rows[0]!.lost;
}

/** Takes away what deduplication knows of some packs. */
export async function forgetChunksOf(db: PoolClient, poolId: number, packIds: readonly number[]): Promise<void> {
  await longQuery(db, 'delete from chunks where pool_id = $1 and pack_id = any ($2::bigint[])', [poolId, packIds]);
}

async function longQuery<T extends object>(db: PoolClient, text: string, values: readonly unknown[]): Promise<{ rows: T[] }> {
  await db.query(`set local statement_timeout = ${LONG_MS}`);
  // Typed nowhere, read by the client all the same: how long it waits for this one.
  const query = { text, values: [...values], query_timeout: LONG_MS };
  return db.query<T>(query);
}
