import type { Queryable } from './publish.ts';

export interface PackName {
  readonly pool_id: number;
  readonly id: number;
}

/**
 * `superseded → deleted` for packs that have been superseded for longer than this; none while a pin holds, and none in the store that the last
 * snapshot of the catalog takes for live.
 */
export async function retirePacks(db: Queryable, ageSeconds: number, limit: number): Promise<PackName[]> {
  const { rows } = await db.query<PackName>('select pool_id, id from retire_packs($1, $2)', [ageSeconds, limit]);
  return rows;
}

/** `intent → aborting` for uploads whose lease has passed; one that is just being published is locked, and left alone. */
export async function abortExpired(db: Queryable, leaseSeconds: number, limit: number): Promise<PackName[]> {
  const { rows } = await db.query<PackName>(
    `update packs k set state = 'aborting', state_since = clock_timestamp(), lease_token = null, lease_until = null
       where (k.pool_id, k.id) in (
         select s.pool_id, s.id from packs s
           where s.state = 'intent' and coalesce(s.lease_until, s.created_at + make_interval(secs => $1)) < clock_timestamp()
           order by s.state_since limit $2 for update skip locked)
       returning k.pool_id, k.id`,
    [leaseSeconds, limit],
  );
  return rows;
}

const TABLES = ['chunks', 'chunked_blobs', 'object_blocks', 'graph_blocks', 'tail_bytes'] as const;

const HAS_ROWS = TABLES.map((table) => `exists (select 1 from ${table} t where t.pool_id = k.pool_id and t.pack_id = k.id)`).join(
  ' or ',
);

/** Packs that nobody reads any more of which some table still has rows. */
export async function packsWithRows(db: Queryable, limit: number): Promise<PackName[]> {
  const { rows } = await db.query<PackName>(
    `select k.pool_id, k.id from packs k where k.state in ('deleted', 'aborting') and (${HAS_ROWS}) limit $1`,
    [limit],
  );
  return rows;
}

/** Deletes a pack's rows from every table but packs, and only if nobody reads it any more. One statement. */
export async function deletePackRows(db: Queryable, poolId: number, packId: number): Promise<void> {
  const gone = TABLES.map(
    (table) => `${table}_gone as (delete from ${table} t using dead where t.pool_id = $1 and t.pack_id = dead.id)`,
  );
  await db.query(
    `with dead as materialized (
       select id from packs where pool_id = $1 and id = $2 and state in ('deleted', 'aborting') for update),
     ${gone.join(', ')} select 1`,
    [poolId, packId],
  );
}

/** Crates that some pack of nobody's names, and no pack that is being uploaded or may be read. */
export async function deadCrates(db: Queryable, limit: number): Promise<string[]> {
  const { rows } = await db.query<{ crate_key: string }>(
    `select distinct k.crate_key from packs k
       where k.state in ('deleted', 'aborting') and k.crate_key is not null and not exists (
         select 1 from packs o where o.crate_key = k.crate_key and o.state in ('intent', 'live', 'superseded'))
       limit $1`,
    [limit],
  );
  return rows.map((row) => row.crate_key);
}

/** Removes the rows of packs in a crate whose bytes are gone. The number of rows. */
export async function forgetCrate(db: Queryable, crateKey: string): Promise<number> {
  const { rowCount } = await db.query(
    `delete from packs k where k.crate_key = $1 and k.state in ('deleted', 'aborting') and not (${HAS_ROWS})`,
    [crateKey],
  );
  return rowCount ?? 0;
}

/** Removes the rows of packs that have no bytes to wait for: of the tail, and given up in a crate that others live in. */
export async function forgetWithoutBytes(db: Queryable): Promise<number> {
  const { rowCount } = await db.query(
    `delete from packs k where not (${HAS_ROWS}) and ((k.state = 'deleted' and k.crate_key is null)
       or (k.state = 'aborting' and exists (
         select 1 from packs o where o.crate_key = k.crate_key and o.state in ('intent', 'live', 'superseded'))))`,
  );
  return rowCount ?? 0;
}

/** Removes pools that have neither repositories nor packs left, as the last snapshot of the catalog has seen: it tells what becomes of pools by their rows. */
export async function forgetEmptyPools(db: Queryable): Promise<number> {
  const { rowCount } = await db.query(
    `with gone as (
       delete from pools p where not exists (select 1 from repositories r where r.pool_id = p.id)
         and not exists (select 1 from packs k where k.pool_id = p.id)
         and (last_catalog_snapshot() is null or not changed_since(p.xmin, last_catalog_snapshot())) returning p.id),
     swaps_gone as (delete from pack_swaps w using gone where w.pool_id = gone.id),
     sweeps_gone as (delete from pool_sweeps s using gone where s.pool_id = gone.id)
     select id from gone`,
  );
  return rowCount ?? 0;
}

/** Whether an object of the store may go: no pack names its crate, and no hold says to keep what the catalog does not know. */
export async function isOrphan(db: Queryable, crateKey: string): Promise<boolean> {
  const { rows } = await db.query<{ orphan: boolean }>(
    `select not exists (select 1 from packs where crate_key = $1) and not exists (select 1 from maintenance_holds) as orphan`,
    [crateKey],
  );
  return rows[0]!.orphan;
}

/** PostgreSQL's clock. */
export async function clock(db: Queryable): Promise<Date> {
  const { rows } = await db.query<{ now: Date }>('select clock_timestamp() as now');
  return rows[0]!.now;
}

export interface HoldRow {
  readonly id: number;
  readonly reason: string;
  readonly made_at: Date;
}

export async function holds(db: Queryable): Promise<HoldRow[]> {
  const { rows } = await db.query<HoldRow>('select id, reason, made_at from maintenance_holds order by id');
  return rows;
}

/** Releases one hold, or all of them. The number of those that are gone. */
export async function releaseHolds(db: Queryable, id: number | null): Promise<number> {
  const { rowCount } = await db.query('delete from maintenance_holds where $1::bigint is null or id = $1', [id]);
  return rowCount ?? 0;
}
