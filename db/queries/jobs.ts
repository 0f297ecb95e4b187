import type { Queryable } from './publish.ts';

export interface JobRow {
  readonly id: number;
  readonly kind: string;
  readonly pool_id: number | null;
  readonly plan: unknown;
  readonly attempts: number;
  readonly lease_token: string;
}

/** A job whose lease has run out. */
export interface ExpiredJobRow {
  readonly id: number;
  readonly pool_id: number | null;
  readonly lost: number;
  readonly lease_token: string;
  /** What of it was being worked on. */
  readonly noted_pool: number | null;
}

/** What is open, and what ended. */
export interface JobStateRow {
  readonly id: number;
  readonly kind: string;
  readonly pool_id: number | null;
  readonly state: string;
  readonly attempts: number;
  readonly lost: number;
  readonly not_before: Date;
  readonly finished_at: Date | null;
  readonly report: unknown;
}

/** Failed for that processes ended with it. */
const WAS_LOST = `state = 'failed' and lost > 0 and finished_at is not null`;

/** Queues work unless the same is queued or runs; what processes ended with is not begun before its rest is over. Whether it was queued. */
export async function enqueueJob(db: Queryable, kind: string, poolId: number | null, plan: unknown): Promise<boolean> {
  const { rowCount } = await db.query(
    `insert into maintenance_jobs (kind, pool_id, plan, not_before)
       select $1, $2, $3, coalesce(max(f.not_before), clock_timestamp()) from maintenance_jobs f
         where f.kind = $1 and f.pool_id is not distinct from $2 and ${WAS_LOST}
       on conflict (kind, coalesce(pool_id, 0)) where state in ('queued', 'running') do nothing`,
    [kind, poolId, plan === undefined ? null : JSON.stringify(plan)],
  );
  return rowCount === 1;
}

/** Takes the oldest job of a kind that is due. */
export async function claimJob(db: Queryable, kind: string, leaseMs: number): Promise<JobRow | null> {
  const { rows } = await db.query<JobRow>(
    `update maintenance_jobs j set state = 'running', attempts = j.attempts + 1, report = null, lease_token = gen_random_uuid(),
         lease_until = clock_timestamp() + $2 * interval '1 millisecond'
       where j.id = (select c.id from maintenance_jobs c where c.kind = $1 and c.state = 'queued' and c.not_before <= clock_timestamp()
         order by c.id limit 1 for update skip locked)
       returning j.id, j.kind, j.pool_id, j.plan, j.attempts, j.lease_token`,
    [kind, leaseMs],
  );
  return rows[0] ?? null;
}

/** Jobs of a kind whose holders have let their leases run out. */
export async function expiredJobs(db: Queryable, kind: string): Promise<ExpiredJobRow[]> {
  const { rows } = await db.query<ExpiredJobRow>(
    `select id, pool_id, lost, lease_token, (report->>'pool')::bigint as noted_pool from maintenance_jobs
       where kind = $1 and state = 'running' and lease_until < clock_timestamp()`,
    [kind],
  );
  return rows;
}

/** How often processes ended with a kind of work: jobs given up for it, and the most times that one of them says. */
export async function lostBefore(db: Queryable, kind: string, poolId: number | null): Promise<{ jobs: number; lost: number }> {
  const { rows } = await db.query<{ jobs: number; lost: number }>(
    `select count(*) as jobs, coalesce(max(lost), 0) as lost from maintenance_jobs
       where kind = $1 and pool_id is not distinct from $2 and ${WAS_LOST}`,
    [kind, poolId],
  );
  return rows[0]!;
}

