import { numberArray, type Queryable } from './publish.ts';

/** Locks packs that are live and nobody's, in order of id so that two that lease cannot wait for each other in a circle. How many. */
export async function lockFreePacks(db: Queryable, poolId: number, packIds: readonly number[]): Promise<number> {
  const { rowCount } = await db.query(
    `select 1 from packs where pool_id = $1 and id = any ($2::bigint[]) and state = 'live'
       and (lease_token is null or lease_until < clock_timestamp()) order by id for update`,
    [poolId, packIds],
  );
  return rowCount ?? 0;
}

export async function leasePacks(
  db: Queryable,
  poolId: number,
  packIds: readonly number[],
  token: string,
  leaseMs: number,
): Promise<void> {
  await db.query(
    `update packs set lease_token = $3, lease_until = clock_timestamp() + $4 * interval '1 millisecond'
       where pool_id = $1 and id = any ($2::bigint[])`,
    [poolId, packIds, token, leaseMs],
  );
}

/** Locks the packs of a token, in order of id as the renewal does: a swap writes outputs long before inputs, and must not meet it half way. */
export async function lockLeased(db: Queryable, poolId: number, token: string): Promise<void> {
  await db.query('select 1 from packs where lease_token = $2 and pool_id = $1 order by id for update', [poolId, token]);
}

/** Lengthens the lease of everything that is still a token's: how many packs that is, inputs and outputs. */
export async function renewLease(db: Queryable, poolId: number, token: string, leaseMs: number): Promise<number> {
  const { rowCount } = await db.query(
    `with held as materialized (
       select id from packs where lease_token = $2 and pool_id = $1 and state in ('live', 'intent') order by id for update)
     update packs k set lease_until = clock_timestamp() + $3 * interval '1 millisecond' from held where k.pool_id = $1 and k.id = held.id`,
    [poolId, token, leaseMs],
  );
  return rowCount ?? 0;
}

export async function releaseLease(db: Queryable, poolId: number, token: string): Promise<void> {
  await db.query(
    `update packs set lease_token = null, lease_until = null where lease_token = $2 and pool_id = $1 and state = 'live'`,
    [poolId, token],
  );
}

export interface IntentRow {
  readonly poolId: number;
  readonly packId: number;
  readonly token: string;
}

/** The intents of a crate's packs, in one statement: all of them or none. */
export async function insertIntents(
  db: Queryable,
  crateKey: string,
  tier: 'store' | 'chunks',
  origin: string,
  leaseMs: number,
  rows: readonly IntentRow[],
): Promise<void> {
  await db.query(
    `insert into packs (pool_id, id, tier, state, crate_key, extent_length, object_count, origin, lease_token, lease_until)
       select p, i, $2, 'intent', $1, 0, 0, $3, t, clock_timestamp() + $4 * interval '1 millisecond'
         from unnest($5::bigint[], $6::bigint[], $7::uuid[]) r (p, i, t)`,
    [
      crateKey,
      tier,
      origin,
      leaseMs,
      numberArray(rows.map((row) => row.poolId)),
      numberArray(rows.map((row) => row.packId)),
      rows.map((row) => row.token),
    ],
  );
}

/** Gives intents up that are still a token's: from here on nobody can publish them. */
export async function abortIntents(db: Queryable, poolId: number, token: string): Promise<void> {
  await db.query(
    `update packs set state = 'aborting', state_since = clock_timestamp()
       where lease_token = $2 and pool_id = $1 and state = 'intent'`,
    [poolId, token],
  );
}

/** Whether a pack that somebody may read, or is about to publish, lies in a crate. */
export async function crateIsNamed(db: Queryable, crateKey: string): Promise<boolean> {
  const { rowCount } = await db.query(
    `select 1 from packs where crate_key = $1 and state in ('intent', 'live', 'superseded') limit 1`,
    [crateKey],
  );
  return (rowCount ?? 0) > 0;
}

/** Removes the rows of given up packs of a crate. */
export async function forgetAborted(db: Queryable, poolId: number, token: string): Promise<void> {
  await db.query(`delete from packs where lease_token = $2 and pool_id = $1 and state = 'aborting'`, [poolId, token]);
}

