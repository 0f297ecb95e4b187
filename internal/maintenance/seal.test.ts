import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { readManifest } from '../packing/mod.ts';
import { git, scratchFolder } from '../testkit/mod.ts';
import { Rest } from './rest.ts';
import { Yard } from './rewrite-testing.ts';
import { seal, tailsAreDue } from './seal.ts';
import type { RewriteSettings } from './settings.ts';

const NEVER = new AbortController().signal;

describe('sealing', () => {
  let yard: Yard;
  before(async () => {
    yard = await Yard.start();
  });
  after(async () => {
    await yard?.close();
  });

  const sealNow = async (name: string, more: Partial<RewriteSettings> = {}) =>
    seal({ ...yard.settings, ...more }, { poolId: await yard.poolOf(name), now: true }, NEVER);

  test('makes one ordinary pack of a hundred thin pushes, no larger than they were, and clones stay the same', async () => {
    const local = await yard.pushOneByOne('hundred', 100);
    assert.equal((await yard.livePacks('hundred')).length, 100);
    const report = await sealNow('hundred');
    assert.deepEqual(
      { ...report, inputBytes: 0, outputBytes: 0 },
      { pools: 1, packs: 100, inputBytes: 0, outputBytes: 0, crates: 1, left: 0, failed: 0 },
    );
    assert(report.outputBytes <= report.inputBytes, `${report.outputBytes} bytes of ${report.inputBytes}`);
    const packs = await yard.livePacks('hundred');
    assert.deepEqual(
      packs.map(({ tier, extentOffset }) => ({ tier, extentOffset })),
      [{ tier: 'store', extentOffset: 0 }],
    );
    await yard.assertClones('hundred', local);
    await yard.assertOrdinaryPacks('hundred');
    assert.deepEqual(await yard.problems(), []);
    const [facts] = await yard.query('select all_reached, based, has_duplicates, origin from packs where id = $1', [
      packs[0]!.id,
    ]);
    assert.deepEqual(facts, { all_reached: true, based: true, has_duplicates: false, origin: 'seal' });
    assert.equal((await yard.catalog.packs(await yard.poolOf('hundred'), null))[0]!.searched, true);
    // What comes after is sealed together with what is small beside it.
    await yard.pushOneByOne('hundred', 3, local);
    await sealNow('hundred');
    await yard.assertClones('hundred', local);
    await yard.assertOrdinaryPacks('hundred');
    assert.deepEqual(await yard.problems(), []);
  });

  test('says beside the crate what its packs are, and which pushes they hold', async () => {
    await yard.pushOneByOne('manifest', 3);
    const inputs = (await yard.livePacks('manifest')).map((pack) => pack.id);
    await sealNow('manifest');
    const [pack] = await yard.livePacks('manifest');
    const items = [];
    for await (const item of readManifest(yard.store, pack!.crateKey!)) items.push(item);
    const [item, ...more] = items;
    assert(item?.kind === 'pack' && more.length === 0);
    assert.deepEqual([item.pack.packId, item.pack.origin, item.pack.inputs], [pack!.id, 'seal', inputs]);
    assert.deepEqual(
      item.pack.pushes.map((push) => [push.owner, push.name, push.updates.map(({ name }) => name)]),
      Array.from({ length: 3 }, () => ['o', 'manifest', ['refs/heads/main']]),
    );
    const tip = await git(['ls-remote', yard.url('manifest'), 'refs/heads/main']);
    assert.equal(item.pack.pushes.at(-1)?.updates[0]?.newOid?.toString('hex'), tip.slice(0, 40));
  });

  test('lays the packs of many pools into one crate', async () => {
    const names = Array.from({ length: 20 }, (_, i) => `many${i}`);
    const locals = new Map<string, string>();
    for (const name of names) locals.set(name, await yard.pushOneByOne(name, 2));
    const report = await seal(yard.settings, { poolId: null, now: true }, NEVER);
    assert.equal(report.crates, 1);
    assert.equal(report.pools, 20);
    const packs = (await Promise.all(names.map((name) => yard.livePacks(name)))).flat();
    assert.equal(packs.length, 20);
    assert.equal(new Set(packs.map((pack) => pack.crateKey)).size, 1);
    assert.deepEqual(await yard.problems(), []);
    for (const name of names.slice(0, 3)) {
      await yard.assertClones(name, locals.get(name)!);
      await yard.assertOrdinaryPacks(name);
    }
  });

  test('begins a new crate where one is large enough', async () => {
    const names = ['small1', 'small2', 'small3'];
    for (const name of names) await yard.pushOneByOne(name, 1);
    const settings = { ...yard.settings, seal: { ...yard.settings.seal, crateBytes: 1 } };
    const report = await seal(settings, { poolId: null, now: true }, NEVER);
    assert.deepEqual([report.crates, report.pools], [3, 3]);
    assert.deepEqual(await yard.problems(), []);
  });

  test('waits until enough has gathered, or it is old enough', async () => {
    await yard.pushOneByOne('waits', 2);
    const poolId = await yard.poolOf('waits');
    const round = (rules: Partial<RewriteSettings['seal']>) =>
      seal({ ...yard.settings, seal: { ...yard.settings.seal, ...rules } }, { poolId, now: false }, NEVER);
    assert.equal((await round({})).pools, 0);
    assert.equal((await round({ packs: 3 })).pools, 0);
    assert.equal((await round({ packs: 2 })).pools, 1);
    await yard.pushOneByOne('waits', 1, await cloneOf('waits'));
    assert.equal((await round({ bytes: 1 })).pools, 1);
    await yard.pushOneByOne('waits', 1, await cloneOf('waits'));
    await yard.query(`update packs set created_at = now() - interval '1 hour' where pool_id = $1`, [poolId]);
    assert.equal((await round({})).pools, 1);
  });

  async function cloneOf(name: string): Promise<string> {
    const folder = scratchFolder('again');
    await git(['clone', '-q', '--mirror', yard.url(name), folder]);
    return folder;
  }

  test('pushes and fetches go on while it works, and nothing of theirs is lost', async () => {
    const local = await yard.pushOneByOne('busy', 10);
    const done = new AbortController();
    const rounds = (async () => {
      let count = 0;
      while (!done.signal.aborted) count += (await sealNow('busy')).pools;
      return count;
    })();
    for (let i = 10; i < 40; i++) {
      await yard.pushOne('busy', local, i);
      if (i % 10 === 0) await yard.assertClones('busy', local);
    }
    done.abort();
    assert((await rounds) > 1);
    await sealNow('busy');
    await yard.assertClones('busy', local);
    assert.deepEqual(await yard.problems(), []);
  });

  test('of two that seal at once each pack goes with one', async () => {
    const local = await yard.pushOneByOne('two', 12);
    const arrived = Promise.withResolvers<void>();
    const open = Promise.withResolvers<void>();
    const first = sealNow('two', {
      at: async (point) => {
        if (point !== 'leased') return;
        arrived.resolve();
        await open.promise;
      },
    });
    await arrived.promise;
    assert.equal((await sealNow('two')).pools, 0, 'all of it is leased');
    await yard.pushOne('two', local, 12);
    assert.equal((await sealNow('two')).packs, 1, 'what came later is not');
    open.resolve();
    assert.equal((await first).packs, 12);
    assert.equal((await yard.livePacks('two')).length, 2);
    await yard.assertClones('two', local);
    assert.deepEqual(await yard.problems(), []);
  });

  test('lets a tail be that cannot be sealed, unless somebody asks for it, and seals the others', async () => {
    const local = await yard.pushOneByOne('unsound', 2);
    await yard.pushOneByOne('sound', 2);
    const pool = await yard.poolOf('unsound');
    const flip = 'update tail_bytes set bytes = set_byte(bytes, 14, get_byte(bytes, 14) # 1) where pool_id = $1';
    await yard.query(flip, [pool]);
    const settings = { ...yard.settings, rest: new Rest(), seal: { ...yard.settings.seal, packs: 2 } };
    const round = () => seal(settings, { poolId: null, now: false }, NEVER);
    assert.deepEqual(await round().then(({ pools, failed }) => [pools, failed]), [1, 1]);
    assert.equal(await tailsAreDue(settings), false);
    assert.equal((await round()).failed, 0);
    await yard.query(flip, [pool]);
    assert.equal((await seal(settings, { poolId: pool, now: true }, NEVER)).pools, 1);
    assert.deepEqual(settings.rest.pools('seal'), []);
    await yard.assertClones('unsound', local);
    assert.deepEqual(await yard.problems(), []);
  });

  for (const reason of ['lease', 'epoch'] as const) {
    test(`leaves the pool as it is when its ${reason} is lost, and the other pools of the crate do not suffer`, async () => {
      const [lost, kept] = [`lost-${reason}`, `kept-${reason}`];
      const locals = [await yard.pushOneByOne(lost, 3), await yard.pushOneByOne(kept, 3)];
      const poolId = await yard.poolOf(lost);
      const sql =
        reason === 'lease'
          ? `update packs set lease_token = gen_random_uuid() where pool_id = $1 and state = 'live'`
          : 'update pools set sweep_epoch = sweep_epoch + 1 where id = $1';
      const settings = {
        ...yard.settings,
        at: async (point: string) => void (point === 'uploaded' && (await yard.query(sql, [poolId]))),
      };
      const report = await seal(settings, { poolId: null, now: true }, NEVER);
      assert.deepEqual([report.pools, report.left, report.crates], [1, 1, 1]);
      assert.deepEqual(
        (await yard.livePacks(lost)).map((pack) => pack.tier),
        ['tail', 'tail', 'tail'],
      );
      assert.deepEqual(await yard.problems(), []);
      await yard.query('update packs set lease_until = now() where pool_id = $1', [poolId]);
      assert.equal((await sealNow(lost)).pools, 1);
      await yard.assertClones(lost, locals[0]!);
      await yard.assertClones(kept, locals[1]!);
      assert.deepEqual(await yard.problems(), []);
    });
  }

  for (const point of ['leased', 'prepared', 'uploading', 'uploaded'] as const) {
    test(`stopped when ${point}, it leaves nothing behind`, async () => {
      const name = `stopped-${point}`;
      const local = await yard.pushOneByOne(name, 3);
      const stop = new AbortController();
      const settings = {
        ...yard.settings,
        at: async (here: string) => {
          if (here !== point) return;
          stop.abort(new Error('stopped'));
          stop.signal.throwIfAborted();
        },
      };
      await assert.rejects(seal(settings, { poolId: await yard.poolOf(name), now: true }, stop.signal), /stopped/);
      const packs = await yard.catalog.maintenance.packs(await yard.poolOf(name), ['live', 'intent', 'aborting', 'superseded']);
      assert.deepEqual(
        packs.map(({ tier, state, leased }) => ({ tier, state, leased })),
        Array.from({ length: 3 }, () => ({ tier: 'tail', state: 'live', leased: false })),
      );
      assert.deepEqual(await yard.problems(), [], 'no crate is left either');
      assert.equal((await sealNow(name)).pools, 1);
      await yard.assertClones(name, local);
    });
  }
});
