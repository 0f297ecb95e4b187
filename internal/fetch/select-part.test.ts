import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Catalog, openCatalog } from '../catalog/mod.ts';
import { PackBytes } from '../packread/mod.ts';
import { createFsStore, type PackStore, sidecarKey } from '../packstore/mod.ts';
import { commitRange, proveReached, Repositories, type RepositoryView } from '../reach/mod.ts';
import { git, startServer, startTestDatabase, syntheticHistory, type TestDatabase, type TestServer } from '../testkit/mod.ts';
import { compileFilter, NO_FILTER } from './filter.ts';
import { oidsAt, selectPart } from './select-part.ts';

describe('what bitmaps say is to be sent', () => {
  let database: TestDatabase;
  let server: TestServer;
  let catalog: Catalog;
  let store: PackStore;
  let local = '';
  let view: RepositoryView;

  before(async () => {
    database = await startTestDatabase();
    const flags = ['--maintenance-enabled', 'true', '--maintenance-interval', '50ms', '--push-tail-bytes-max', '20KiB'];
    server = await startServer({ env: { PACKHOUSE_DATABASE_URL: database.url }, flags });
    catalog = openCatalog({ url: database.url, poolMax: 2 });
    store = createFsStore({ root: join(server.dataDir, 'packs') });
    local = await syntheticHistory({ commits: 500 }).into();
    await git(['push', '-q', `${server.url}/o/r.git`, 'main', 'main~200:refs/heads/side'], { cwd: local });
    const { poolId } = (await catalog.findRepository('o', 'r'))!;
    const [pack] = await catalog.packs(poolId, null);
    for (let waits = 0; (await store.head(sidecarKey(pack!.crateKey!, 'reach'))) === null; waits++) {
      assert.ok(waits < 600, 'maintenance makes the bitmaps');
      await sleep(100);
    }
    await git(['push', '-q', '-f', `${server.url}/o/r.git`, 'main~100:refs/heads/main'], { cwd: local });
    const repositories = new Repositories(catalog, new PackBytes(catalog, store, 64 << 20), 64 << 20);
    view = (await repositories.open('o', 'r'))!;
  });
  after(async () => {
    await catalog?.close();
    await store?.close();
    await server?.close();
    await database?.stop();
  });

  async function part(want: string, have: string | null, filter = NO_FILTER): Promise<string[] | null> {
    const node = async (name: string): Promise<number> =>
      view.pool.graph.findHex((await git(['rev-parse', `${name}^0`], { cwd: local })).trim());
    const range = commitRange(view.pool.graph, [await node(want)], have === null ? [] : [await node(have)]);
    const input = { view, range, wanted: [], autoTags: [], objects: [], filter, isShallow: false, clientHas: have !== null };
    const selected = await selectPart({ ...input, bitmapCommitsMin: 20, signal: new AbortController().signal }, range.commits);
    if (selected === null) return null;
    const oids = oidsAt(selected.reach, selected.set, 20);
    return Array.from({ length: oids.size }, (_, i) => oids.hex(i)).sort();
  }

  async function told(...args: string[]): Promise<string[]> {
    return (await git(['rev-list', '--objects', '--no-object-names', ...args], { cwd: local })).trim().split('\n').sort();
  }

  test('is what git says, of a clone, of a fetch, and under filters of kind and size', async () => {
    assert.deepEqual(await part('main~100', null), await told('main~100'));
    assert.deepEqual(await part('main~137', null), await told('main~137'));
    const had = new Set(await told('main~260'));
    assert.deepEqual(
      await part('main~100', 'main~260'),
      (await told('main~100')).filter((oid) => !had.has(oid)),
    );
    const filters = {
      'blob:none': { kind: 'blob:none' },
      'tree:0': { kind: 'tree', depth: 0 },
      'blob:limit=300': { kind: 'blob:limit', limitBytes: 300 },
    } as const;
    for (const [spec, filter] of Object.entries(filters)) {
      const sent = await part('main~100', null, await compileFilter(view, filter));
      assert.deepEqual(sent, await told(`--filter=${spec}`, 'main~100'), spec);
    }
  });

  test('is nothing when few commits are sent', async () => {
    assert.equal(await part('main~100', 'main~110'), null);
  });

  test('proves what refs reach of a pack that they do not reach whole, and only that', async () => {
    const reached = await told('main~100', 'main~200');
    const gone = (await told('main')).filter((oid) => !reached.includes(oid));
    assert.ok(gone.length > 100);
    const proven = await proveReached(view, Buffer.from([...reached, ...gone].join(''), 'hex'));
    assert.deepEqual([...proven], [...reached.map(() => 1), ...gone.map(() => 0)]);
    assert.ok(view.closure?.part != null && view.closure.seen.size === 0, 'no tree was walked');
  });
});
