import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FastImport, git, makeRepository, scratchFolder, seededBytes, tryGit } from '../testkit/mod.ts';
import { retire } from './retire.ts';
import { Yard } from './rewrite-testing.ts';
import { seal } from './seal.ts';
import { type SweepReport, type SweepSettings, sweepInTurn, sweepPool } from './sweep.ts';

const NEVER = new AbortController().signal;
const DAY = 86_400_000;
const MAIN = 'refs/heads/main';

describe('a sweep', () => {
  let yard: Yard;
  let count = 0;
  before(async () => {
    yard = await Yard.start();
  });
  after(async () => {
    await yard?.close();
  });

  const sweep = async (name: string, more: Partial<SweepSettings> = {}): Promise<SweepReport> =>
    sweepId(await yard.poolOf(name), more);
  const sweepId = (poolId: number, more: Partial<SweepSettings> = {}): Promise<SweepReport> =>
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
  const retireAll = () =>
    retire({
      catalog: yard.catalog,
      store: yard.store,
      readersMsMax: 0,
      uploadLeaseMs: DAY,
      orphanPercentMax: 100,
      confirmed: false,
      dryRun: false,
    });

  /** A repository with main (kept) and side (to be let go), each with text and a binary of its own. */
  async function filled(options: { sealed?: boolean } = {}): Promise<{ name: string; local: string; side: string }> {
    const name = `s${++count}`;
    const local = await makeRepository();
    const importer = new FastImport(1_770_000_000 + count);
    const text = Array.from({ length: 400 }, (_, i) => `line ${i} of ${name}`).join('\n');
    const root = importer.commit(MAIN, { 'a.txt': text });
    importer.commit(MAIN, { 'a.txt': `${text}\nmain\n`, 'main.bin': seededBytes(count, 5000) }, { parents: [root] });
    importer.commit(
      'refs/heads/side',
      { 'a.txt': `${text}\nside\n`, 'side.bin': seededBytes(1000 + count, 9000) },
      { parents: [root] },
    );
    await importer.into(local);
    await git(['push', '-q', yard.url(name), 'main'], { cwd: local });
    await git(['push', '-q', yard.url(name), 'side'], { cwd: local });
    if (options.sealed) await seal(yard.settings, { poolId: await yard.poolOf(name), now: true }, NEVER);
    return { name, local, side: await git(['rev-parse', 'side'], { cwd: local }) };
  }

  async function has(name: string, oid: string): Promise<boolean> {
    const rows = await yard.query(`select 1 from object_locate($1, $2)`, [`o/${name}`, oid]);
    return rows.length > 0;
  }
  /** Packs are no longer protected by being young: only what the log and deleted repositories tell is. */
  const age = (poolId: number) =>
    yard.query(`update packs set created_at = now() - interval '90 days' where pool_id = $1`, [poolId]);
  const actions = ({ packs }: SweepReport): string[] => packs.map(({ tier, action, reason }) => `${tier} ${action} ${reason}`);
  const drop = (name: string, local: string, ref = 'side') => git(['push', '-q', yard.url(name), `:${ref}`], { cwd: local });

  test('in which others are faster each time is an error for the loop, which tries later and later', async () => {
    const { name, local } = await filled({ sealed: true });
    const poolId = await yard.poolOf(name);
    await drop(name, local);
    await age(poolId);
    let leases = 0;
    const { catalog } = yard.settings;
    const unlucky = new Proxy(catalog, {
      get(target, key) {
        const value = Reflect.get(target, key) as unknown;
        if (key === 'maintenance') {
          const maintenance = Object.create(target.maintenance) as typeof target.maintenance;
          maintenance.lease = async () => ++leases < 0;
          return maintenance;
        }
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const settings = {
      rewrite: { ...yard.settings, catalog: unlucky },
      retentionMs: 0,
      condemnedPercentMax: 100,
      confirmed: false,
      dryRun: false,
      thorough: true,
    };
    await assert.rejects(sweepInTurn(settings, poolId, NEVER), { code: 'sweep-busy' });
    assert(leases > 1, 'it had tried');
    assert.equal((await sweep(name)).outcome, 'swept');
  });

  test('keeps everything while refs reach it', async () => {
    const { name, local, side } = await filled();
    assert.deepEqual([(await sweep(name)).outcome, await has(name, side)], ['clean', true]);
    await yard.assertClones(name, local);
  });

  test('lets go of a pack that nothing reaches, and its bytes leave with it', async () => {
    const { name, local, side } = await filled();
    await drop(name, local);
    const planned = await sweep(name, { dryRun: true });
    assert.deepEqual([planned.outcome, planned.condemnedBytes > 9000, await has(name, side)], ['planned', true, true]);
    const report = await sweep(name);
    assert.deepEqual([report.outcome, report.condemnedBytes], ['swept', planned.condemnedBytes]);
    assert.deepEqual(actions(report), ['tail keep reached', 'tail drop garbage']);
    assert.equal(await has(name, side), false);
    await yard.assertClones(name, local);
    await retireAll();
    await yard.assertClones(name, local);
    assert.deepEqual(await yard.problems(), []);
    // The same commits come back by a push.
    await git(['push', '-q', yard.url(name), 'side'], { cwd: local });
    assert.equal(await git(['ls-remote', yard.url(name), 'side'], { cwd: local }), `${side}\trefs/heads/side`);
    assert.deepEqual(await yard.problems(), []);
  });

  test('writes a pack again without its garbage, and the new one is an ordinary pack', async () => {
    const { name, local, side } = await filled({ sealed: true });
    await drop(name, local);
    const report = await sweep(name);
    assert.deepEqual([report.outcome, actions(report)], ['swept', ['store rewrite garbage']]);
    const [pack] = await yard.livePacks(name);
    assert.ok(pack!.lengthBytes <= report.totalBytes - 9000, `${pack!.lengthBytes} of ${report.totalBytes}`);
    assert.equal(await has(name, side), false);
    await yard.assertClones(name, local);
    await yard.assertOrdinaryPacks(name);
    await retireAll();
    await yard.assertClones(name, local);
    assert.deepEqual(await yard.problems(), []);
  });

  test('leaves a pack alone of which little is garbage, unless it is to be thorough', async () => {
    const { name, local, side } = await filled({ sealed: true });
    await drop(name, local);
    const rewrite = { ...yard.settings, compaction: { ...yard.settings.compaction, deadPercent: 90 } };
    const report = await sweep(name, { thorough: false, rewrite });
    assert.deepEqual([report.outcome, actions(report), await has(name, side)], ['clean', ['store keep little'], true]);
    assert.equal((await sweep(name, { rewrite })).outcome, 'swept');
  });

  test('keeps what refs had within the retention, and what was pushed within it', async () => {
    const { name, local, side } = await filled();
    await drop(name, local);
    await age(await yard.poolOf(name));
    assert.deepEqual([(await sweep(name, { retentionMs: DAY })).outcome, await has(name, side)], ['clean', true]);
    // The value that a forced push has replaced is old, its replacement was made just now.
    const pool = await yard.poolOf(name);
    await yard.query(`update pushes set pushed_at = now() - interval '3 days' where pool_id = $1`, [pool]);
    assert.equal((await sweep(name, { retentionMs: 4 * DAY })).outcome, 'clean');
    await yard.query(`update packs set created_at = now() where pool_id = $1`, [pool]);
    const young = await sweep(name, { retentionMs: DAY });
    assert.deepEqual([young.outcome, actions(young)], ['clean', ['tail keep reached', 'tail keep young']]);
    await yard.query(`update packs set created_at = now() - interval '3 days' where pool_id = $1`, [pool]);
    assert.deepEqual([(await sweep(name, { retentionMs: DAY })).outcome, await has(name, side)], ['swept', false]);
    // A longer retention later does not ask for what has left.
    assert.equal((await sweep(name, { retentionMs: 30 * DAY })).outcome, 'clean');
  });

  test('keeps the base of a delta that stays, whatever it hangs on', async () => {
    const name = `s${++count}`;
    const local = await makeRepository();
    const text = Array.from({ length: 400 }, (_, i) => `line ${i} of ${name}`).join('\n');
    const commit = async (ref: string, files: Record<string, string>, parents: string[]): Promise<void> => {
      const importer = new FastImport(1_780_000_000);
      importer.commit(ref, files, { parents });
      await importer.into(local);
      await git(['push', '-q', '-f', yard.url(name), ref], { cwd: local });
    };
    await commit('refs/heads/main', { other: 'x' }, []);
    // The blob below side is the base of the thin delta that main's next commit brings.
    await commit('refs/heads/side', { 'a.txt': text }, []);
    await commit('refs/heads/joined', { 'a.txt': `${text}\njoined\n` }, ['refs/heads/side']);
    await git(['branch', '-f', 'alone', await git(['commit-tree', 'joined^{tree}', '-m', 'alone'], { cwd: local })], {
      cwd: local,
    });
    await git(['push', '-q', yard.url(name), 'alone'], { cwd: local });
    for (const ref of ['side', 'joined']) await drop(name, local, ref);
    const base = await git(['rev-parse', 'side:a.txt'], { cwd: local });
    const report = await sweep(name);
    assert.deepEqual(actions(report), ['tail keep reached', 'tail keep tail', 'tail keep tail', 'tail keep reached']);
    assert.ok(await has(name, base));
    await retireAll();
    const clone = scratchFolder('clone');
    await git(['clone', '-q', '--bare', '-b', 'alone', yard.url(name), clone]);
    await git(['fsck', '--strict', '--full'], { cwd: clone });
    assert.deepEqual(await yard.problems(), []);
  });

  test('asks before it condemns more than a part of the pool', async () => {
    const { name, local, side } = await filled();
    await drop(name, local);
    const report = await sweep(name, { condemnedPercentMax: 10 });
    assert.deepEqual([report.outcome, await has(name, side)], ['too-much', true]);
    assert.equal((await sweep(name, { condemnedPercentMax: 10, confirmed: true })).outcome, 'swept');
  });

  test('keeps deleted repositories for the retention, then they go with all they had', async () => {
    const { name } = await filled();
    const { id, poolId } = (await yard.catalog.findRepository('o', name))!;
    await yard.catalog.deleteRepository(id);
    await age(poolId);
    // Neither the log: it is its refs that keep it.
    await yard.query(`update pushes set pushed_at = now() - interval '90 days' where pool_id = $1`, [poolId]);
    assert.deepEqual([(await sweepId(poolId, { retentionMs: DAY })).outcome], ['clean']);
    const report = await sweepId(poolId, { condemnedPercentMax: 1 });
    assert.deepEqual([report.outcome, report.repositories], ['swept', 1]);
    await retireAll();
    for (const table of ['packs', 'refs', 'pushes', 'ref_updates', 'object_blocks', 'graph_blocks', 'tail_bytes', 'repositories'])
      assert.deepEqual(await yard.query(`select 1 from ${table} where pool_id = $1`, [poolId]), [], table);
    assert.deepEqual(await yard.query('select 1 from pools where id = $1', [poolId]), []);
    assert.deepEqual(await yard.problems(), []);
  });

  test('of a pool with forks keeps what any of them reaches', async () => {
    const { name, local, side } = await filled();
    const fork = `${name}-fork`;
    assert.equal((await yard.server.packhouse('repo', 'fork', `o/${name}`, `o/${fork}`)).code, 0);
    await drop(name, local);
    assert.deepEqual([(await sweep(name)).outcome, await has(name, side)], ['clean', true]);
    const { id, poolId } = (await yard.catalog.findRepository('o', fork))!;
    await yard.catalog.deleteRepository(id);
    await age(poolId);
    await yard.query(`update pushes set pushed_at = now() - interval '90 days' where pool_id = $1`, [poolId]);
    assert.equal((await sweepId(poolId, { retentionMs: DAY })).outcome, 'clean');
    const report = await sweepId(poolId);
    assert.deepEqual([report.outcome, report.repositories, await has(name, side)], ['swept', 1, false]);
    await yard.assertClones(name, local);
    assert.deepEqual(await yard.problems(), []);
  });

  test('passes over packs that somebody else works on', async () => {
    const { name, local, side } = await filled();
    await drop(name, local);
    const pool = await yard.poolOf(name);
    const ids = (await yard.livePacks(name)).map((pack) => pack.id);
    await yard.catalog.maintenance.lease(pool, ids, '00000000-0000-4000-8000-000000000000', DAY);
    const report = await sweep(name);
    assert.deepEqual(
      [report.outcome, actions(report), await has(name, side)],
      ['clean', ['tail keep reached', 'tail keep leased'], true],
    );
  });

  test('leaves nothing behind when it is killed or fails', async () => {
    for (const point of ['marked', 'leased', 'rewritten', 'caught-up'] as const) {
      const { name, local, side } = await filled({ sealed: true });
      await drop(name, local);
      const at = async (reached: string): Promise<void> => {
        if (reached === point) throw new Error('killed');
      };
      await assert.rejects(sweep(name, { at }), /killed/);
      assert.ok(await has(name, side), point);
      const pool = await yard.poolOf(name);
      assert.deepEqual(
        await yard.query(`select 1 from packs where pool_id = $1 and (state <> 'live' and state <> 'superseded')`, [pool]),
        [],
      );
      assert.equal((await sweep(name)).outcome, 'swept', point);
      await yard.assertClones(name, local);
    }
    assert.deepEqual(await yard.problems(), []);
  });

  test('lets git have what is let go until it is condemned, and refuses it then', async () => {
    const { name, local, side } = await filled();
    await drop(name, local);
    const clone = await makeRepository();
    await git(['fetch', '-q', yard.url(name), side], { cwd: clone });
    await sweep(name);
    const refused = await tryGit(['fetch', yard.url(name), side], { cwd: await makeRepository() });
    assert.match(refused.stderr, /not our ref/);
  });

  test('is due when something may be let go, and not again before', async () => {
    const { name, local } = await filled();
    const pool = await yard.poolOf(name);
    const isDue = async (intervalMs = 0, retentionMs = 0): Promise<boolean> =>
      (await yard.catalog.sweep.due(intervalMs, retentionMs)).includes(pool);
    assert.equal(await isDue(DAY), true, 'never swept');
    await sweep(name);
    assert.deepEqual([await isDue(), await isDue(0, DAY), await isDue(DAY, DAY)], [false, true, false]);
    await drop(name, local);
    assert.equal(await isDue(), true, 'after a push');
    await sweep(name, { condemnedPercentMax: 1 });
    assert.equal(await isDue(), true, 'was stopped');
    await sweep(name);
    assert.equal(await isDue(), false);
    await seal(yard.settings, { poolId: pool, now: true }, NEVER);
    assert.equal(await isDue(), true, 'what was partly garbage in the tail can be written again now');
  });

  test('stops at whatever does not fit together, and deletes nothing', async () => {
    const damages: readonly (readonly [sql: string, says: RegExp])[] = [
      [
        `update object_blocks set kinds = decode(repeat('09', object_count), 'hex') where pool_id = $1 and pack_id = $2`,
        /kind|stored as/,
      ],
      [`delete from object_blocks where pool_id = $1 and pack_id = $2`, /is missing|is not stored/],
      [`delete from graph_blocks where pool_id = $1 and pack_id = $2`, /graph|not stored/],
      [`update tail_bytes set bytes = substring(bytes for 20) where pool_id = $1 and pack_id = $2`, /cannot be read/],
      [`delete from packs where pool_id = $1 and id = $2`, /is missing|is not stored/],
      [
        `update refs set oid = decode(repeat('77', 20), 'hex') where pool_id = $1 and $2 > 0`,
        /7777: a ref or logged value is not stored/,
      ],
    ];
    for (const [sql, says] of damages) {
      const { name, local, side } = await filled();
      await drop(name, local);
      const [first] = await yard.livePacks(name);
      const pool = await yard.poolOf(name);
      await yard.query(sql, sql.includes('$2') ? [pool, first!.id] : [pool]);
      const report = await sweep(name);
      assert.equal(report.outcome, 'unsound', sql);
      assert.match(report.problem ?? '', says);
      assert.ok(await has(name, side), sql);
    }
  });
});
