import { byteaArray, numberArray, type Queryable } from './publish.ts';

export interface FoundChunkRow {
  readonly at: number;
  readonly pack_id: number;
  readonly pack_offset: number;
  readonly pack_length: number;
}

/** Those of the chunks that the pool keeps; `at` counts the hashes from 1. */
export async function findChunks(db: Queryable, poolId: number, sha256s: readonly Buffer[]): Promise<FoundChunkRow[]> {
  const { rows } = await db.query<FoundChunkRow>({
    name: 'find-chunks',
    text: `select w.at, c.pack_id, c.pack_offset, c.pack_length from unnest($2::bytea[]) with ordinality w (sha256, at)
      join chunks c on c.pool_id = $1 and c.sha256 = w.sha256`,
    values: [poolId, byteaArray(sha256s)],
  });
  return rows;
}

/** Notes where new chunks are kept, unless the pool has them by now. The caller gives them in order of hash: two pushes never wait in a circle. */
export async function insertChunks(
  db: Queryable,
  poolId: number,
  packId: number,
  sha256s: readonly Buffer[],
  offsets: ArrayLike<number>,
  lengths: ArrayLike<number>,
): Promise<void> {
  await db.query(
    `insert into chunks (pool_id, sha256, pack_id, pack_offset, pack_length)
      select $1, c.sha256, $2, c.pack_offset, c.pack_length
        from unnest($3::bytea[], $4::bigint[], $5::integer[]) c (sha256, pack_offset, pack_length)
      on conflict (pool_id, sha256) do nothing`,
    [poolId, packId, byteaArray(sha256s), numberArray(offsets), numberArray(lengths)],
  );
}

/**
 * Holds the chunk packs of a pool in their state until the transaction ends; the ids of those that are live. Takes the lock of the pool's
 * condemning first, as publish_push does after it: in another order the two could wait for each other.
 */
export async function holdChunkPacks(db: Queryable, poolId: number, packIds: readonly number[]): Promise<number[]> {
  await db.query('select pg_advisory_xact_lock_shared(1347, $1::integer)', [poolId]);
  const { rows } = await db.query<{ id: number }>(
    `select id from packs where pool_id = $1 and id = any ($2::bigint[]) and tier = 'chunks' and state = 'live' order by id for share`,
    [poolId, packIds],
  );
  return rows.map((row) => row.id);
}

/** Writes the intent row of a chunk pack before its upload begins. */
export async function insertChunkPackIntent(
  db: Queryable,
  poolId: number,
  id: number,
  crateKey: string,
  lease: string,
): Promise<void> {
  await db.query(
    `insert into packs (pool_id, id, tier, state, crate_key, extent_length, object_count, lease_token, lease_until)
       values ($1, $2, 'chunks', 'intent', $3, 0, 0, $4, null)`,
    [poolId, id, crateKey, lease],
  );
}

/** What is known of a chunk pack once it is uploaded. False when the intent is not this lease's any more. */
export async function setChunkPackUploaded(
  db: Queryable,
  poolId: number,
  id: number,
  lease: string,
  pack: { readonly lengthBytes: number; readonly objectCount: number; readonly checksum: Buffer },
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update packs set extent_length = $4, object_count = $5, checksum = $6
       where pool_id = $1 and id = $2 and tier = 'chunks' and state = 'intent' and lease_token = $3`,
    [poolId, id, lease, pack.lengthBytes, pack.objectCount, pack.checksum],
  );
  return rowCount === 1;
}

export interface ChunkPackRow {
  readonly id: number;
  readonly crate_key: string;
  readonly extent_offset: number;
  readonly extent_length: number;
  readonly object_count: number;
  readonly checksum: Buffer;
}

/** Chunk packs that may be read: those that are named, or (null) all live ones of the pool, in order of id. */
export async function chunkPacks(db: Queryable, poolId: number, ids: readonly number[] | null): Promise<ChunkPackRow[]> {
  const { rows } = await db.query<ChunkPackRow>({
    name: 'chunk-packs',
    text: `select id, crate_key, extent_offset, extent_length, object_count, checksum from packs where pool_id = $1 and tier = 'chunks'
        and case when $2::bigint[] is null then state = 'live' else state in ('live', 'superseded') and id = any ($2) end order by id`,
    values: [poolId, ids],
  });
  return rows;
}

export interface RecipeRow {
  readonly oid: Buffer;
  readonly size: number;
  readonly adler: number;
  readonly sha256s: Buffer;
  readonly chunk_packs: Float64Array;
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
  readonly sizes: Float64Array;
  readonly adlers: Float64Array;
}

/** Recipes of chunked blobs, each named by a pack that has a row of it. */
export async function recipes(
  db: Queryable,
  poolId: number,
  packIds: readonly number[],
  oids: readonly Buffer[],
): Promise<(RecipeRow & { readonly pack_id: number })[]> {
  const { rows } = await db.query<RecipeRow & { readonly pack_id: number }>({
    name: 'recipes',
    text: `select b.pack_id, b.oid, size, adler, sha256s, chunk_packs, offsets, lengths, sizes, adlers
      from unnest($2::bigint[], $3::bytea[]) w (pack_id, oid) join chunked_blobs b on b.pool_id = $1 and b.pack_id = w.pack_id and b.oid = w.oid`,
    values: [poolId, packIds, byteaArray(oids)],
  });
  return rows;
}

/** The chunked blobs of a pack, ascending by oid, without their recipes. */
export async function chunkedBlobsOf(db: Queryable, poolId: number, packId: number): Promise<{ oid: Buffer; size: number }[]> {
  const { rows } = await db.query<{ oid: Buffer; size: number }>({
    name: 'chunked-blobs-of',
    text: 'select oid, size from chunked_blobs where pool_id = $1 and pack_id = $2 order by oid',
    values: [poolId, packId],
  });
  return rows;
}

/**
 * Copies recipes of `oids` from packs that have them to another, inside the caller's transaction. Of several copies of one blob the one
 * in the youngest pack is taken: its chunks were chosen last. How many were copied.
 */
export async function copyRecipes(
  db: Queryable,
  poolId: number,
  fromPackIds: readonly number[],
  toPackId: number,
  oids: readonly Buffer[],
): Promise<number> {
  const { rowCount } = await db.query(
    `insert into chunked_blobs (pool_id, pack_id, oid, size, adler, sha256s, chunk_packs, offsets, lengths, sizes, adlers)
      select distinct on (b.oid) b.pool_id, $3, b.oid, b.size, b.adler, b.sha256s, b.chunk_packs, b.offsets, b.lengths, b.sizes, b.adlers
        from chunked_blobs b where b.pool_id = $1 and b.pack_id = any ($2::bigint[]) and b.oid = any ($4::bytea[])
        order by b.oid, b.pack_id desc`,
    [poolId, fromPackIds, toPackId, byteaArray(oids)],
  );
  return rowCount ?? 0;
}

export interface ChunkRow {
  readonly sha256: Buffer;
  readonly pack_offset: number;
  readonly pack_length: number;
}

/** Rows of `chunks` that name a pack, in order of place, from a place on. */
export async function chunksOf(
  db: Queryable,
  poolId: number,
  packId: number,
  afterOffset: number,
  limit: number,
): Promise<ChunkRow[]> {
  const { rows } = await db.query<ChunkRow>(
    `select sha256, pack_offset, pack_length from chunks where pool_id = $1 and pack_id = $2 and pack_offset > $3
      order by pack_offset limit $4`,
    [poolId, packId, afterOffset, limit],
  );
  return rows;
}