export interface OutputRow {
  readonly poolId: number;
  readonly packId: number;
  readonly token: string;
  readonly extentOffset: number;
  readonly lengthBytes: number;
  readonly checksum: Buffer;
  readonly objectCount: number;
  readonly chunkedCount: number;
  readonly allReached: boolean;
  readonly based: boolean;
  readonly hasDuplicates: boolean;
  readonly tips: Buffer;
}

/** What is known of an output once it is uploaded. False when its intent is not the token's any more. */
export async function describeOutput(db: Queryable, output: OutputRow): Promise<boolean> {
  const { rowCount } = await db.query(
    `update packs set extent_offset = $4, extent_length = $5, checksum = $6, object_count = $7, chunked_count = $8,
         all_reached = $9, based = $10, has_duplicates = $11, tips = $12
       where pool_id = $1 and id = $2 and state = 'intent' and lease_token = $3`,
    [
      output.poolId,
      output.packId,
      output.token,
      output.extentOffset,
      output.lengthBytes,
      output.checksum,
      output.objectCount,
      output.chunkedCount,
      output.allReached,
      output.based,
      output.hasDuplicates,
      output.tips,
    ],
  );
  return rowCount === 1;
}

/** Copies object blocks, graph records and recipes of one pack to another that holds the same bytes. */
export async function copyTables(db: Queryable, poolId: number, from: number, to: number): Promise<void> {
  await db.query(
    `insert into object_blocks (pool_id, pack_id, first_oid, object_count, oids, kinds, sizes, offsets, lengths)
       select pool_id, $3, first_oid, object_count, oids, kinds, sizes, offsets, lengths
         from object_blocks where pool_id = $1 and pack_id = $2`,
    [poolId, from, to],
  );
  await db.query(
    `insert into graph_blocks (pool_id, pack_id, ordinal, records)
       select pool_id, $3, ordinal, records from graph_blocks where pool_id = $1 and pack_id = $2`,
    [poolId, from, to],
  );
}

/**
 * Keeps whoever moves or condemns what packs of the pool rest on (objects, chunks) away until the transaction ends; other swaps and pushes
 * may go on.
 */
export async function holdPool(db: Queryable, poolId: number): Promise<void> {
  await db.query('select pg_advisory_xact_lock_shared(1347, $1::integer)', [poolId]);
}

export async function swapPacks(
  db: Queryable,
  poolId: number,
  epoch: number,
  token: string,
  inputs: readonly number[],
  outputs: readonly number[],
  reason: string,
): Promise<void> {
  await db.query('select swap_packs($1, $2, $3, $4::bigint[], $5::bigint[], $6)', [
    poolId,
    epoch,
    token,
    numberArray(inputs),
    numberArray(outputs),
    reason,
  ]);
}

export interface PoolStateRow {
  readonly object_format: 'sha1' | 'sha256';
  readonly sweep_epoch: number;
}

export async function poolState(db: Queryable, poolId: number): Promise<PoolStateRow | null> {
  const { rows } = await db.query<PoolStateRow>('select object_format, sweep_epoch from pools where id = $1', [poolId]);
  return rows[0] ?? null;
}

export interface TailRow {
  readonly pool_id: number;
  readonly packs: number;
  readonly bytes: number;
  readonly age_ms: number;
}

/** Pools that have a tail over one of the bounds, the largest first. Tail packs that somebody has leased do not count. */
export async function tails(db: Queryable, poolId: number | null): Promise<TailRow[]> {
  const { rows } = await db.query<TailRow>(
    `select pool_id, count(*) as packs, sum(extent_length)::bigint as bytes,
            (extract(epoch from clock_timestamp() - min(created_at)) * 1000)::bigint as age_ms
       from packs where tier = 'tail' and state = 'live' and ($1::bigint is null or pool_id = $1)
         and (lease_token is null or lease_until < clock_timestamp())
       group by pool_id order by bytes desc`,
    [poolId],
  );
  return rows;
}

/** Bytes in the tails of all pools. */
export async function tailBytesTotal(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ bytes: number }>(
    `select coalesce(sum(extent_length), 0)::bigint as bytes from packs where tier = 'tail' and state = 'live'`,
  );
  return rows[0]!.bytes;
}

