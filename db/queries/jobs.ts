import type { Queryable } from './publish.ts';

export interface JobRow {
  readonly id: number;
  readonly kind: string;
  readonly pool_id: number | null;
  readonly plan: unknown;
  readonly attempts: number;
  readonly lease_token: string;
}

/** Queues work unless the same is queued or runs. Whether it was queued. */
export async function enqueueJob(db: Queryable, kind: string, poolId: number | null, plan: unknown): Promise<boolean> {
  const { rowCount } = await db.query(
    `insert into maintenance_jobs (kind, pool_id, plan) values ($1, $2, $3)
       on conflict (kind, coalesce(pool_id, 0)) where state in ('queued', 'running') do nothing`,
    [kind, poolId, plan === undefined ? null : JSON.stringify(plan)],
  );
  return rowCount === 1;
}

/** Takes the oldest job of a kind that is due, or whose holder has let its lease run out. */
export async function claimJob(db: Queryable, kind: string, leaseMs: number): Promise<JobRow | null> {
  const { rows } = await db.query<JobRow>(
    `update maintenance_jobs j set state = 'running', attempts = j.attempts + 1, lease_token = gen_random_uuid(),
         lease_until = clock_timestamp() + $2 * interval '1 millisecond'
       where j.id = (select c.id from maintenance_jobs c where c.kind = $1
           and (c.state = 'queued' and c.not_before <= clock_timestamp() or c.state = 'running' and c.lease_until < clock_timestamp())
         order by c.id limit 1 for update skip locked)
       returning j.id, j.kind, j.pool_id, j.plan, j.attempts, j.lease_token`,
    [kind, leaseMs],
  );
  return rows[0] ?? null;
}

/** Lengthens a job's lease: false when it is somebody else's now. */
export async function renewJob(db: Queryable, id: number, token: string, leaseMs: number): Promise<boolean> {
  const { rowCount } = await db.query(
    `update maintenance_jobs set lease_until = clock_timestamp() + $3 * interval '1 millisecond'
       where id = $1 and lease_token = $2 and state = 'running'`,
    [id, token, leaseMs],
  );
  return rowCount === 1;
}

export async function finishJob(db: Queryable, id: number, token: string, report: unknown): Promise<boolean> {
  const { rowCount } = await db.query(
    `update maintenance_jobs set state = 'done', report = $3, finished_at = clock_timestamp(), lease_token = null, lease_until = null
       where id = $1 and lease_token = $2 and state = 'running'`,
    [id, token, JSON.stringify(report ?? null)],
  );
  return rowCount === 1;
}

/** Puts a job back, to be taken again after a while; `failed` ends it. */
export async function returnJob(
  db: Queryable,
  id: number,
  token: string,
  report: unknown,
  delayMs: number,
  failed: boolean,
): Promise<void> {
  await db.query(
    `update maintenance_jobs set state = case when $5 then 'failed' else 'queued' end, report = $3, lease_token = null, lease_until = null,
         not_before = clock_timestamp() + $4 * interval '1 millisecond', finished_at = case when $5 then clock_timestamp() end
       where id = $1 and lease_token = $2 and state = 'running'`,
    [id, token, JSON.stringify(report ?? null), delayMs, failed],
  );
}

/** Forgets jobs that ended long ago. */
export async function forgetJobs(db: Queryable, olderThanMs: number): Promise<void> {
  await db.query(`delete from maintenance_jobs where finished_at < clock_timestamp() - $1 * interval '1 millisecond'`, [
    olderThanMs,
  ]);
}

/** When a job of a kind last ended well, in milliseconds ago; null when none has. */
export async function lastDoneMs(db: Queryable, kind: string): Promise<number | null> {
  const { rows } = await db.query<{ ms: number | null }>(
    `select (extract(epoch from clock_timestamp() - max(finished_at)) * 1000)::bigint as ms
       from maintenance_jobs where kind = $1 and state = 'done'`,
    [kind],
  );
  return rows[0]?.ms ?? null;
}