/** Frees a job whose lease has run out, for `restMs` from now on, or ends it. False when it is somebody's again. */
export async function loseJob(
  db: Queryable,
  { id, lease_token }: ExpiredJobRow,
  end: { readonly failed: boolean; readonly lost: number; readonly report: unknown; readonly restMs: number },
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update maintenance_jobs set state = case when $3 then 'failed' else 'queued' end, lost = $4, report = $5, lease_token = null,
         lease_until = null, not_before = clock_timestamp() + $6 * interval '1 millisecond',
         finished_at = case when $3 then clock_timestamp() end
       where id = $1 and lease_token = $2 and state = 'running' and lease_until < clock_timestamp()`,
    [id, lease_token, end.failed, end.lost, JSON.stringify(end.report), end.restMs],
  );
  return rowCount === 1;
}

/** Notes that a process ended while it worked on a pool as a part of a job on everything. */
export async function insertLostPart(
  db: Queryable,
  kind: string,
  poolId: number,
  end: { readonly lost: number; readonly report: unknown; readonly restMs: number },
): Promise<void> {
  await db.query(
    `insert into maintenance_jobs (kind, pool_id, state, lost, report, not_before, finished_at)
       values ($1, $2, 'failed', $3, $4, clock_timestamp() + $5 * interval '1 millisecond', clock_timestamp())`,
    [kind, poolId, end.lost, JSON.stringify(end.report), end.restMs],
  );
}

/** Pools that jobs on everything are to let be for now, since processes ended with them. */
export async function restingPools(db: Queryable, kind: string): Promise<number[]> {
  const { rows } = await db.query<{ pool_id: number }>(
    `select distinct pool_id from maintenance_jobs
       where kind = $1 and pool_id is not null and ${WAS_LOST} and not_before > clock_timestamp()`,
    [kind],
  );
  return rows.map((row) => row.pool_id);
}

/** Forgets that processes ended with a pool: it has been worked on since. */
export async function forgetLost(db: Queryable, kind: string, poolId: number | null): Promise<void> {
  await db.query(`delete from maintenance_jobs where kind = $1 and pool_id is not distinct from $2 and ${WAS_LOST}`, [
    kind,
    poolId,
  ]);
}

/** Notes in a running job which pool it works on. */
export async function noteJob(db: Queryable, id: number, token: string, poolId: number): Promise<void> {
  await db.query(
    `update maintenance_jobs set report = jsonb_build_object('pool', $3::bigint) where id = $1 and lease_token = $2 and state = 'running'`,
    [id, token, poolId],
  );
}

/** Jobs that are open or failed, the newest last; with `done` those too. */
export async function listJobs(db: Queryable, done: boolean, limit: number): Promise<JobStateRow[]> {
  const { rows } = await db.query<JobStateRow>(
    `select * from (select id, kind, pool_id, state, attempts, lost, not_before, finished_at, report from maintenance_jobs
       where $1 or state <> 'done' order by id desc limit $2) newest order by id`,
    [done, limit],
  );
  return rows;
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

/** Puts a job back, to be taken again after a while; `failed` ends it. One that was `stopped` has not been tried. */
export async function returnJob(
  db: Queryable,
  id: number,
  token: string,
  report: unknown,
  delayMs: number,
  end: 'stopped' | 'queued' | 'failed',
): Promise<void> {
  await db.query(
    `update maintenance_jobs set state = case when $5 = 'failed' then 'failed' else 'queued' end, report = $3, lease_token = null,
         lease_until = null, not_before = clock_timestamp() + $4 * interval '1 millisecond',
         finished_at = case when $5 = 'failed' then clock_timestamp() end, attempts = attempts - ($5 = 'stopped')::integer
       where id = $1 and lease_token = $2 and state = 'running'`,
    [id, token, JSON.stringify(report ?? null), delayMs, end],
  );
}

/** Forgets jobs that ended long ago, those of a single pool that ended well sooner: there is one a pool and day, at least. */
export async function forgetJobs(db: Queryable, olderThanMs: number, doneOlderThanMs: number): Promise<void> {
  await db.query(
    `delete from maintenance_jobs where finished_at < clock_timestamp() - $1 * interval '1 millisecond'
       or state = 'done' and pool_id is not null and finished_at < clock_timestamp() - $2 * interval '1 millisecond'`,
    [olderThanMs, doneOlderThanMs],
  );
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
