import { numberArray, type Queryable } from './publish.ts';

/** Timestamps stay text: a Date would round them. */
export interface SweepRootsRow {
  readonly object_format: 'sha1' | 'sha256';
  readonly sweep_epoch: number;
  readonly snapshot: string;
  readonly cutoff: string;
  readonly read_at: string;
  /** Repositories that exist, or were deleted after the cutoff. */
  readonly repositories: number;
  /** Repositories that were deleted before it. */
  readonly expired: number;
  /** Raw oids, one after the other; null when there are none. */
  readonly oids: Buffer | null;
}

/** Values in the log that belong to repositories `kept`, as `log (oid)`. */
const LOGGED = `select v.oid from pushes s join ref_updates u on u.pool_id = s.pool_id and u.push_id = s.id
  join kept on kept.id = u.repository_id cross join lateral (values (u.old_oid), (u.new_oid)) v (oid)`;

/**
 * What a pool's objects hang on, in one snapshot: refs of its repositories, the deleted ones younger than the retention too, and every value
 * that those refs have had or got within it. Values that an earlier sweep did not count (before its kept_since) do not come back.
 */
export async function sweepRoots(db: Queryable, poolId: number, retentionSeconds: number): Promise<SweepRootsRow | null> {
  const { rows } = await db.query<SweepRootsRow>(
    `with now as materialized (select t as read_at, t - make_interval(secs => $2) as cutoff from clock_timestamp() t),
       since as materialized (
         select greatest(now.cutoff, (select w.kept_since from pool_sweeps w where w.pool_id = $1)) as at from now),
       kept as materialized (
         select r.id from repositories r, now where r.pool_id = $1 and (r.deleted_at is null or r.deleted_at > now.cutoff))
     select o.object_format, o.sweep_epoch, pg_current_snapshot()::text as snapshot, now.cutoff::text as cutoff,
       now.read_at::text as read_at,
       (select count(*) from kept) as repositories,
       (select count(*) from repositories r where r.pool_id = $1 and r.deleted_at <= now.cutoff) as expired,
       (select string_agg(t.oid, ''::bytea) from (
          select f.oid from refs f join kept on kept.id = f.repository_id where f.pool_id = $1
          union
          ${LOGGED} where s.pool_id = $1 and s.pushed_at > (select at from since) and v.oid is not null) t) as oids
       from pools o, now where o.id = $1`,
    [poolId, retentionSeconds],
  );
  return rows[0] ?? null;
}

/** No push, swap or fork of the pool is published until the transaction ends. Waits for those that are. */
export async function lockPool(db: Queryable, poolId: number): Promise<void> {
  await db.query(`set local lock_timeout = '20s'`);
  await db.query('select pg_advisory_xact_lock(1347, $1::integer)', [poolId]);
  await db.query(`set local lock_timeout = 0`);
}

export interface SweepNewsRow {
  readonly sweep_epoch: number;
  readonly oids: Buffer | null;
  readonly packs: ArrayLike<number> | null;
}

/** All values of refs, those that the log got since a snapshot, and the packs that readers use: now. */
export async function sweepNews(db: Queryable, poolId: number, snapshot: string, cutoff: string): Promise<SweepNewsRow | null> {
  const { rows } = await db.query<SweepNewsRow>(
    `with kept as materialized (
         select r.id from repositories r where r.pool_id = $1 and (r.deleted_at is null or r.deleted_at > $3::timestamptz))
     select o.sweep_epoch,
       (select string_agg(t.oid, ''::bytea) from (
          select f.oid from refs f join kept on kept.id = f.repository_id where f.pool_id = $1
          union
          ${LOGGED} where s.pool_id = $1 and s.xid >= pg_snapshot_xmin($2::pg_snapshot)
            and not pg_visible_in_snapshot(s.xid, $2::pg_snapshot) and v.oid is not null) t) as oids,
       (select array_agg(k.id) from packs k where k.pool_id = $1 and k.state = 'live' and k.tier <> 'chunks') as packs
       from pools o where o.id = $1`,
    [poolId, snapshot, cutoff],
  );
  return rows[0] ?? null;
}

export interface SweepPackRow {
  readonly id: number;
  readonly tier: 'tail' | 'store' | 'chunks';
  readonly extent_length: number;
  /** As a push brought it, after the cutoff. */
  readonly young: boolean;
  readonly leased: boolean;
}

export async function sweepPacks(db: Queryable, poolId: number, cutoff: string): Promise<SweepPackRow[]> {
  const { rows } = await db.query<SweepPackRow>(
    `select id, tier, extent_length, origin = 'push' and created_at > $2::timestamptz as young,
            lease_token is not null and lease_until >= clock_timestamp() as leased
       from packs where pool_id = $1 and state = 'live' order by id`,
    [poolId, cutoff],
  );
  return rows;
}

export interface RecipeUseRow {
  readonly pack_id: number;
  readonly oid: Buffer;
  readonly chunk_packs: ArrayLike<number>;
}

