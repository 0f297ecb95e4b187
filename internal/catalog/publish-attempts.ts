import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import { publishedRefs } from '../../db/queries/publish.ts';
import { PackhouseError } from '../base/mod.ts';
import { catalogFaultOf } from './faults.ts';
import { inTransaction } from './transaction.ts';
import type { Push, RefStatus } from './types.ts';

/** How often a publication is begun that others or a broken connection have stopped. */
const ATTEMPTS_MAX = 5;
/** How long a catalog that cannot be reached is asked what became of a publication. */
const ASKED_MS_MAX = 15_000;
/** The first wait before another try, doubled each time and shortened at random. */
const WAIT_MS = 20;
const WAIT_MS_MAX = 1_000;

/**
 * Publishes until it has happened or is known not to have: an attempt that PostgreSQL rolled back because of others is made again, and of one
 * whose answer was lost the log of pushes is asked first. @throws PackhouseError `push-unknown` when nobody answers; what `attempt` throws
 */
export async function publishKnowing(pool: Pool, push: Push, attempt: () => Promise<RefStatus[]>): Promise<RefStatus[]> {
  for (let attempts = 1; ; attempts++) {
    try {
      return await attempt();
    } catch (error) {
      const fault = catalogFaultOf(error);
      if (fault === null || fault === 'refused') throw error;
      const happened = fault === 'unknown' ? await outcomeOf(pool, push, error) : null;
      if (happened !== null) return happened;
      if (attempts === ATTEMPTS_MAX) throw error;
      await sleep(waitOf(attempts));
    }
  }
}

/** What became of a publication, from the log; null when it did not happen. */
async function outcomeOf(pool: Pool, push: Push, cause: unknown): Promise<RefStatus[] | null> {
  const { requestId } = push;
  const unknown = () =>
    new PackhouseError('push-unknown', 'the catalog does not say what became of the push', { requestId }, { cause });
  // The log could not tell it from others.
  if (requestId === '') throw unknown();
  const deadline = performance.now() + ASKED_MS_MAX;
  for (let tries = 1; ; tries++) {
    try {
      const names = await inTransaction(pool, (client) => publishedRefs(client, push));
      if (names === null) return null;
      const updated = new Set(names.map((name) => name.toString('latin1')));
      return push.commands.map(({ name }) => (push.atomic || updated.has(name) ? 'ok' : 'stale'));
    } catch (error) {
      const fault = catalogFaultOf(error);
      if (fault === null) throw error;
      if (performance.now() > deadline) throw unknown();
    }
    await sleep(waitOf(tries));
  }
}

function waitOf(tries: number): number {
  return Math.min(WAIT_MS * 2 ** tries, WAIT_MS_MAX) * (0.5 + Math.random() / 2);
}
