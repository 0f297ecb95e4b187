import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { createFsStore, type PackStore, sidecarKey } from '../packstore/mod.ts';
import { git, scratchFolder } from '../testkit/mod.ts';
import { Farm, rowsOf } from './recovery-testing.ts';
import { writeSnapshot } from './snapshot.ts';

/** A copy of a store that a test may damage. */
async function copyOf(store: PackStore): Promise<{ store: PackStore; keys: string[] }> {
  const copy = createFsStore({ root: scratchFolder('copy') });
  const keys: string[] = [];
  for await (const { key } of store.list('')) {
    await copy.put(key, await bytesOf(store, key));
    keys.push(key);
  }
  return { store: copy, keys };
}

async function bytesOf(store: PackStore, key: string): Promise<Buffer> {
  return store.get(key, { offset: 0, lengthBytes: (await store.head(key))!.lengthBytes });
}

async function change(store: PackStore, key: string, work: (bytes: Buffer) => Buffer): Promise<void> {
  const bytes = work(Buffer.from(await bytesOf(store, key)));
  await store.delete(key);
  await store.put(key, bytes);
}

function flipped(bytes: Buffer, at: number): Buffer {
  bytes[at]! ^= 1;
  return bytes;
}

describe('a store that is not whole', () => {
  let farm: Farm;
  const snapshots: string[] = [];
  let crates: string[];
  before(async () => {
    farm = await Farm.start();
    await farm.commit('o/a', 60_000);
    await farm.push('o/a');
    await farm.commit('o/b', 60_000);
    await farm.push('o/b');
    for (let i = 0; i < 3; i++) {
      const report = await writeSnapshot(farm);
      assert.equal(report.kind, 'written');
      if (report.kind === 'written') snapshots.push(report.key);
      await farm.commit('o/tail', 10 + i);
      await farm.push('o/tail');
    }
    crates = (
      await rowsOf<{ crate_key: string }>(farm.url, 'select crate_key from packs where crate_key is not null order by id')
    ).map((row) => row.crate_key);
    assert.equal(crates.length, 2);
  });
  after(async () => {
    await farm?.close();
  });

  const pushesIn = async (url: string): Promise<number> =>
    Number((await rowsOf<{ count: string }>(url, 'select count(*) from pushes'))[0]!.count);

  test('a damaged snapshot is told, and the one before it is taken', async () => {
    const damages: readonly (readonly [what: string, work: (bytes: Buffer) => Buffer])[] = [
      ['a bit', (bytes) => flipped(bytes, bytes.length >> 1)],
      ['cut', (bytes) => bytes.subarray(0, bytes.length - 20)],
      // A gzip that is sound, of a text that is not what was written.
      ['the text', (bytes) => gzipSync(Buffer.from(gunzipSync(bytes).toString('latin1').replace('tail', 'tale'), 'latin1'))],
      ['its end', (bytes) => gzipSync(gunzipSync(bytes).subarray(0, -90))],
      ['nothing of it', () => Buffer.from('no gzip at all')],
    ];
    for (const [what, work] of damages) {
      const { store } = await copyOf(farm.store);
      await change(store, snapshots[2]!, work);
      const { report, url } = await farm.rebuilt({ store });
      assert.equal(report.snapshot?.key, snapshots[1], what);
      assert.match(report.problems.join('\n'), new RegExp(snapshots[2]!), what);
      assert.equal(await pushesIn(url), 3, what);
    }
  });

  test('what follows a snapshot that is missing or exchanged is not believed', async () => {
    for (const damage of ['missing', 'exchanged']) {
      const { store } = await copyOf(farm.store);
      const full = await bytesOf(store, snapshots[0]!);
      await store.delete(snapshots[1]!);
      if (damage === 'exchanged') await store.put(snapshots[1]!, full);
      const { report, url } = await farm.rebuilt({ store });
      assert.equal(await pushesIn(url), 2, damage);
      assert(
        report.problems.some((problem) => problem.includes(snapshots[1]!)),
        report.problems.join('\n'),
      );
    }
  });

  test('a crate that is missing, cut or changed is told, and the rest comes back', async () => {
    const damages: readonly (readonly [kind: string, work: (store: PackStore, key: string) => Promise<void>])[] = [
      ['missing', (store, key) => store.delete(key)],
      ['missing', (store, key) => change(store, key, (bytes) => bytes.subarray(0, bytes.length - 1))],
      ['damaged', (store, key) => change(store, key, (bytes) => flipped(bytes, 1000))],
      ['damaged', (store, key) => change(store, key, (bytes) => flipped(bytes, bytes.length - 1))],
      // Another whole pack of that length would be found out by its checksum.
      ['damaged', async (store, key) => change(store, key, (bytes) => flipped(bytes, 11))],
    ];
    for (const [kind, work] of damages) {
      const { store } = await copyOf(farm.store);
      await work(store, crates[0]!);
      const { report, url } = await farm.rebuilt({ store });
      assert.deepEqual(
        report.lost.map((one) => ({ kind: one.kind, crateKey: one.crateKey })),
        [{ kind, crateKey: crates[0] }],
        report.lost[0]?.message,
      );
      assert.deepEqual(await rowsOf(url, `select crate_key from packs where crate_key is not null and state = 'live'`), [
        { crate_key: crates[1] },
      ]);
      // What is damaged stays for whoever can read something out of it.
      if (kind === 'damaged') assert.notEqual(await store.head(crates[0]!), null);
    }
  });

  test('an .idx that is not that of its pack is told', async () => {
    const { store } = await copyOf(farm.store);
    await change(store, sidecarKey(crates[0]!, 'idx'), (bytes) => flipped(bytes, 1100));
    await store.delete(sidecarKey(crates[1]!, 'idx'));
    const { report } = await farm.rebuilt({ store });
    assert.equal(report.problems.length, 2, report.problems.join('\n'));
    assert.deepEqual(report.lost, []);
  });

  test('a database that is not empty is refused', async () => {
    await assert.rejects(
      farm.catalog.snapshots.load((load) => load.begin()),
      { code: 'catalog-not-empty' },
    );
  });

  test('without any snapshot packs and pools come from manifests, and on request names and refs', async () => {
    const { store } = await copyOf(farm.store);
    for (const key of snapshots) await store.delete(key);
    const { report, url } = await farm.rebuilt({ store });
    assert.equal(report.snapshot, null);
    assert.equal(report.storePacks, 2);
    assert.deepEqual(
      report.candidates.map(({ repository, updates }) => ({ repository, results: updates.map((one) => one.result) })),
      ['o/a', 'o/b'].map((repository) => ({ repository, results: ['not adopted'] })),
    );
    assert.deepEqual(await rowsOf(url, 'select count(*)::integer as refs from refs'), [{ refs: 0 }]);
    const adopted = await farm.rebuilt({ store, adopt: true });
    assert.deepEqual(
      adopted.report.candidates.flatMap(({ updates }) => updates.map((one) => one.result)),
      ['adopted', 'adopted'],
    );
    const clones = await farm.serverOn(adopted.url);
    await farm.assertClones(clones, 'o/a');
    await farm.assertClones(clones, 'o/b');
  });

  test('pushes after the snapshot are listed, and adopted where their refs have not moved', async () => {
    await writeSnapshot(farm);
    // Two pushes on each other, a forced one, a new repository, and one into the tail that nothing in the store tells of.
    await farm.commit('o/a', 50_000);
    await farm.push('o/a');
    await farm.commit('o/a', 600_000, 'large');
    await git(['tag', '-a', '-m', 'tag', 'v1'], { cwd: await farm.source('o/a') });
    await farm.push('o/a');
    await farm.commit('o/later', 40_000);
    await farm.push('o/later');
    await farm.commit('o/b', 100);
    await farm.push('o/b');
    await farm.commit('o/b', 40_000);
    await farm.push('o/b');

    const listed = await farm.rebuilt();
    assert.equal(listed.report.newerCrates.length, 5, 'four packs of pushes and one of chunks');
    assert.deepEqual(
      listed.report.candidates.map((one) => one.repository),
      ['o/a', 'o/a', 'o/later', 'o/b'],
    );
    assert(listed.report.newerCrates.every((crate) => crate.tips.every((tip) => /^[0-9a-f]{40}$/.test(tip))));
    assert.deepEqual((await rowsOf(listed.url, `select 1 from repositories where name = 'later'`)).length, 0);

    const { report, url } = await farm.rebuilt({ adopt: true });
    const results = report.candidates.map(({ repository, updates }) => [repository, ...updates.map((one) => one.result)]);
    assert.deepEqual(results.slice(0, 3), [
      ['o/a', 'adopted'],
      ['o/a', 'adopted', 'adopted'],
      ['o/later', 'adopted'],
    ]);
    // It stands on the push into the tail, which is lost.
    assert.match(results[3]!.join(' '), /^o\/b the ref is at [0-9a-f]{40} now$/);
    assert.deepEqual(report.lost, []);
    const server = await farm.serverOn(url);
    for (const name of ['o/a', 'o/later']) await farm.assertClones(server, name);
    assert.match((await server.packhouse('fsck')).stdout, /^0 problems/);
  });

  test('what a newer push needs and is not here keeps its refs where they are', async () => {
    await writeSnapshot(farm);
    await farm.commit('o/a', 100);
    await farm.push('o/a');
    await farm.commit('o/a', 30_000);
    // A new branch at the second: nothing of the snapshot stands against it but the commit that is missing.
    await farm.push('o/a', 'main:refs/heads/elsewhere');
    const { report, url } = await farm.rebuilt({ adopt: true });
    assert.deepEqual(
      report.candidates.map(({ updates }) => updates.map((one) => one.result)),
      [['not all that it needs is proven to be here']],
    );
    assert.deepEqual(await rowsOf(url, `select 1 from refs where name = 'refs/heads/elsewhere'::bytea`), []);
  });
});
