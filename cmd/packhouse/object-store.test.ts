import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { messageOf } from '../../internal/base/mod.ts';
import { type Catalog, forkRepository, openCatalog } from '../../internal/catalog/mod.ts';
import { loadConfig } from '../../internal/config/mod.ts';
import type { ObjectStore, Scope } from '../../internal/objectstore/mod.ts';
import { PackBytes } from '../../internal/packread/mod.ts';
import { createMemoryStore, type PackStore, withCounters } from '../../internal/packstore/mod.ts';
import { Repositories } from '../../internal/reach/mod.ts';
import { commitBody, oidOf, seededBytes, startTestDatabase, type TestDatabase, treeBody } from '../../internal/testkit/mod.ts';
import { openObjectStore } from './object-store.ts';

const blob = (data: Buffer | string) => ({ kind: 'blob', data: Buffer.from(data) }) as const;
const named = (data: Buffer | string): Buffer => Buffer.from(oidOf('blob', data), 'hex');
const NOWHERE = Buffer.from('deadbeef'.repeat(5), 'hex');

async function gathered(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const piece of pieces) parts.push(piece);
  return Buffer.concat(parts);
}

async function* inPieces(data: Buffer, pieceBytes = 70_001): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += pieceBytes) yield data.subarray(at, at + pieceBytes);
}

