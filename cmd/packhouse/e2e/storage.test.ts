import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import {
  describeOnStores,
  FastImport,
  git,
  makeRepository,
  reachableObjects,
  syntheticHistory,
  type TestServer,
} from '../../../internal/testkit/mod.ts';

interface PackRow {
  readonly pool_id: string;
  readonly pack_id: string;
  readonly tier: 'tail' | 'store';
  readonly crate_key: string | null;
  readonly extent_offset: string;
  readonly extent_length: string;
  readonly object_count: string;
  readonly checksum: string;
}

const NAME = 'dora/kept';

async function packRows(server: TestServer, tier: 'tail' | 'store'): Promise<PackRow[]> {
  return server.query<PackRow>("select * from v_packs where repository = $1 and tier = $2 and state = 'live' order by pack_id", [
    NAME,
    tier,
  ]);
}

/** The bytes of a pack, as anyone cuts it out of the bucket with what v_packs says. */
async function cutOut(server: TestServer, row: PackRow): Promise<Buffer> {
  return server.store.get(row.crate_key ?? '', { offset: Number(row.extent_offset), lengthBytes: Number(row.extent_length) });
}

async function tailBytes(server: TestServer, row: PackRow): Promise<Buffer> {
  const [tail] = await server.query<{ bytes: Buffer }>('select bytes from tail_bytes where pool_id = $1 and pack_id = $2', [
    row.pool_id,
    row.pack_id,
  ]);
  assert.ok(tail);
  return tail.bytes;
}

