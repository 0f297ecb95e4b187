import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createFsStore, type PackStore, type PutOptions, type PutSource } from '../packstore/mod.ts';
import { scratchFolder } from '../testkit/mod.ts';
import { backup, restore } from './backup.ts';
import { Farm, rowsOf } from './recovery-testing.ts';
import { writeSnapshot } from './snapshot.ts';

const SETTINGS = { memoryBytesMax: 1 << 20 };

/** A store that stops a put after some bytes, or before it is answered. */
function breaking(inner: PackStore, breaks: (key: string) => boolean): PackStore {
  return new Proxy(inner, {
    get(target, name) {
      if (name !== 'put') {
        const value = Reflect.get(target, name) as unknown;
        return typeof value === 'function' ? value.bind(target) : value;
      }
      return (key: string, source: PutSource, options?: PutOptions) =>
        target.put(key, breaks(key) ? cut(source) : source, options);
    },
  });
}

async function* cut(source: PutSource): AsyncGenerator<Uint8Array> {
  for await (const chunk of source instanceof Uint8Array ? [source] : source) {
    yield (chunk as Uint8Array).subarray(0, 5);
    throw new Error('the power is gone');
  }
}

async function keysOf(store: PackStore, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}

describe('copies of the catalog', () => {
  let farm: Farm;
  before(async () => {
    farm = await Farm.start();
  });
  after(async () => {
    await farm?.close();
  });

  test('a snapshot that is killed half way leaves the older chain as it was, and the next one tells all', async () => {
    await farm.commit('o/a', 30_000);
    await farm.push('o/a');
    const first = await writeSnapshot(farm);
    await farm.commit('o/a', 100);
    await farm.push('o/a');
    const broken = breaking(farm.store, (key) => key.startsWith('snapshots/'));
    await assert.rejects(writeSnapshot({ catalog: farm.catalog, store: broken }), /the power is gone/);
    assert.equal((await keysOf(farm.store, 'snapshots/')).length, 1);
    const { report } = await farm.rebuilt();
    assert.equal(report.snapshot?.push, first.kind === 'written' ? first.push : -1);
    assert.equal((await writeSnapshot(farm)).kind, 'written');
    const { url } = await farm.rebuilt();
    await farm.assertClones(await farm.serverOn(url), 'o/a');
  });

  test('two that are asked for at once: one writes', async () => {
    await farm.commit('o/a', 100);
    await farm.push('o/a');
    const reports = await Promise.all([writeSnapshot(farm), writeSnapshot(farm), writeSnapshot(farm)]);
    assert.equal(reports.filter((report) => report.kind === 'written').length, 1);
  });

  test('a chain that has grown past its full one is followed by a new one, and older ones go, but not under a hold', async () => {
    const before = await keysOf(farm.store, 'snapshots/');
    await rowsOf(farm.url, 'update catalog_snapshots set stored_bytes = 100000000 where ordinal > 0');
    await rowsOf(farm.url, `insert into maintenance_holds (reason) values ('test')`);
    const held = await writeSnapshot(farm);
    assert.equal(held.kind === 'written' && held.full, true);
    assert.equal((await keysOf(farm.store, 'snapshots/')).length, before.length + 1);
    await rowsOf(farm.url, 'delete from maintenance_holds');
    await rowsOf(farm.url, 'delete from catalog_snapshots');
    const last = await writeSnapshot(farm);
    assert.equal(last.kind === 'written' && last.full, true);
    assert.deepEqual(await keysOf(farm.store, 'snapshots/'), [last.kind === 'written' ? last.key : '']);
  });

  test('a clock that was put back leaves the newest the newest; a chain with a gap is followed by a new one', async () => {
    await rowsOf(farm.url, `update catalog_snapshots set taken_at = taken_at + interval '1 day'`);
    const last = await farm.catalog.snapshots.last();
    await farm.commit('o/a', 100);
    await farm.push('o/a');
    const later = await writeSnapshot(farm);
    assert.equal(later.kind === 'written' && !later.full, true);
    const newest = await farm.catalog.snapshots.last();
    assert.equal(newest?.key, later.kind === 'written' ? later.key : '');
    assert(newest!.takenAt > last!.takenAt);
    await farm.store.delete(last!.key);
    await farm.commit('o/a', 100);
    await farm.push('o/a');
    const anew = await writeSnapshot(farm);
    assert.equal(anew.kind === 'written' && anew.full, true);
  });

  test('packs in the store that were replaced, and pools that are gone, stay until a snapshot has seen it', async () => {
    for (const name of ['o/r', 'o/r']) {
      await farm.commit(name, 30_000);
      await farm.push(name);
    }
    await farm.commit('o/gone', 100);
    await farm.push('o/gone');
    await writeSnapshot(farm);
    const { retire } = farm.catalog;
    await farm.server.packhouse('compact', 'o/r');
    await farm.server.packhouse('repo', 'delete', 'o/gone');
    assert.equal((await farm.server.packhouse('sweep', '--yes', '--sweep-retention', '0s')).code, 0);
    const pools = 'select count(*)::integer as pools from pools';
    const before = await rowsOf(farm.url, pools);
    const tails = await retire.retire(0, 500);
    for (const pack of tails) await retire.deleteRows(pack);
    await retire.forgetWithoutBytes();
    assert.equal(await retire.forgetEmptyPools(), 0);
    assert.deepEqual(await rowsOf(farm.url, pools), before);
    await farm.rebuilt().then(({ report }) => assert.deepEqual(report.lost, []));
    await writeSnapshot(farm);
    assert((await retire.retire(0, 500)).length >= 2);
    assert.equal(await retire.forgetEmptyPools(), 1);
    await farm.commit('o/gone', 100);
    await farm.push('o/gone');
    await writeSnapshot(farm);
    const { url } = await farm.rebuilt();
    const [was, is] = [await farm.told(farm.url), await farm.told(url)];
    for (const part of ['repositories', 'refs', 'pushes', 'updates']) assert.deepEqual(is[part], was[part], part);
  });

  test('a backup beside pushes is one moment, goes on after it was stopped, and comes back elsewhere', async () => {
    await farm.commit('o/big', 700_000, 'large');
    await farm.push('o/big');
    const target = createFsStore({ root: scratchFolder('backup') });
    const settings = { catalog: farm.catalog, store: farm.store };
    let puts = 0;
    const stops = breaking(target, (key) => key.endsWith('.pack') && ++puts === 2);
    await assert.rejects(backup({ ...settings, target: stops }), /the power is gone/);
    assert.deepEqual(await rowsOf(farm.url, 'select 1 from maintenance_pins'), []);

    let pushing = true;
    const pushes = (async () => {
      while (pushing) {
        await farm.commit('o/busy', 30_000);
        await farm.push('o/busy');
      }
    })();
    const [pinned] = await Promise.all([
      (async () => {
        const report = await backup({ ...settings, target });
        pushing = false;
        return report;
      })(),
      pushes,
    ]);
    assert.equal(pinned.crates - pinned.copied >= 1, true, 'the crate that was there is not copied again');
    assert.equal((await keysOf(target, 'snapshots/')).length, 1);

    // One that is stopped leaves what the folder was: its snapshot names nothing that is not there.
    const whole = await keysOf(target, 'snapshots/');
    await farm.commit('o/busy', 30_000);
    await farm.push('o/busy');
    const stopped = breaking(target, (key) => key.endsWith('.pack'));
    await assert.rejects(backup({ ...settings, target: stopped }), /the power is gone/);
    assert.deepEqual(await keysOf(target, 'snapshots/'), whole);

    // Once more, at rest: only what is new.
    const again = await backup({ ...settings, target });
    assert(again.copied < again.crates);
    assert.deepEqual(await keysOf(target, 'unfinished/'), []);
    const { url, catalog } = await farm.database();
    const dataDir = scratchFolder('restored');
    const store = createFsStore({ root: join(dataDir, 'packs') });
    const report = await restore({ ...SETTINGS, catalog, store, source: target });
    assert.deepEqual([report.lost, report.problems, report.newerCrates], [[], [], []]);
    const [was, is] = [await farm.told(farm.url), await farm.told(url)];
    for (const part of Object.keys(was)) assert.deepEqual(is[part], was[part], part);
    assert.deepEqual(await rowsOf(url, 'select reason from maintenance_holds'), [{ reason: 'restore' }]);
    const server = await farm.serverOn(url, dataDir);
    for (const name of ['o/a', 'o/big', 'o/busy']) await farm.assertClones(server, name);
    assert.match((await server.packhouse('fsck')).stdout, /^0 problems/);

    const other = await farm.database();
    const full = createFsStore({ root: scratchFolder('full') });
    await full.put('crates/aa/aa.pack', Buffer.from('something'));
    await assert.rejects(restore({ ...SETTINGS, catalog: other.catalog, store: full, source: target }), {
      code: 'store-not-empty',
    });
    const nothing = createFsStore({ root: scratchFolder('nothing') });
    await assert.rejects(restore({ ...SETTINGS, catalog: other.catalog, store, source: nothing }), { code: 'backup-missing' });
  });
});