export interface StoredPackRow {
  readonly pool_id: number;
  readonly id: number;
  readonly tier: 'tail' | 'store' | 'chunks';
  readonly state: string;
  readonly crate_key: string | null;
  readonly extent_offset: number;
  readonly extent_length: number;
  readonly object_count: number;
  readonly leased: boolean;
}

/** Packs of a pool, of some crates, or of all: what plans are made of. */
export async function storedPacks(
  db: Queryable,
  poolId: number | null,
  crateKeys: readonly string[] | null,
  states: readonly string[],
): Promise<StoredPackRow[]> {
  const { rows } = await db.query<StoredPackRow>(
    `select pool_id, id, tier, state, crate_key, extent_offset, extent_length, object_count,
            lease_token is not null and lease_until >= clock_timestamp() as leased
       from packs where ($1::bigint is null or pool_id = $1) and state = any ($2::text[])
         and ($3::text[] is null or crate_key = any ($3)) order by pool_id, id`,
    [poolId, states, crateKeys],
  );
  return rows;
}

/** Pools one of whose packs is smaller than `ratio` times all smaller ones together: they are to be merged. */
export async function unevenPools(db: Queryable, ratio: number, packBytesMax: number): Promise<number[]> {
  const { rows } = await db.query<{ pool_id: number }>(
    `select distinct pool_id from (
       select pool_id, extent_length, sum(extent_length) over
           (partition by pool_id order by extent_length, id rows between unbounded preceding and 1 preceding) as smaller
         from packs where tier = 'store' and state = 'live') k
       where extent_length < $1 * smaller and extent_length < $2 order by pool_id`,
    [ratio, packBytesMax],
  );
  return rows.map((row) => row.pool_id);
}

export interface CrateRow {
  readonly crate_key: string;
  readonly live_packs: number;
  readonly live_bytes: number;
  readonly bytes: number;
}

/**
 * Crates that hold fewer live bytes than `bytesMin`, or more dead ones than `deadPercent`, and something live: of those that nobody works on and that
 * hold no chunks. Bytes that no row tells of do not count.
 */
export async function sparseCrates(db: Queryable, bytesMin: number, deadPercent: number): Promise<CrateRow[]> {
  const { rows } = await db.query<CrateRow>(
    `select crate_key, count(*) filter (where state = 'live') as live_packs,
            coalesce(sum(extent_length) filter (where state = 'live'), 0)::bigint as live_bytes, max(extent_offset + extent_length) as bytes
       from packs where crate_key is not null group by crate_key
       having bool_or(state = 'live')
         and not bool_or(state in ('intent', 'aborting') or tier = 'chunks' or state = 'live' and coalesce(lease_until >= clock_timestamp(), false))
         and (sum(extent_length) filter (where state = 'live') < $1
           or sum(extent_length) filter (where state = 'live') * 100 < (100 - $2::bigint) * max(extent_offset + extent_length))
       order by live_bytes, crate_key`,
    [bytesMin, deadPercent],
  );
  return rows;
}

export interface PackPushRow {
  readonly pack_id: number;
  readonly push_id: number;
  readonly repository_id: number;
  readonly owner: string;
  readonly repository: string;
  readonly private: boolean;
  readonly pushed_at: Date;
  readonly name: Buffer | null;
  readonly old_oid: Buffer | null;
  readonly new_oid: Buffer | null;
}

/** The pushes that brought packs, a row each changed ref, in order of push. */
export async function pushesOfPacks(db: Queryable, poolId: number, packIds: readonly number[]): Promise<PackPushRow[]> {
  const { rows } = await db.query<PackPushRow>(
    `select s.pack_id, s.id as push_id, s.repository_id, r.owner, r.name as repository, r.private, s.pushed_at, u.name, u.old_oid, u.new_oid
       from pushes s join repositories r on r.id = s.repository_id
         left join ref_updates u on u.pool_id = s.pool_id and u.push_id = s.id
       where s.pool_id = $1 and s.pack_id = any ($2::bigint[]) order by s.id, u.name`,
    [poolId, packIds],
  );
  return rows;
}
