import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { createLogger } from '../base/mod.ts';
import type { Catalog, Job } from '../catalog/mod.ts';
import { useCatalog } from '../testkit/mod.ts';
import { type JobKind, runMaintenance } from './run.ts';

describe('the maintenance loop', () => {
  let catalog: Catalog;
  let client: pg.Client;
  useCatalog(8, (bench) => {
    ({ catalog, client } = bench);
  });

  const rows = async (kind: string) =>
    (await client.query('select state, attempts, report from maintenance_jobs where kind = $1 order by id', [kind])).rows;

  /** Runs loops until `until` holds, then stops them; what they told of jobs. */
  async function loops(
    count: number,
    kinds: readonly JobKind[],
    until: (told: readonly string[]) => boolean,
    leaseMs = 60_000,
  ): Promise<string[]> {
    const stop = new AbortController();
    const told: string[] = [];
    const running = Array.from({ length: count }, () =>
      runMaintenance(
        { catalog, log: createLogger('silent'), kinds, leaseMs, onJob: (kind, result) => told.push(`${kind} ${result}`) },
        stop.signal,
      ),
    );
    while (!until(told)) await sleep(5);
    stop.abort();
    await Promise.all(running);
    return told;
  }

  const kindOf = (kind: string, run: JobKind['run'], more: Partial<JobKind> = {}): JobKind => ({
    kind,
    everyMs: 10,
    enqueueDue: async () => {},
    run,
    ...more,
  });

  test('does each job once, however many processes look for work', async () => {
    for (let pool = 1; pool <= 20; pool++) await catalog.maintenance.jobs.enqueue('once', pool);
    const done: number[] = [];
    let queued = false;
    const kind = kindOf(
      'once',
      async (job) => {
        done.push(job.poolId!);
        return { pool: job.poolId };
      },
      {
        enqueueDue: async () => {
          if (!queued) await catalog.maintenance.jobs.enqueue('once', 21);
          queued = true;
        },
      },
    );
    const told = await loops(3, [kind], () => done.length >= 21);
    assert.deepEqual(
      done.toSorted((a, b) => a - b),
      Array.from({ length: 21 }, (_, i) => i + 1),
    );
    assert.equal(told.length, 21);
    assert((await rows('once')).every(({ state, report }) => state === 'done' && report.pool > 0));
  });

  test('a long job of one kind keeps no other kind waiting', async () => {
    const { jobs } = catalog.maintenance;
    await jobs.enqueue('long', null);
    await jobs.enqueue('short', null);
    let short = false;
    const quick = kindOf('short', async () => {
      short = true;
    });
    const long = kindOf('long', (_, signal) => sleep(60_000, undefined, { signal }));
    await loops(1, [long, quick], () => short);
    assert.equal((await rows('short'))[0].state, 'done');
    assert.equal((await rows('long'))[0].state, 'queued', 'what was stopped is for others');
    assert.equal((await jobs.claim('long', 1))?.attempts, 2, 'and at once');
  });

  test('what fails is tried again later, and given up in the end', async () => {
    const { jobs } = catalog.maintenance;
    await jobs.enqueue('bad', null);
    let tries = 0;
    const bad = kindOf('bad', async () => {
      tries++;
      await client.query(`update maintenance_jobs set attempts = 8 where kind = 'bad' and $1 = 2`, [tries]);
      throw new Error('no luck');
    });
    const told = await loops(1, [bad], ({ length }) => length === 1);
    assert.deepEqual(told, ['bad failed']);
    assert.deepEqual(await rows('bad'), [{ state: 'queued', attempts: 1, report: { error: 'no luck' } }]);
    assert.equal(await jobs.claim('bad', 1), null, 'not at once');
    await client.query(`update maintenance_jobs set not_before = now(), attempts = 7 where kind = 'bad'`);
    await loops(1, [bad], ({ length }) => length === 1);
    assert.equal((await rows('bad'))[0].state, 'failed');
    assert.equal(await jobs.enqueue('bad', null), true, 'what is due is queued anew');
  });

  test('keeps a job while it works on it, and stops when it is another’s', async () => {
    await catalog.maintenance.jobs.enqueue('kept', null);
    let taken: Job | null = null;
    let stopped = false;
    const kept = kindOf('kept', async (job, signal) => {
      await sleep(400);
      assert.equal(await catalog.maintenance.jobs.claim('kept', 1000), null, 'longer than its first lease');
      taken = job;
      await client.query(`update maintenance_jobs set lease_token = gen_random_uuid() where id = $1`, [job.id]);
      await sleep(60_000, undefined, { signal }).catch(() => {});
      stopped = true;
      signal.throwIfAborted();
    });
    await loops(1, [kept], () => stopped, 150);
    assert.equal((await rows('kept'))[0].state, 'running', `it is not ${taken!.id}'s holder who ends it`);
  });
});