describeOnStores('what is stored', {}, (server) => {
  let local: string;
  before(async () => {
    const url = `${server().url}/${NAME}.git`;
    local = await syntheticHistory({ commits: 80, binaryEvery: 4, binaryBytes: 120_000, seed: 3 }).into();
    await git(['push', '-q', url, 'main~40:refs/heads/main'], { cwd: local });
    await git(['push', '-q', url, 'refs/*:refs/*'], { cwd: local });
    const importer = new FastImport(1_760_000_000);
    let parent: number | string = 'refs/heads/main';
    for (let i = 0; i < 12; i++)
      parent = importer.commit('refs/heads/main', { 'src/f1.txt': `tail ${i}\n` }, { parents: [parent] });
    await importer.into(local);
    for (let back = 11; back >= 0; back--) await git(['push', '-q', url, `main~${back}:refs/heads/main`], { cwd: local });
  });

  test('store packs are ordinary: git makes the same index of each, and finds no fault', async () => {
    const rows = await packRows(server(), 'store');
    assert.ok(rows.length >= 1, 'the history was large enough for a store pack');
    for (const row of rows) {
      const folder = await makeRepository();
      const path = join(folder, `pack-${row.checksum}.pack`);
      writeFileSync(path, await cutOut(server(), row));
      await git(['index-pack', '--fsck-objects', path], { cwd: folder });
      await git(['verify-pack', path.replace(/pack$/, 'idx')], { cwd: folder });
      const key = (row.crate_key ?? '').replace(/pack$/, 'idx');
      const { lengthBytes = 0 } = (await server().store.head(key)) ?? {};
      const stored = await server().store.get(key, { offset: 0, lengthBytes });
      assert.ok(stored.equals(readFileSync(path.replace(/pack$/, 'idx'))), `${key} is not what git writes`);
      const listed = (await git(['show-index'], { cwd: folder, input: stored })).split('\n');
      assert.equal(listed.length, Number(row.object_count));
    }
  });

  test('every pack of the bucket is one that the catalog names', async () => {
    const named = new Set((await packRows(server(), 'store')).map((row) => row.crate_key));
    for await (const { key } of server().store.list('crates/')) {
      if (key.endsWith('.pack')) assert.ok(named.has(key), `${key} is in no row of v_packs`);
    }
    assert.ok(named.size > 0);
  });

  test('tail packs complete themselves with what came before, as thin packs do', async () => {
    const folder = await makeRepository();
    mkdirSync(join(folder, 'objects', 'pack'), { recursive: true });
    const stores = await packRows(server(), 'store');
    for (const row of stores) await git(['index-pack', '--stdin'], { cwd: folder, input: await cutOut(server(), row) });
    const tails = await packRows(server(), 'tail');
    assert.ok(tails.length >= 12, `${tails.length} tail packs`);
    for (const row of tails) {
      const bytes = await tailBytes(server(), row);
      assert.equal(bytes.length, Number(row.extent_length));
      await git(['index-pack', '--stdin', '--fix-thin'], { cwd: folder, input: bytes });
    }
    for (const line of (await git(['for-each-ref', '--format=%(objectname) %(refname)'], { cwd: local })).split('\n')) {
      const [oid = '', name = ''] = line.split(' ');
      await git(['update-ref', name, oid], { cwd: folder });
    }
    assert.deepEqual(await reachableObjects(folder), await reachableObjects(local));
    await git(['fsck', '--full', '--strict', '--no-progress', '--no-dangling'], { cwd: folder });
  });

  test('v_objects lists every object with its kind and size', async () => {
    const rows = await server().query<{ oid: string; kind: string; size: string }>(
      'select distinct o.oid, o.kind, o.size from v_objects o join v_packs k using (pool_id, pack_id) where k.repository = $1',
      [NAME],
    );
    const ours = rows.map((row) => `${row.oid} ${row.kind} ${row.size}`).sort();
    const input = (await reachableObjects(local)).join('\n');
    const expected = (await git(['cat-file', '--batch-check'], { cwd: local, input: `${input}\n` })).split('\n').sort();
    assert.deepEqual(ours, expected);
  });

  test('object_locate says where an object is, so that its entry can be cut out', async () => {
    const some = (await reachableObjects(local)).filter((_, i) => i % 37 === 0);
    assert.ok(some.length > 10);
    for (const oid of some) {
      const rows = await server().query<{
        kind: string;
        size: string;
        tier: string;
        crate_key: string | null;
        extent_offset: string;
        pack_offset: string;
        pack_length: string;
        pack_id: string;
      }>('select * from object_locate($1, $2)', [NAME, oid]);
      const [row] = rows;
      assert.ok(row, `${oid} is nowhere`);
      assert.equal(row.kind, await git(['cat-file', '-t', oid], { cwd: local }));
      assert.equal(row.size, await git(['cat-file', '-s', oid], { cwd: local }));
      if (row.crate_key === null) continue;
      const offset = Number(row.extent_offset) + Number(row.pack_offset);
      const bytes = await server().store.get(row.crate_key, { offset, lengthBytes: Number(row.pack_length) });
      const type = ((bytes[0] ?? 0) >> 4) & 7;
      assert.ok(type === { commit: 1, tree: 2, blob: 3, tag: 4 }[row.kind] || type === 6 || type === 7, `entry type ${type}`);
    }
    assert.deepEqual(await server().query('select * from object_locate($1, $2)', [NAME, 'deadbeef'.repeat(5)]), []);
    assert.deepEqual(await server().query('select * from object_locate($1, $2)', ['no/such', some[0] ?? '']), []);
  });

  test('the push log tells each change of each ref', async () => {
    const rows = await server().query<{ old_oid: string; new_oid: string }>(
      "select old_oid, new_oid from v_pushes where repository = $1 and ref = 'refs/heads/main' order by push_id",
      [NAME],
    );
    assert.equal(rows.length, 14);
    assert.equal(rows[0]?.old_oid, null);
    rows.slice(1).forEach((row, i) => {
      assert.equal(row.old_oid, rows[i]?.new_oid);
    });
    assert.equal(rows.at(-1)?.new_oid, await git(['rev-parse', 'main'], { cwd: local }));
    const refs = await server().query<{ name: string; oid: string }>('select name, oid from v_refs where repository = $1', [
      NAME,
    ]);
    const ours = refs.map((row) => `${row.oid} ${row.name}`).sort();
    assert.deepEqual(ours, (await git(['for-each-ref', '--format=%(objectname) %(refname)'], { cwd: local })).split('\n').sort());
  });
});
