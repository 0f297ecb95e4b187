import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { type Catalog, forkRepository, openCatalog, type Repository } from '../catalog/mod.ts';
import { PackBytes } from '../packread/mod.ts';
import { createFsStore } from '../packstore/mod.ts';
import { scratchFolder, startTestDatabase, type TestDatabase } from '../testkit/mod.ts';
import { Repositories } from './repositories.ts';
import { oid, pushCommit, swapCommits } from './repositories-testing.ts';
import type { RepositoryView } from './repository-view.ts';

describe('packs that took the place of others', () => {
  let database: TestDatabase;
  let catalog: Catalog;
  before(async () => {
    database = await startTestDatabase();
    catalog = openCatalog({ url: database.url, poolMax: 6 });
  });
  after(async () => {
    await catalog?.close();
    await database?.stop();
  });

  const known = (): Repositories =>
    new Repositories(catalog, new PackBytes(catalog, createFsStore({ root: scratchFolder('packs') }), 1 << 20), 1 << 30);
  const packIds = (view: RepositoryView | null): number[] => [...view!.pool.index.packs.keys()].sort((a, b) => a - b);
  const reaches = (view: RepositoryView | null, commit: string): boolean =>
    view!.reached().has(view!.pool.graph.find(oid(commit)));

  /** A repository with commits 1 to `count` on main, a tail pack each. */
  async function history(name: string, count: number): Promise<{ repository: Repository; packs: number[] }> {
    const repository = await catalog.createRepository({ owner: 'o', name, format: 'sha1', private: false });
    const packs: number[] = [];
    for (let i = 1; i <= count; i++) packs.push(await commit(repository, i));
    return { repository, packs };
  }

  async function commit(repository: Repository, i: number, branch = 'main'): Promise<number> {
    const before = i === 1 ? null : `${i - 1}`;
    const push = { branch, commit: `${i}`, parents: before === null ? [] : [before], before };
    return (await pushCommit(catalog, repository, push)).id;
  }

  const commits = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ commit: `${i + 1}`, parents: i === 0 ? [] : [`${i}`] }));

  test('are what the next request reads, while one that runs goes on with the old', async () => {
    const { repository, packs } = await history('next', 3);
    const repositories = known();
    const old = (await repositories.open('o', 'next'))!;
    old.memo.set('kept', 1);
    const sealed = await swapCommits(catalog, repository.poolId, packs, commits(3));
    const view = (await repositories.open('o', 'next'))!;
    assert.deepEqual(packIds(view), [sealed]);
    assert.deepEqual(packIds(old), packs);
    for (const each of [view, old]) assert.deepEqual([reaches(each, '1'), reaches(each, '3')], [true, true]);
    assert.equal(view.pool.graph.packOf(view.pool.graph.find(oid('2'))), sealed);
    assert.equal(view.memo.get('kept'), 1, 'answers made of refs stay');
    assert.equal(await repositories.open('o', 'next').then((again) => again!.pool), view.pool, 'and the new view stays');
  });

  test('are told together with what was pushed since, and with packs that came and went between two requests', async () => {
    const { repository, packs } = await history('together', 2);
    const repositories = known();
    const old = (await repositories.open('o', 'together'))!;
    packs.push(await commit(repository, 3));
    const first = await swapCommits(catalog, repository.poolId, packs, commits(3));
    const pushed = await commit(repository, 4);
    const second = await swapCommits(catalog, repository.poolId, [first], commits(3));
    const view = (await repositories.open('o', 'together'))!;
    assert.notEqual(view.pool, old.pool);
    assert.deepEqual(packIds(view), [pushed, second]);
    assert(reaches(view, '4'));
  });

  test('need no new view where the old ones were never seen', async () => {
    const { repository, packs } = await history('unseen', 2);
    const repositories = known();
    const sealed = await swapCommits(catalog, repository.poolId, packs, commits(2));
    const old = (await repositories.open('o', 'unseen'))!;
    const passing = await commit(repository, 3);
    const third = await swapCommits(catalog, repository.poolId, [passing], [{ commit: '3', parents: ['2'] }]);
    const view = (await repositories.open('o', 'unseen'))!;
    assert.equal(view.pool, old.pool);
    assert.deepEqual(packIds(view), [sealed, third]);
    assert(reaches(view, '3'));
  });

  test('are shown by one new view to all repositories of the pool', async () => {
    const { repository, packs } = await history('shared', 3);
    await forkRepository(catalog, repository, { owner: 'o', name: 'shared-fork', private: null, hiddenRefs: [], actor: '' });
    const fork = (await catalog.findRepository('o', 'shared-fork'))!;
    const repositories = known();
    const names = ['shared', 'shared-fork'];
    const old = await Promise.all(names.map((name) => repositories.open('o', name)));
    assert.equal(old[0]!.pool, old[1]!.pool);
    await swapCommits(catalog, repository.poolId, packs, commits(3));
    const views = await Promise.all(names.map((name) => repositories.open('o', name)));
    assert.equal(views[0]!.pool, views[1]!.pool);
    assert.notEqual(views[0]!.pool, old[0]!.pool);
    // One of them pushes, another swap comes, and only the other one is opened: the first goes on from where it was.
    const push = { branch: 'main', commit: 'of the fork', parents: ['3'], before: '3' };
    const pushed = (await pushCommit(catalog, fork, push)).id;
    await swapCommits(catalog, repository.poolId, [pushed], [push]);
    const parent = (await repositories.open('o', 'shared'))!;
    const again = (await repositories.open('o', 'shared-fork'))!;
    assert.equal(parent.pool, again.pool);
    assert.deepEqual([reaches(parent, 'of the fork'), reaches(again, 'of the fork')], [false, true]);
  });

  test('hold the chunks of a blob for a repository too that comes to the view after they have moved', async () => {
    const { repository } = await history('chunked', 1);
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const fork = (name: string): Promise<void> =>
      forkRepository(catalog, repository, { owner: 'o', name, private: null, hiddenRefs: [], actor: '' });
    try {
      const repositories = known();
      const view = (await repositories.open('o', 'chunked'))!;
      const [pack] = [...view.pool.index.packs.values()];
      const blob = { pack: pack!, chunkedOid: oid('large'), sizeBytes: 100 };
      await client.query(
        `insert into chunked_blobs (pool_id, pack_id, oid, size, adler, sha256s, chunk_packs, offsets, lengths, sizes, adlers)
           values ($1, $2, $3, 100, 1, $4, '{7}', '{12}', '{50}', '{100}', '{1}')`,
        [repository.poolId, pack!.id, blob.chunkedOid, Buffer.alloc(32)],
      );
      const { chunked } = view.pool.reader;
      assert.deepEqual([...(await chunked.recipe(blob)).packIds], [7]);
      await client.query(`update chunked_blobs set chunk_packs = '{8}' where pool_id = $1`, [repository.poolId]);
      await fork('chunked-fork');
      const other = (await repositories.open('o', 'chunked-fork'))!;
      assert.equal(other.pool, view.pool);
      assert.deepEqual([...(await chunked.recipe(blob)).packIds], [8]);
      chunked.forget();
      const asked = chunked.recipe(blob);
      chunked.forget();
      await asked;
      assert.equal(chunked.bytes, 0, 'one that was asked for before they moved is not kept');
    } finally {
      await client.end();
    }
  });

  test('take the place of what a push of this process has just brought', async () => {
    const { repository, packs } = await history('remembered', 1);
    const repositories = known();
    const view = (await repositories.open('o', 'remembered'))!;
    const push = { branch: 'main', commit: '2', parents: ['1'], before: '1' };
    const pack = await pushCommit(catalog, repository, push);
    view.pool.remember(pack, (await catalog.blocks(repository.poolId, [pack])).get(pack.id)!, [], Buffer.from('PACK'));
    const sealed = await swapCommits(catalog, repository.poolId, [...packs, pack.id], commits(2));
    const next = (await repositories.open('o', 'remembered'))!;
    assert.deepEqual(packIds(next), [sealed]);
    next.pool.remember(pack, [], [], null);
    assert(reaches(next, '2'));
  });

  test('leave what was loaded of other packs where it is', async () => {
    const { repository, packs } = await history('loaded', 3);
    const [first, second] = [
      await swapCommits(catalog, repository.poolId, packs.slice(0, 1), commits(1)),
      await swapCommits(catalog, repository.poolId, packs.slice(1, 2), [{ commit: '2', parents: ['1'] }]),
    ];
    const repositories = known();
    const old = (await repositories.open('o', 'loaded'))!;
    const all = Buffer.concat(['1', '2', '3'].map(oid));
    await old.pool.index.find(all);
    const merged = await swapCommits(catalog, repository.poolId, [second], [{ commit: '2', parents: ['1'] }]);
    const view = (await repositories.open('o', 'loaded'))!;
    assert.deepEqual(packIds(view), [packs[2], first, merged]);
    const statements = catalog.statements;
    assert.equal(view.pool.index.peek(oid('3'), 0)?.pack, view.pool.index.packs.get(packs[2]!));
    const [one] = await view.pool.index.among(oid('1'), (pack) => pack.id === first);
    assert.equal(one?.pack, view.pool.index.packs.get(first));
    assert.equal(catalog.statements, statements, 'nothing is loaded again');
    const found = await view.pool.index.find(all);
    assert.deepEqual(
      found.map((location) => location?.pack.id),
      [first, merged, packs[2]],
    );
  });

  test('a commit that stays in another pack only is still known', async () => {
    const { repository, packs } = await history('twice', 2);
    const twice = { branch: 'side', commit: '2', parents: ['1'], before: null };
    const second = (await pushCommit(catalog, repository, twice)).id;
    const repositories = known();
    await repositories.open('o', 'twice');
    // As if a sweep had taken one copy: nothing that came has it.
    const kept = await swapCommits(catalog, repository.poolId, packs, commits(1));
    const view = (await repositories.open('o', 'twice'))!;
    assert.deepEqual(packIds(view), [second, kept]);
    assert(reaches(view, '2'));
  });

  test('are followed by every request, whatever runs at the same time', async () => {
    const { repository, packs } = await history('busy', 1);
    const repositories = known();
    let live = packs;
    let done = false;
    const swaps = (async () => {
      for (let i = 2; i <= 40; i++) {
        live.push(await commit(repository, i));
        if (i % 4 === 0) live = [await swapCommits(catalog, repository.poolId, live, commits(i))];
      }
      done = true;
    })();
    const readers = Array.from({ length: 4 }, async () => {
      while (!done) {
        const view = (await repositories.open('o', 'busy'))!;
        const tip = view.refs.get('refs/heads/main')!.oid;
        const { graph } = view.pool;
        assert(view.reached().has(graph.find(tip)));
        assert(view.reached().has(graph.find(oid('1'))));
        const [location] = await view.pool.index.find(tip);
        assert(location, 'what a ref names is found');
      }
    });
    await Promise.all([swaps, ...readers]);
    const view = await repositories.open('o', 'busy');
    assert.deepEqual(packIds(view), live);
  });
});
