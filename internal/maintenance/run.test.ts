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
    assert.equal((await jobs.claim('long', 1))?.attempts, 1, 'and at once: it was not tried');
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

  test('a job that ends its process is freed later and later, given up, and then let be for longer each time', async () => {
    const { jobs } = catalog.maintenance;
    const rules = { restMs: 10_000, restMsMax: 1_000_000, lostMax: 3 };
    /** Whether what is queued is due in so many seconds; a busy machine has let some pass. */
    const isDueIn = async (expectedS: number): Promise<void> => {
      const [row] = (
        await client.query(
          `select extract(epoch from max(not_before) - clock_timestamp()) as s from maintenance_jobs where kind = 'deadly' and state = 'queued'`,
        )
      ).rows;
      assert(Number(row.s) <= expectedS && Number(row.s) > expectedS - 8, `due in ${row.s} s, not ${expectedS}`);
    };
    /** Takes the job, and is killed. */
    const die = async (): Promise<void> => {
      await client.query(`update maintenance_jobs set not_before = clock_timestamp() where kind = 'deadly' and state = 'queued'`);
      assert((await jobs.claim('deadly', 1)) !== null);
      await sleep(5);
    };
    for (const restS of [40, 80]) {
      assert.equal(await jobs.enqueue('deadly', 7), true);
      for (const [i, expectedS] of [0, 10].entries()) {
        await die();
        assert.equal(await jobs.claim('deadly', 1), null, 'it is not just taken again');
        const [lost, ...others] = await jobs.expire('deadly', rules);
        assert.deepEqual([others.length, lost?.lost, lost?.failed], [0, i + 1, false]);
        await isDueIn(expectedS);
      }
      await die();
      assert.deepEqual(
        (await jobs.expire('deadly', rules)).map(({ lost, failed }) => [lost, failed]),
        [[3, true]],
      );
      assert.deepEqual(await jobs.expire('deadly', rules), []);
      assert.equal(await jobs.enqueue('deadly', 7), true);
      await isDueIn(restS);
      await client.query(`delete from maintenance_jobs where kind = 'deadly' and state = 'queued'`);
    }
    assert.equal(await jobs.enqueue('deadly', 8), true);
    await isDueIn(0);
    const listed = (await jobs.list(false, 100)).filter(({ kind }) => kind === 'deadly');
    assert.deepEqual(
      listed.map(({ state, poolId, lost }) => [state, poolId, lost]),
      [
        ['failed', 7, 3],
        ['failed', 7, 3],
        ['queued', 8, 0],
      ],
    );
  });

  test('of a job on everything that ends its process only the pool rests that it was working on', async () => {
    const { jobs } = catalog.maintenance;
    const rules = { restMs: 10_000, restMsMax: 1_000_000, lostMax: 3 };
    await jobs.enqueue('all', null);
    for (let times = 1; times <= 6; times++) {
      const job = await jobs.claim('all', 1);
      await jobs.note(job!, 42);
      await sleep(5);
      const [lost] = await jobs.expire('all', rules);
      assert.deepEqual(lost, {
        id: job!.id,
        poolId: 42,
        lost: times,
        failed: false,
        restMs: times === 1 ? 0 : 10_000 * 2 ** (times - 2),
      });
      assert.deepEqual(await jobs.resting('all'), times === 1 ? [] : [42]);
    }
    await jobs.worked('all', 42);
    assert.deepEqual(await jobs.resting('all'), []);
    assert((await jobs.claim('all', 1)) !== null, 'the others are not kept waiting');
  });

  test('what another process left is freed by the loop, told and counted', async () => {
    const { jobs } = catalog.maintenance;
    await jobs.enqueue('left', null);
    await jobs.claim('left', 1);
    await sleep(5);
    let done = 0;
    const left = kindOf('left', async () => void done++);
    const told = await loops(2, [left], () => done > 0);
    assert.deepEqual(told, ['left lost', 'left done']);
  });

  test('jobs that ended are forgotten after a week, those of single pools that ended well after a day', async () => {
    const { jobs } = catalog.maintenance;
    const DAY_MS = 86_400_000;
    for (const [state, pool, ageMs] of [
      ['done', 1, 0.9],
      ['done', 2, 1.1],
      ['done', null, 1.1],
      ['failed', 3, 1.1],
      ['failed', 4, 7.1],
      ['done', null, 7.1],
    ] as const)
      await client.query(
        `insert into maintenance_jobs (kind, pool_id, state, finished_at) values ('old', $1, $2, clock_timestamp() - $3 * interval '1 day')`,
        [pool, state, ageMs],
      );
    await jobs.forget(7 * DAY_MS, DAY_MS);
    const { rows: kept } = await client.query(`select state, pool_id from maintenance_jobs where kind = 'old' order by id`);
    assert.deepEqual(
      kept.map(({ state, pool_id }) => [state, pool_id === null ? null : Number(pool_id)]),
      [
        ['done', 1],
        ['done', null],
        ['failed', 3],
      ],
    );
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
