import type { Queryable } from './publish.ts';

export interface RefLogRow {
  readonly push_id: number;
  readonly pushed_at: Date;
  readonly actor: string;
  readonly name: Buffer;
  readonly old_oid: Buffer | null;
  readonly new_oid: Buffer | null;
}

/** What has become of a repository's refs, or of one, newest first. */
export async function refLog(
  db: Queryable,
  poolId: number,
  repositoryId: number,
  name: Buffer | null,
  limit: number,
): Promise<RefLogRow[]> {
  const { rows } = await db.query<RefLogRow>(
    `select u.push_id, s.pushed_at, s.actor, u.name, u.old_oid, u.new_oid
       from ref_updates u join pushes s on s.pool_id = u.pool_id and s.id = u.push_id
       where u.pool_id = $1 and u.repository_id = $2 and ($3::bytea is null or u.name = $3) order by u.push_id desc, u.name limit $4`,
    [poolId, repositoryId, name, limit],
  );
  return rows;
}

export interface RefThenRow {
  readonly name: Buffer;
  readonly oid: Buffer;
}

/** The refs as they were at a time. Updates of one ref take turns, so their push numbers are in order of time. */
export async function refsAt(db: Queryable, poolId: number, repositoryId: number, at: Date): Promise<RefThenRow[]> {
  const { rows } = await db.query<RefThenRow>(
    `select name, new_oid as oid from (
       select distinct on (u.name) u.name, u.new_oid from ref_updates u join pushes s on s.pool_id = u.pool_id and s.id = u.push_id
         where u.pool_id = $1 and u.repository_id = $2 and s.pushed_at <= $3 order by u.name, u.push_id desc) r
       where new_oid is not null order by name`,
    [poolId, repositoryId, at],
  );
  return rows;
}

export interface DeletedRow {
  readonly id: number;
  readonly pool_id: number;
  readonly deleted_at: Date;
}

/** The repository of that name that was deleted last, if that is not too long ago. */
export async function lastDeleted(
  db: Queryable,
  owner: string,
  name: string,
  retentionSeconds: number,
): Promise<DeletedRow | null> {
  const { rows } = await db.query<DeletedRow>(
    `select id, pool_id, deleted_at from repositories where owner = $1 and name = $2
       and deleted_at > clock_timestamp() - make_interval(secs => $3) order by deleted_at desc, id desc limit 1`,
    [owner, name, retentionSeconds],
  );
  return rows[0] ?? null;
}

/**
 * Brings a deleted repository back under a name. The pool's lock comes first: a sweep that condemns what it has takes its row in the same
 * transaction, so either it is back before, or it cannot come back. @throws a unique violation (23505) when the name is taken
 */
export async function undelete(
  db: Queryable,
  poolId: number,
  id: number,
  owner: string,
  name: string,
  retentionSeconds: number,
): Promise<boolean> {
  await db.query('select pg_advisory_xact_lock_shared(1347, $1::integer)', [poolId]);
  const { rowCount } = await db.query(
    `update repositories set deleted_at = null, owner = $2, name = $3
       where id = $1 and deleted_at > clock_timestamp() - make_interval(secs => $4)`,
    [id, owner, name, retentionSeconds],
  );
  return rowCount === 1;
}

/** Values that a repository's refs have had within the retention and that no sweep has let go of since, newest first. */
export async function restorableValues(
  db: Queryable,
  poolId: number,
  repositoryId: number,
  retentionSeconds: number,
): Promise<Buffer[]> {
  const { rows } = await db.query<{ oid: Buffer }>(
    `select v.oid from ref_updates u join pushes s on s.pool_id = u.pool_id and s.id = u.push_id
         cross join lateral (values (u.new_oid), (u.old_oid)) v (oid)
       where u.pool_id = $1 and u.repository_id = $2 and v.oid is not null
         and s.pushed_at > greatest(clock_timestamp() - make_interval(secs => $3),
           (select w.kept_since from pool_sweeps w where w.pool_id = $1))
       order by u.push_id desc`,
    [poolId, repositoryId, retentionSeconds],
  );
  return rows.map((row) => row.oid);
}
