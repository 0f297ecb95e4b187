import type { Pool } from 'pg';
import * as queries from '../../db/queries/jobs.ts';

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

  /** Takes the oldest job of a kind that is due; null when there is none. */
  async claim(kind: string, leaseMs: number): Promise<Job | null> {
    const row = await queries.claimJob(this.#pool, kind, leaseMs);
    if (row === null) return null;
    return { id: row.id, kind: row.kind, poolId: row.pool_id, plan: row.plan, attempts: row.attempts, token: row.lease_token };
  }

  /** False when the job is somebody else's now: stop. */
  renew(job: Job, leaseMs: number): Promise<boolean> {
    return queries.renewJob(this.#pool, job.id, job.token, leaseMs);
  }

  finish(job: Job, report: unknown): Promise<boolean> {
    return queries.finishJob(this.#pool, job.id, job.token, report);
  }

  /** Puts a job back for another try after `delayMs`. */
  async putBack(job: Job, report: unknown, delayMs: number): Promise<void> {
    await queries.returnJob(this.#pool, job.id, job.token, report, delayMs, false);
  }

  /** Ends a job for good that has failed too often. */
  async giveUp(job: Job, report: unknown): Promise<void> {
    await queries.returnJob(this.#pool, job.id, job.token, report, 0, true);
  }

  async forget(olderThanMs: number): Promise<void> {
    await queries.forgetJobs(this.#pool, olderThanMs);
  }

  /** How long ago a job of a kind last ended well; null when none has. */
  lastDoneMs(kind: string): Promise<number | null> {
    return queries.lastDoneMs(this.#pool, kind);
  }
}