describe('the object store', () => {
  let database: TestDatabase;
  let catalog: Catalog;
  let store: PackStore;
  const read = { bytes: 0 };
  const scope: Scope = { owner: 'o', name: 'objects' };

  before(async () => {
    database = await startTestDatabase();
    catalog = openCatalog({ url: database.url, poolMax: 4 });
    store = withCounters(createMemoryStore(), (operation, bytes) => {
      if (operation === 'get') read.bytes += bytes;
    });
    await catalog.createRepository({ ...scope, format: 'sha1', private: false });
  });
  after(async () => {
    await catalog?.close();
    await database?.stop();
  });

  /** A process of its own: nothing is cached. */
  function open(): ObjectStore {
    const { config } = loadConfig({ path: undefined, env: { PACKHOUSE_CHUNKING_THRESHOLD: '8MiB' }, flags: {} });
    return openObjectStore(config, {
      catalog,
      store,
      repositories: new Repositories(catalog, new PackBytes(catalog, store, 8 << 20), 1 << 28),
    });
  }

  test('gives back what it was given, to every process at once', async () => {
    const [writer, reader] = [open(), open()];
    assert.deepEqual([...(await reader.exists(scope, named('one')))], [0]);
    const oid = await writer.put(scope, blob('one'));
    assert.deepEqual(oid, named('one'));
    assert.deepEqual(await reader.get(scope, oid), { kind: 'blob', data: Buffer.from('one') });
    assert.deepEqual(await reader.stat(scope, Buffer.concat([oid, NOWHERE])), [{ kind: 'blob', sizeBytes: 3 }, null]);
    assert.equal(await reader.get(scope, NOWHERE), null);
    assert.equal(await reader.getStream(scope, NOWHERE), null);
  });

  test('answers for a thousand oids in one call and one statement', async () => {
    const objects = Array.from({ length: 1000 }, (_, i) => blob(`object ${i}`));
    const { oids, roots } = await open().putMany(scope, objects);
    assert.equal(roots.length, 1);
    assert.deepEqual(
      oids,
      objects.map(({ data }) => named(data)),
    );
    const asked = Buffer.concat(oids.flatMap((oid, i) => (i % 2 === 0 ? [oid] : [named(`absent ${i}`)])));
    const reader = open();
    const expected = oids.map((_, i) => (i % 2 === 0 ? 1 : 0));
    assert.deepEqual([...(await reader.exists(scope, asked))], expected);
    const before = catalog.statements;
    assert.deepEqual([...(await reader.exists(scope, asked))], expected);
    assert.equal(catalog.statements - before, 1);
  });

  test('keeps a batch by a ref that clients do not see, and the same batch once', async () => {
    const batch = [blob('kept 1'), blob('kept 2'), blob('kept 1')];
    const first = await open().putMany(scope, batch);
    assert.deepEqual(first.oids[0], first.oids[2]);
    const packs = async (): Promise<number> => {
      const { poolId } = (await catalog.findRepository(scope.owner, scope.name))!;
      return (await catalog.packs(poolId, null)).length;
    };
    const before = await packs();
    assert.deepEqual(await open().putMany(scope, batch), first);
    assert.equal(await packs(), before);
    const state = await catalog.repositoryState(scope.owner, scope.name, null);
    const names = state!.refs.map((ref) => ref.name);
    for (const root of first.roots) {
      assert.match(root, /^refs\/packhouse\/objects\/[0-9a-f]{40}$/);
      assert.ok(names.includes(root));
    }
    await open().release(scope, first.roots);
    await open().release(scope, first.roots);
    const left = await catalog.repositoryState(scope.owner, scope.name, null);
    assert.ok(!left!.refs.some((ref) => first.roots.includes(ref.name)));
  });

  test('takes every kind, in one batch that is closed', async () => {
    const tree = treeBody([['100644', 'f', oidOf('blob', 'file')]]);
    const commit = commitBody(oidOf('tree', tree));
    const api = open();
    const { oids, roots } = await api.putMany(scope, [
      { kind: 'commit', data: commit },
      { kind: 'tree', data: tree },
      blob('file'),
    ]);
    assert.deepEqual(
      oids,
      [oidOf('commit', commit), oidOf('tree', tree), oidOf('blob', 'file')].map((hex) => Buffer.from(hex, 'hex')),
    );
    assert.equal(roots.length, 2);
    assert.deepEqual(await open().get(scope, oids[0]!), { kind: 'commit', data: commit });
    const broken = { kind: 'tree', data: treeBody([['100644', 'f', oidOf('blob', 'nobody has this')]]) } as const;
    await assert.rejects(api.put(scope, broken), { code: 'put-refused' });
    await assert.rejects(api.put(scope, { kind: 'commit', data: Buffer.from('no commit') }), { code: 'put-refused' });
    assert.deepEqual([...(await open().exists(scope, Buffer.from(oidOf('tree', broken.data), 'hex')))], [0]);
  });

  for (const [what, data] of [
    ['that do not compress', seededBytes(3, 6 << 20)],
    ['that are cut into chunks', Buffer.concat([seededBytes(4, 9 << 20), Buffer.alloc(1 << 20, 'text ')])],
  ] as const) {
    test(`streams megabytes ${what}, and reads parts of them`, async () => {
      const oid = await open().put(scope, { kind: 'blob', data: { sizeBytes: data.length, chunks: inPieces(data) } });
      assert.deepEqual(oid, named(data));
      const whole = (await open().getStream(scope, oid))!;
      assert.equal(whole.sizeBytes, data.length);
      assert.ok((await gathered(whole.chunks)).equals(data));
      const ends = [0, 1, 70_000, 4_000_000, data.length - 1, data.length, data.length + 5];
      const api = open();
      for (const from of ends) {
        for (const to of ends) {
          const part = (await api.getRange(scope, oid, from, to))!;
          assert.ok((await gathered(part.chunks)).equals(data.subarray(from, Math.max(from, to))), `${from} to ${to}`);
        }
      }
    });
  }

  test('reads of a chunked blob only what the range needs', async () => {
    const data = seededBytes(5, 12 << 20);
    const oid = await open().put(scope, blob(data));
    const api = open();
    await api.stat(scope, oid);
    read.bytes = 0;
    const part = (await api.getRange(scope, oid, 10_000_000, 10_000_100))!;
    assert.ok((await gathered(part.chunks)).equals(data.subarray(10_000_000, 10_000_100)));
    assert.ok(read.bytes > 0 && read.bytes < 3 << 20, `${read.bytes} bytes were read`);
  });

  test('tells of what another pool has as of what nobody has, and links to nothing that its own repository does not reach', async () => {
    const api = open();
    const parent: Scope = { owner: 'o', name: 'parent' };
    const [fork, apart]: Scope[] = [
      { owner: 'p', name: 'fork' },
      { owner: 'p', name: 'apart' },
    ];
    await catalog.createRepository({ ...parent, format: 'sha1', private: true });
    await catalog.createRepository({ ...apart!, format: 'sha1', private: false });
    const request = { ...fork!, private: false, hiddenRefs: [], actor: 'test' };
    await forkRepository(catalog, (await catalog.findRepository(parent.owner, parent.name))!, request);
    const secret = seededBytes(21, 1000);
    const tree = treeBody([['100644', 'secret', oidOf('blob', secret)]]);
    const commit = commitBody(oidOf('tree', tree));
    const large = seededBytes(22, 9 << 20);
    const batch = [blob(secret), { kind: 'tree', data: tree }, { kind: 'commit', data: commit }, blob(large)] as const;
    const { oids } = await api.putMany(parent, batch);
    const words = async (scope: Scope, oid: Buffer): Promise<string> => {
      const answers: unknown[] = [];
      if (scope === apart) {
        answers.push([...(await api.exists(scope, oid))], await api.stat(scope, oid), await api.get(scope, oid));
        answers.push(await api.getStream(scope, oid), await api.getRange(scope, oid, 0, 10));
      }
      const hex = oid.toString('hex');
      for (const object of [
        { kind: 'tree', data: treeBody([['100644', 'f', hex]]) },
        { kind: 'tree', data: treeBody([['40000', 'f', hex]]) },
        { kind: 'commit', data: commitBody(hex) },
        { kind: 'commit', data: commitBody(oidOf('tree', ''), [hex]) },
      ] as const) {
        const refusal = await api.put(scope, object).then(() => 'taken', messageOf);
        // The name of the root is made of the objects.
        answers.push(refusal.replace(/objects\/[0-9a-f]{40}/, 'objects/ROOT'));
      }
      return JSON.stringify(answers).replaceAll(hex, 'OID');
    };
    for (const scope of [fork!, apart!]) {
      const expected = await words(scope, randomBytes(20));
      assert.doesNotMatch(expected, /taken/);
      for (const oid of oids) assert.equal(await words(scope, oid), expected, `${scope.name} ${oid.toString('hex')}`);
    }
    assert.equal((await api.get(parent, oids[0]!))?.data.equals(secret), true);
  });

  test('refuses a stream of another length than it said, and a scope that is not there', async () => {
    const data = seededBytes(6, 1000);
    for (const sizeBytes of [999, 1001]) {
      await assert.rejects(open().put(scope, { kind: 'blob', data: { sizeBytes, chunks: inPieces(data) } }), {
        code: 'object-size',
      });
    }
    await assert.rejects(open().exists({ owner: 'o', name: 'nowhere' }, NOWHERE), { code: 'repository-not-found' });
  });

  test('lets a batch that two put at the same time be put', async () => {
    const batch = Array.from({ length: 20 }, (_, i) => blob(`at once ${i}`));
    const [first, ...rest] = await Promise.all(Array.from({ length: 4 }, () => open().putMany(scope, batch)));
    for (const result of rest) assert.deepEqual(result, first);
  });
});
