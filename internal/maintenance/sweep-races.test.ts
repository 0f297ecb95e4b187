import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { FastImport, git, makeRepository, seededBytes } from '../testkit/mod.ts';
import { Yard } from './rewrite-testing.ts';
import { seal } from './seal.ts';
import { type SweepPoint, type SweepReport, type SweepSettings, sweepPool } from './sweep.ts';

const NEVER = new AbortController().signal;
const MAIN = 'refs/heads/main';

describe('a sweep beside others', () => {
  let yard: Yard;
  let count = 0;
  let name = '';
  let local = '';
  let side = '';
  let poolId = 0;
  let repositoryId = 0;

  before(async () => {
    yard = await Yard.start(['--chunking-threshold', '1MiB']);
  });
  after(async () => {
    await yard?.close();
  });

  /** A repository with main, and side that was let go. */
  async function filled({ sealed = false } = {}): Promise<void> {
    name = `r${++count}`;
    local = await makeRepository();
    const importer = new FastImport(1_770_000_000 + count);
    const root = importer.commit(MAIN, { 'a.txt': `a of ${name}\n` });
    importer.commit('refs/heads/side', { 'side.bin': seededBytes(count, 9000) }, { parents: [root] });
    await importer.into(local);
    side = await git(['rev-parse', 'side'], { cwd: local });
    for (const ref of ['main', 'side', ':side']) await git(['push', '-q', yard.url(name), ref], { cwd: local });
    const repository = (await yard.catalog.findRepository('o', name))!;
    poolId = repository.poolId;
    repositoryId = repository.id;
    if (sealed) await seal(yard.settings, { poolId, now: true }, NEVER);
  }

  const sweep = (more: Partial<SweepSettings> = {}): Promise<SweepReport> =>
    sweepPool(
      {
        rewrite: yard.settings,
        retentionMs: 0,
        condemnedPercentMax: 100,
        confirmed: false,
        dryRun: false,
        thorough: true,
        ...more,
      },
      poolId,
      NEVER,
    );

  /** Lets something happen once, at a point of the sweep. */
  function once(point: SweepPoint, work: () => Promise<void>): { at: (reached: SweepPoint) => Promise<void> } {
    let done = false;
    return {
      at: async (reached) => {
        if (reached !== point || done) return;
        done = true;
        await work();
      },
    };
  }

  async function pushNext(): Promise<void> {
    const importer = new FastImport(1_790_000_000 + count);
    importer.commit(MAIN, { 'next.txt': `next ${count}\n` }, { parents: [MAIN] });
    await importer.into(local);
    await git(['push', '-q', yard.url(name), 'main'], { cwd: local });
  }

  /** What a push does that was proven while side was still reached: it makes a ref of it, and no object comes. */
  const publishStale = (epoch: number) =>
    yard.catalog.publish(
      {
        repositoryId,
        poolId,
        atomic: false,
        commands: [{ name: 'refs/heads/late', oldOid: null, newOid: Buffer.from(side, 'hex'), peeled: null }],
        head: null,
        actor: '',
        requestId: '',
        options: [],
        pack: null,
        sweepEpoch: epoch,
      },
      'sha1',
    );
  const epochNow = async (): Promise<number> => (await yard.catalog.maintenance.poolState(poolId))!.epoch;
  const stored = async (oid: string): Promise<boolean> =>
    (await yard.query('select 1 from object_locate($1, $2)', [`o/${name}`, oid])).length > 0;

  test('takes what was pushed meanwhile into account, and goes on', async () => {
    for (const point of ['roots-read', 'marked', 'leased', 'rewritten', 'caught-up'] as const) {
      await filled({ sealed: point === 'rewritten' });
      assert.equal((await sweep(once(point, pushNext))).outcome, 'swept', point);
      assert.equal(await stored(side), false, point);
      await yard.assertClones(name, local);
    }
    assert.deepEqual(await yard.problems(), []);
  });

  test('that finds nothing has looked at nothing that came after it began', async () => {
    await filled({ sealed: true });
    assert.equal((await sweep()).outcome, 'swept');
    let marked = '';
    const clock = async (): Promise<void> => {
      marked = (await yard.query<{ now: string }>('select clock_timestamp()::text as now')).at(0)!.now;
    };
    assert.equal((await sweep(once('marked', clock))).outcome, 'clean');
    const noted = await yard.query('select 1 from pool_sweeps where pool_id = $1 and swept_at < $2::timestamptz', [
      poolId,
      marked,
    ]);
    assert.equal(noted.length, 1);
  });

  test('goes on with the packs that were sealed meanwhile, and does not call them clean', async () => {
    await filled();
    const report = await sweep(once('marked', () => seal(yard.settings, { poolId, now: true }, NEVER).then(() => undefined)));
    assert.deepEqual([report.outcome, await stored(side)], ['swept', false]);
    await yard.assertClones(name, local);
    assert.deepEqual(await yard.problems(), []);
  });

  test('keeps what a push refers to that was proven before the ref went and is published before it is condemned', async () => {
    for (const point of ['roots-read', 'marked', 'leased', 'caught-up'] as const) {
      await filled();
      const epoch = await epochNow();
      const report = await sweep(
        once(point, async () => {
          assert.deepEqual(await publishStale(epoch), ['ok']);
        }),
      );
      assert.deepEqual([report.outcome, await stored(side)], ['clean', true], point);
      await git(['fetch', '-q', yard.url(name), 'late'], { cwd: await makeRepository() });
    }
    assert.deepEqual(await yard.problems(), []);
  });

  test('refuses that push once it has condemned', async () => {
    await filled();
    const epoch = await epochNow();
    await sweep();
    assert.equal(await epochNow(), epoch + 1);
    await assert.rejects(publishStale(epoch), { code: 'epoch-moved' });
  });

  test('waits for what is just being published, and sees it', async () => {
    await filled();
    const client = new pg.Client({ connectionString: yard.databaseUrl });
    await client.connect();
    try {
      const open = async (): Promise<void> => {
        await client.query('begin');
        await client.query('select pg_advisory_xact_lock_shared(1347, $1)', [poolId]);
        await client.query(
          `insert into refs (pool_id, repository_id, name, oid, created_push) values ($1, $2, 'refs/heads/late', decode($3, 'hex'), 1)`,
          [poolId, repositoryId, side],
        );
      };
      const sweeping = sweep(once('caught-up', open));
      const waits = `select 1 from pg_locks where locktype = 'advisory' and classid = 1347 and objid = $1 and not granted`;
      while ((await yard.query(waits, [poolId])).length === 0);
      await client.query('commit');
      assert.deepEqual([(await sweeping).outcome, await stored(side)], ['clean', true]);
    } finally {
      await client.end();
    }
  });

  test('keeps what comes back by a push of the same objects', async () => {
    for (const point of ['marked', 'leased', 'caught-up'] as const) {
      await filled();
      const again = async (): Promise<void> => void (await git(['push', '-q', yard.url(name), 'side'], { cwd: local }));
      await sweep(once(point, again));
      const clone = await makeRepository();
      await git(['fetch', '-q', yard.url(name), 'side'], { cwd: clone });
      await git(['fsck', '--full', '--strict'], { cwd: clone });
    }
    assert.deepEqual(await yard.problems(), []);
  });

  test('keeps what a fork takes over meanwhile, also from a repository that goes at the same time', async () => {
    await filled();
    await git(['push', '-q', yard.url(name), 'side'], { cwd: local });
    const fork = `${name}-fork`;
    const at = once('marked', async () => {
      assert.equal((await yard.server.packhouse('repo', 'fork', `o/${name}`, `o/${fork}`)).code, 0);
      await yard.catalog.deleteRepository(repositoryId);
    });
    assert.notEqual((await sweep(at)).outcome, 'unsound');
    assert.equal((await sweep()).repositories, 1);
    await git(['fetch', '-q', yard.url(fork), 'side'], { cwd: await makeRepository() });
    assert.deepEqual(await yard.problems(), []);
  });

  test('and sealing get along: whoever is second begins anew', async () => {
    for (const point of ['marked', 'leased', 'caught-up'] as const) {
      await filled();
      await pushNext();
      const report = await sweep(once(point, async () => void (await seal(yard.settings, { poolId, now: true }, NEVER))));
      assert.ok(['swept', 'clean', 'busy'].includes(report.outcome), report.outcome);
      await yard.assertClones(name, local);
      await sweep();
      assert.equal(await stored(side), false, point);
      await yard.assertClones(name, local);
    }
    assert.deepEqual(await yard.problems(), []);
  });

  test('a second sweep of the pool that condemns first makes the other begin anew', async () => {
    await filled();
    const other = once('leased', async () => {
      // Its packs are leased to the first: it finds nothing to take, but a deleted repository may be.
      await yard.query('update pools set sweep_epoch = sweep_epoch + 1 where id = $1', [poolId]);
    });
    assert.deepEqual([(await sweep(other)).outcome, await stored(side)], ['swept', false]);
  });

  test('lets chunks go that no blob uses any more, and their dedup information before anybody can find them', async () => {
    await filled();
    const importer = new FastImport(1_795_000_000 + count);
    const large = seededBytes(77, 3 << 20);
    importer.commit('refs/heads/large', { 'large.bin': large }, { parents: [MAIN] });
    importer.commit('refs/heads/other', { 'other.bin': seededBytes(78, 2 << 20) }, { parents: [MAIN] });
    await importer.into(local);
    for (const ref of ['large', 'other', ':large']) await git(['push', '-q', yard.url(name), ref], { cwd: local });
    const chunkPacks = () =>
      yard.query<{ n: number }>(
        `select count(*)::integer n from packs where pool_id = $1 and tier = 'chunks' and state = 'live'`,
        [poolId],
      );
    assert.deepEqual(await chunkPacks(), [{ n: 2 }]);
    const report = await sweep();
    assert.deepEqual([report.outcome, await chunkPacks()], ['swept', [{ n: 1 }]]);
    const known = await yard.query(
      `select 1 from chunks c join packs k on k.pool_id = c.pool_id and k.id = c.pack_id where c.pool_id = $1 and k.state <> 'live'`,
      [poolId],
    );
    assert.deepEqual(known, []);
    // The same blob again: stored anew.
    await git(['push', '-q', yard.url(name), 'large'], { cwd: local });
    const clone = await makeRepository();
    await git(['fetch', '-q', yard.url(name), 'large', 'other'], { cwd: clone });
    await git(['fsck', '--full', '--strict'], { cwd: clone });
  });
});