/** Which chunk packs the chunked blobs of live packs use. */
export async function recipeUses(db: Queryable, poolId: number): Promise<RecipeUseRow[]> {
  const { rows } = await db.query<RecipeUseRow>(
    `select b.pack_id, b.oid, (select array_agg(distinct c) from unnest(b.chunk_packs) c) as chunk_packs
       from chunked_blobs b join packs k on k.pool_id = b.pool_id and k.id = b.pack_id and k.state = 'live' where b.pool_id = $1`,
    [poolId],
  );
  return rows;
}

/**
 * Supersedes chunk packs that no recipe of a live pack uses, and takes their dedup information away at once: after the epoch has moved nobody
 * finds their chunks. A pack that a push holds while it is published, or that is being rewritten, is passed over. The ids.
 */
export async function condemnChunkPacks(db: Queryable, poolId: number): Promise<number[]> {
  const { rows } = await db.query<{ id: number }>(
    `update packs k set state = 'superseded', state_since = clock_timestamp(), lease_token = null, lease_until = null
       where k.pool_id = $1 and k.id in (
         select c.id from packs c where c.pool_id = $1 and c.tier = 'chunks' and c.state = 'live'
           and (c.lease_token is null or c.lease_until < clock_timestamp())
           and not exists (select 1 from chunked_blobs b join packs o on o.pool_id = b.pool_id and o.id = b.pack_id
             where b.pool_id = $1 and b.chunk_packs @> array[c.id] and o.state = 'live')
           for update of c skip locked)
       returning k.id`,
    [poolId],
  );
  const ids = rows.map((row) => row.id);
  await db.query('delete from chunks where pool_id = $1 and pack_id = any ($2::bigint[])', [poolId, numberArray(ids)]);
  return ids;
}

/**
 * Repositories that were deleted before the cutoff go with their refs and log. Readers who have not heard of packs that their pushes brought are
 * told by a swap. The number of repositories.
 */
export async function forgetRepositories(db: Queryable, poolId: number, cutoff: string): Promise<number> {
  const { rows } = await db.query<{ id: number }>(
    'select id from repositories where pool_id = $1 and deleted_at <= $2::timestamptz for update',
    [poolId, cutoff],
  );
  if (rows.length === 0) return 0;
  const ids = numberArray(rows.map((row) => row.id));
  await db.query(
    `insert into pack_swaps (pool_id, added, removed, reason)
       select $1, array_agg(k.id), '{}', 'sweep' from pushes s join packs k on k.pool_id = s.pool_id and k.id = s.pack_id and k.state = 'live'
         where s.pool_id = $1 and s.repository_id = any ($2::bigint[]) having count(*) > 0`,
    [poolId, ids],
  );
  for (const table of ['ref_updates', 'pushes', 'refs'])
    await db.query(`delete from ${table} where pool_id = $1 and repository_id = any ($2::bigint[])`, [poolId, ids]);
  await db.query('delete from repositories where id = any ($1::bigint[])', [ids]);
  return rows.length;
}

/**
 * Notes a sweep; `cutoff` null when nothing was condemned; `packs` -1 when it was stopped, and is to be tried again. `at`: what has come since it has not
 * looked at; null: now.
 */
export async function noteSweep(
  db: Queryable,
  poolId: number,
  cutoff: string | null,
  packs: number,
  bytes: number,
  at: string | null = null,
): Promise<void> {
  await db.query(
    `insert into pool_sweeps as w (pool_id, swept_at, kept_since, condemned_packs, condemned_bytes)
       values ($1, coalesce($5::timestamptz, clock_timestamp()), coalesce($2::timestamptz, '-infinity'), $3, $4)
       on conflict (pool_id) do update set swept_at = excluded.swept_at, kept_since = greatest(w.kept_since, excluded.kept_since),
         condemned_packs = excluded.condemned_packs, condemned_bytes = excluded.condemned_bytes`,
    [poolId, cutoff, packs, bytes, at],
  );
}

export async function moveEpoch(db: Queryable, poolId: number): Promise<void> {
  await db.query('update pools set sweep_epoch = sweep_epoch + 1 where id = $1', [poolId]);
}

/**
 * Pools whose last sweep is older than the interval and in which something may have become garbage since, or may be taken away now: a push, a
 * deletion, values that have left the retention, packs that were written again.
 */
export async function poolsToSweep(db: Queryable, intervalSeconds: number, retentionSeconds: number): Promise<number[]> {
  const { rows } = await db.query<{ id: number }>(
    `select o.id from pools o left join pool_sweeps w on w.pool_id = o.id
       where (w.swept_at is null or w.swept_at < clock_timestamp() - make_interval(secs => $1))
         and exists (select 1 from packs k where k.pool_id = o.id and k.state = 'live')
         and (w.swept_at is null
           or exists (select 1 from repositories r where r.pool_id = o.id and r.deleted_at is not null)
           or exists (select 1 from pushes s where s.pool_id = o.id
                        and s.pushed_at > w.swept_at - make_interval(secs => $2))
           or exists (select 1 from packs k where k.pool_id = o.id and k.state = 'live' and k.state_since > w.swept_at)
           or w.condemned_packs < 0)
       order by w.swept_at nulls first, o.id`,
    [intervalSeconds, retentionSeconds],
  );
  return rows.map((row) => row.id);
}
