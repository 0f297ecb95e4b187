import type { Pool } from 'pg';
import * as queries from '../../db/queries/jobs.ts';

const PROCESS_ENDED = 'the process that worked on it ended, or stood still';

/** None the first time. */
function restMs({ restMs: first, restMsMax }: LossRules, timesBefore: number): number {
  return timesBefore === 0 ? 0 : Math.min(first * 2 ** (timesBefore - 1), restMsMax);
}

/** A job that this process has taken. */
export interface Job {
  readonly id: number;
  readonly kind: string;
  /** Null: work on everything. */
  readonly poolId: number | null;
  readonly plan: unknown;
  /** How often it was taken, this time included. */
  readonly attempts: number;
  readonly token: string;
}

/** A job whose process ended, or stood still for longer than its lease. */
export interface LostJob {
  readonly id: number;
  /** The pool that it was for, or was working on. */
  readonly poolId: number | null;
  /** How often that has happened. */
  readonly lost: number;
  /** It is given up: what is due is queued anew after a rest. */
  readonly failed: boolean;
  readonly restMs: number;
}

/** What becomes of jobs whose processes end. */
export interface LossRules {
  /** The first time a job is free at once; this long the second time, then twice as long each time. */
  readonly restMs: number;
  readonly restMsMax: number;
  /** A job is given up after so many times. */
  readonly lostMax: number;
}

/** What is told of a job that is open or ended. */
export interface JobState {
  readonly id: number;
  readonly kind: string;
  readonly poolId: number | null;
  readonly state: string;
  readonly attempts: number;
  readonly lost: number;
  readonly notBefore: Date;
  readonly finishedAt: Date | null;
  readonly report: unknown;
}

/**
 * Maintenance work of all processes, in `maintenance_jobs`. Of a kind and a pool one job is open at a time; a job is its holder's while the
 * lease lasts, by PostgreSQL's clock, and each taking has a token of its own, so that a holder that was too slow changes nothing.
 */
export class JobCatalog {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** Queues work unless the same is queued or runs. Whether it was queued. */
  enqueue(kind: string, poolId: number | null, plan?: unknown): Promise<boolean> {
    return queries.enqueueJob(this.#pool, kind, poolId, plan);
  }

  /** Takes the oldest job of a kind that is due; null when there is none. What is left of killed processes is due once `expire` has freed it. */
  async claim(kind: string, leaseMs: number): Promise<Job | null> {
    const row = await queries.claimJob(this.#pool, kind, leaseMs);
    if (row === null) return null;
    return { id: row.id, kind: row.kind, poolId: row.pool_id, plan: row.plan, attempts: row.attempts, token: row.lease_token };
  }

  /**
   * Frees the jobs of a kind whose leases have run out, or gives them up. It may be the work that ends processes: so it is tried later and later.
   * A job on everything that had noted a pool is free at once, and that pool has the rest.
   */
  async expire(kind: string, rules: LossRules): Promise<LostJob[]> {
    const lost: LostJob[] = [];
    for (const row of await queries.expiredJobs(this.#pool, kind)) {
      const poolId = row.pool_id ?? row.noted_pool;
      const before = await queries.lostBefore(this.#pool, kind, poolId);
      if (row.pool_id === null && poolId !== null) {
        const free = { failed: false, lost: row.lost, report: null, restMs: 0 };
        if (!(await queries.loseJob(this.#pool, row, free))) continue;
        const part = { lost: before.lost + 1, restMs: restMs(rules, before.lost) };
        await queries.insertLostPart(this.#pool, kind, poolId, { ...part, report: { error: PROCESS_ENDED } });
        lost.push({ id: row.id, poolId, failed: false, ...part });
        continue;
      }
      const failed = row.lost + 1 >= rules.lostMax;
      const times = failed ? before.jobs + rules.lostMax : row.lost;
      const end = { failed, lost: row.lost + 1, restMs: restMs(rules, times) };
      const freed = await queries.loseJob(this.#pool, row, { ...end, report: { error: PROCESS_ENDED } });
      if (freed) lost.push({ id: row.id, poolId, ...end });
    }
    return lost;
  }

  /** Says which pool a job on everything works on now: if the process ends, it is the one to let be. */
  async note(job: Job, poolId: number): Promise<void> {
    await queries.noteJob(this.#pool, job.id, job.token, poolId);
  }

  /** Pools that jobs on everything are to let be for now. */
  resting(kind: string): Promise<number[]> {
    return queries.restingPools(this.#pool, kind);
  }

  /** A pool was worked on in spite of what happened before. */
  async worked(kind: string, poolId: number | null): Promise<void> {
    await queries.forgetLost(this.#pool, kind, poolId);
  }

  /** Jobs that are open or were given up, the oldest first; with `done` those that ended well too. */
  async list(done: boolean, limit: number): Promise<JobState[]> {
    return (await queries.listJobs(this.#pool, done, limit)).map((row) => ({
      id: row.id,
      kind: row.kind,
      poolId: row.pool_id,
      state: row.state,
      attempts: row.attempts,
      lost: row.lost,
      notBefore: row.not_before,
      finishedAt: row.finished_at,
      report: row.report,
    }));
  }

  /** False when the job is somebody else's now: stop. */
  renew(job: Job, leaseMs: number): Promise<boolean> {
    return queries.renewJob(this.#pool, job.id, job.token, leaseMs);
  }

  finish(job: Job, report: unknown): Promise<boolean> {
    return queries.finishJob(this.#pool, job.id, job.token, report);
  }

  /** Puts a job back that was not worked on to its end because the process is to stop. */
  async putBackStopped(job: Job): Promise<void> {
    await queries.returnJob(this.#pool, job.id, job.token, { stopped: true }, 0, 'stopped');
  }

  /** Puts a job back for another try after `delayMs`. */
  async putBack(job: Job, report: unknown, delayMs: number): Promise<void> {
    await queries.returnJob(this.#pool, job.id, job.token, report, delayMs, 'queued');
  }

  /** Ends a job for good that has failed too often. */
  async giveUp(job: Job, report: unknown): Promise<void> {
    await queries.returnJob(this.#pool, job.id, job.token, report, 0, 'failed');
  }

  /** Forgets what ended so long ago; of jobs on single pools what ended well, `doneMs` ago. */
  async forget(olderThanMs: number, doneMs: number): Promise<void> {
    await queries.forgetJobs(this.#pool, olderThanMs, doneMs);
  }

  /** How long ago a job of a kind last ended well; null when none has. */
  lastDoneMs(kind: string): Promise<number | null> {
    return queries.lastDoneMs(this.#pool, kind);
  }
}
