import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, failpoint, type Logger, messageOf } from '../base/mod.ts';
import type { Catalog, Job } from '../catalog/mod.ts';

/** One kind of maintenance work. */
export interface JobKind {
  readonly kind: string;
  /** How often this process looks whether there is work of this kind. */
  readonly everyMs: number;
  /** Queues what is due, through `catalog.maintenance.jobs.enqueue`: what is queued or runs already is not queued again. */
  enqueueDue(signal: AbortSignal): Promise<void>;
  /** Does one job, whichever process queued it; what it returns is the job's report. A job may be done twice: by one that was too slow, and another. */
  run(job: Job, signal: AbortSignal): Promise<unknown>;
}

export interface MaintenanceOptions {
  readonly catalog: Catalog;
  readonly log: Logger;
  readonly kinds: readonly JobKind[];
  /** How long a job stays this process's after its last sign of life. */
  readonly leaseMs: number;
  /** Told of each job that ended, for the counters. */
  readonly onJob: (kind: string, result: 'done' | 'failed' | 'stopped' | 'lost', seconds: number) => void;
}

/** A job that has failed so often is given up; what is due then is queued anew. */
const ATTEMPTS_MAX = 8;
/** A job is given up that so many processes have ended with. */
const LOST_MAX = 5;
/** Of the lease: the rest that such a job has at first, and at most. */
const LOST_REST = 1 / 6;
const LOST_REST_MAX = 60;
const BACKOFF_MS_MIN = 10_000;
const BACKOFF_MS_MAX = 3_600_000;
/** What ended is kept so long for people to look at; what was done of a single pool, of which there may be many, for less. */
const JOBS_KEPT_MS = 7 * 86_400_000;
const POOL_JOBS_KEPT_MS = 86_400_000;
/** Processes that were started together shall not look together. */
const JITTER = 0.2;

/**
 * The maintenance that a process does beside serving: of each kind one job at a time, kinds beside each other, so that a long compaction keeps
 * no tail waiting. Any number of processes may do so; the queue in PostgreSQL gives each job to one. Resolves once the signal is aborted
 * and what ran has stopped; its jobs are put back then, for others.
 */
export async function runMaintenance(options: MaintenanceOptions, signal: AbortSignal): Promise<void> {
  await Promise.all(options.kinds.map((kind) => tend(options, kind, signal)));
}

async function tend(options: MaintenanceOptions, kind: JobKind, signal: AbortSignal): Promise<void> {
  const { catalog, log } = options;
  while (!signal.aborted) {
    try {
      await freeLost(options, kind);
      await kind.enqueueDue(signal);
      if (kind === options.kinds[0]) await catalog.maintenance.jobs.forget(JOBS_KEPT_MS, POOL_JOBS_KEPT_MS);
      while (!signal.aborted && (await takeOne(options, kind, signal)));
    } catch (error) {
      if (!signal.aborted) log.warn({ kind: kind.kind, error: messageOf(error) }, 'maintenance could not look for work');
    }
    const waitMs = kind.everyMs * (1 + JITTER * (2 * Math.random() - 1));
    await sleep(waitMs, undefined, { signal, ref: false }).catch(() => {});
  }
}

/** Jobs whose processes were killed, died of them or stand still are for others again; how soon depends on how often that happened. */
async function freeLost({ catalog, log, leaseMs, onJob }: MaintenanceOptions, { kind }: JobKind): Promise<void> {
  const rules = { restMs: leaseMs * LOST_REST, restMsMax: leaseMs * LOST_REST_MAX, lostMax: LOST_MAX };
  for (const { poolId, lost, failed, restMs } of await catalog.maintenance.jobs.expire(kind, rules)) {
    const about = { kind, ...(poolId === null ? {} : { pool: poolId }), lost, restMs };
    log.error(
      about,
      failed ? 'maintenance is given up for now: processes end with it' : 'maintenance was not done: its process ended',
    );
    onJob(kind, 'lost', 0);
  }
}

/** Does one job of a kind; false when there was none. */
async function takeOne(
  { catalog, log, leaseMs, onJob }: MaintenanceOptions,
  kind: JobKind,
  signal: AbortSignal,
): Promise<boolean> {
  const { jobs } = catalog.maintenance;
  const job = await jobs.claim(kind.kind, leaseMs);
  if (job === null) return false;
  const lost = new AbortController();
  const renewal = setInterval(() => {
    jobs.renew(job, leaseMs).then(
      (held) => held || lost.abort(new Error('another process has taken the job over')),
      (error: unknown) => log.warn({ kind: kind.kind, error: messageOf(error) }, 'the lease of a job was not renewed'),
    );
  }, leaseMs / 3).unref();
  const began = performance.now();
  const about = { kind: kind.kind, ...(job.poolId === null ? {} : { pool: job.poolId }) };
  const seconds = (): number => Math.round(performance.now() - began) / 1000;
  try {
    await failpoint('job.claimed');
    const report = await kind.run(job, AbortSignal.any([signal, lost.signal]));
    await failpoint('job.done');
    if (await jobs.finish(job, report)) await jobs.worked(job.kind, job.poolId);
    log.info({ ...about, seconds: seconds(), report }, 'maintenance done');
    onJob(kind.kind, 'done', seconds());
  } catch (error) {
    if (signal.aborted) {
      await jobs.putBackStopped(job);
      onJob(kind.kind, 'stopped', seconds());
    } else {
      const told = { code: codeOf(error), error: messageOf(error) };
      log.error({ ...about, ...told, attempts: job.attempts }, 'maintenance failed');
      if (job.attempts >= ATTEMPTS_MAX) await jobs.giveUp(job, told);
      else await jobs.putBack(job, told, Math.min(BACKOFF_MS_MIN * 2 ** (job.attempts - 1), BACKOFF_MS_MAX));
      onJob(kind.kind, 'failed', seconds());
    }
  } finally {
    clearInterval(renewal);
  }
  return true;
}
