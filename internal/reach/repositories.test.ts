import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Catalog, forkRepository, openCatalog, type Pack, type Repository } from '../catalog/mod.ts';
import { PackBytes } from '../packread/mod.ts';
import { createFsStore } from '../packstore/mod.ts';
import { scratchFolder, startTestDatabase, type TestDatabase } from '../testkit/mod.ts';
import { proveReached } from './prove.ts';
import { Repositories } from './repositories.ts';
import { oid, pushCommit } from './repositories-testing.ts';

describe('the repositories that a process knows', () => {
  let database: TestDatabase;
  let catalog: Catalog;
  before(async () => {
    database = await startTestDatabase();
    catalog = openCatalog({ url: database.url, poolMax: 4 });
  });
  after(async () => {
    await catalog?.close();
    await database?.stop();
  });

  function known(memoryBytesMax = 1 << 30, from: Catalog = catalog): Repositories {
    return new Repositories(from, new PackBytes(from, createFsStore({ root: scratchFolder('packs') }), 1 << 20), memoryBytesMax);
  }

  function create(name: string): Promise<Repository> {
    return catalog.createRepository({ owner: 'o', name, format: 'sha1', private: false });
  }

  function push(
    repository: Repository,
    branch: string,
    commit: string,
    parents: string[],
    before: string | null,
    id?: number,
  ): Promise<Pack> {
    return pushCommit(catalog, repository, { branch, commit, parents, before, ...(id === undefined ? {} : { id }) });
  }

  /** A catalog in which one call, once its answer is there, waits at a gate. */
  function held(name: 'graphBlocks' | 'repositoryState') {
    const arrival = Promise.withResolvers<void>();
    const opening = Promise.withResolvers<void>();
    const gate = { isShut: false, arrived: arrival.promise, open: opening.resolve };
    const slow = new Proxy(catalog, {
      get(target, key) {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== 'function') return value;
        if (key !== name) return value.bind(target);
        return async (...args: unknown[]) => {
          const answer: unknown = await value.apply(target, args);
          if (gate.isShut) {
            gate.isShut = false;
            arrival.resolve();
            await opening.promise;
          }
          return answer;
        };
      },
    });
    return { slow, gate };
  }

  test('a repository that is forgotten while it is opened goes on with what it knows', async () => {
    const repository = await create('forgotten');
    for (let i = 0; i < 2; i++) await create(`other${i}`);
    const { slow, gate } = held('repositoryState');
    const repositories = known(1, slow);
    await push(repository, 'main', 'a', [], null);
    const view = (await repositories.open('o', 'forgotten'))!;
    await push(repository, 'main', 'b', ['a'], 'a');
    gate.isShut = true;
    const opening = repositories.open('o', 'forgotten');
    await gate.arrived;
    for (let i = 0; i < 70; i++) await repositories.open('o', `other${i % 2}`);
    gate.open();
    const next = (await opening)!;
    assert.equal(next.pool, view.pool);
    assert.deepEqual(
      ['a', 'b'].map((name) => next.reached().has(next.pool.graph.find(oid(name)))),
      [true, true],
    );
  });

  test('of repositories that are limited the least recently used is read anew', async () => {
    for (const name of ['first', 'second']) await push(await create(name), 'main', name, [], null);
    let readAnew: string[] = [];
    const counted = new Proxy(catalog, {
      get(target, key) {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== 'function') return value;
        if (key !== 'repositoryState') return value.bind(target);
        return (owner: string, name: string, before: unknown) => {
          if (before === null) readAnew.push(name);
          return value.call(target, owner, name, before) as unknown;
        };
      },
    });
    const repositories = known(1 << 30, counted);
    const opened = async (...names: string[]) => {
      readAnew = [];
      const pools = [];
      for (const name of names) pools.push((await repositories.open('o', name))!.pool);
      return pools;
    };
    const [second, first] = await opened('second', 'first');
    repositories.limitTo(0);
    assert.deepEqual(await opened('first'), [first]);
    assert.deepEqual(readAnew, [], 'the last that was used stays');
    assert.equal((await opened('second'))[0], second, 'its index is not loaded twice, as long as somebody has it');
    assert.deepEqual(readAnew, ['second']);
    repositories.limitTo(1);
    await opened('first', 'second', 'first');
    assert.deepEqual(readAnew, []);
  });

  test('a pack whose parents came with a larger number is numbered after them', async () => {
    const repository = await create('order');
    const [small, large] = [await catalog.reservePackId(), await catalog.reservePackId()];
    await push(repository, 'main', 'a', [], null, large);
    await push(repository, 'main', 'b', ['a'], 'a', small);
    const { graph } = (await known().open('o', 'order'))!.pool;
    assert.deepEqual(
      ['a', 'b'].map((name) => graph.generation(graph.find(oid(name)))),
      [1, 2],
    );
  });

  test('a pack that this process publishes while another request learns of it is taken in once', async () => {
    const repository = await create('race');
    await push(repository, 'main', 'a', [], null);
    const { slow, gate } = held('graphBlocks');
    const repositories = known(1 << 30, slow);
    const view = (await repositories.open('o', 'race'))!;
    const pack = await push(repository, 'main', 'b', ['a'], 'a');
    gate.isShut = true;
    const opening = repositories.open('o', 'race');
    await gate.arrived;
    const [blocks, records] = await Promise.all([
      catalog.blocks(repository.poolId, [pack]),
      catalog.graphBlocks(repository.poolId, [pack]),
    ]);
    view.pool.remember(
      pack,
      blocks.get(pack.id)!,
      records.map((block) => block.records),
      Buffer.from('PACK'),
    );
    gate.open();
    const next = await opening;
    assert(next!.reached().has(next!.pool.graph.find(oid('b'))));
  });

  test('each request sees what was acknowledged before it, however many come at a time and however little fits in memory', async () => {
    const repositories = known(1);
    const names = Array.from({ length: 6 }, (_, i) => `many${i}`);
    const made = await Promise.all(names.map(create));
    const tips = names.map(() => 'none');
    for (let round = 0; round < 25; round++) {
      await Promise.all(
        made.map(async (repository, i) => {
          const commit = `commit ${round} of ${i}`;
          const before = round === 0 ? null : tips[i]!;
          await push(repository, 'main', commit, before === null ? [] : [before], before);
          tips[i] = commit;
          const views = await Promise.all(Array.from({ length: 4 }, () => repositories.open('o', names[i]!)));
          for (const view of views) {
            assert.deepEqual(view!.refs.get('refs/heads/main')?.oid, oid(commit));
            const { graph } = view!.pool;
            assert.equal(graph.generation(graph.find(oid(commit))), round + 1);
            assert(view!.reached().has(graph.find(oid(commit))));
          }
        }),
      );
    }
  });

  test('a fork is opened with what was pushed since its pool was, and neither reaches what is the other’s', async () => {
    const repository = await create('parent');
    const repositories = known();
    await push(repository, 'main', 'p', [], null);
    await repositories.open('o', 'parent');
    await push(repository, 'main', 'q', ['p'], 'p');
    await forkRepository(catalog, repository, { owner: 'o', name: 'fork', private: null, hiddenRefs: [], actor: '' });
    const fork = (await catalog.findRepository('o', 'fork'))!;
    const view = (await repositories.open('o', 'fork'))!;
    assert.deepEqual([...view.refs.keys()], ['refs/heads/main']);
    assert(view.reached().has(view.pool.graph.find(oid('q'))));
    await push(repository, 'main', 'of the parent', ['q'], 'q');
    await push(fork, 'main', 'of the fork', ['q'], 'q');
    const views = [(await repositories.open('o', 'parent'))!, (await repositories.open('o', 'fork'))!];
    assert.equal(views[0]!.pool, views[1]!.pool);
    const reaches = views.map((of) =>
      ['q', 'of the parent', 'of the fork'].map((name) => of.reached().has(of.pool.graph.find(oid(name)))),
    );
    assert.deepEqual(reaches, [
      [true, true, false],
      [true, false, true],
    ]);
  });

  test('in a shared pool what nobody has is looked for as long as what only another fork has', async () => {
    const repository = await create('searched');
    const repositories = known();
    await push(repository, 'main', 'z', [], null);
    await push(repository, 'gone', 'y', [], null);
    await catalog.publish(
      {
        repositoryId: repository.id,
        poolId: repository.poolId,
        atomic: true,
        commands: [{ name: 'refs/heads/gone', oldOid: oid('y'), newOid: null, peeled: null }],
        head: null,
        actor: '',
        requestId: '',
        options: [],
        pack: null,
        sweepEpoch: null,
      },
      'sha1',
    );
    const nowhere = oid('stored nowhere');
    const alone = (await repositories.open('o', 'searched'))!;
    assert.deepEqual([...(await proveReached(alone, nowhere))], [0]);
    await forkRepository(catalog, repository, { owner: 'o', name: 'searcher', private: null, hiddenRefs: [], actor: '' });
    const fork = (await known().open('o', 'searcher'))!;
    // The walk begins: its trees are not stored here, and it says so.
    for (const what of [nowhere, oid('y')]) await assert.rejects(proveReached(fork, what), { code: 'object-missing' });
  });

  test('what a deleted or moved branch let go of is no longer reached', async () => {
    const repository = await create('lost');
    const repositories = known();
    await push(repository, 'main', 'r', [], null);
    await push(repository, 'side', 's', ['r'], null);
    const before = (await repositories.open('o', 'lost'))!;
    assert(before.reached().has(before.pool.graph.find(oid('s'))));
    await push(repository, 'side', 't', ['r'], 's');
    const moved = (await repositories.open('o', 'lost'))!;
    const { graph } = moved.pool;
    assert.deepEqual(
      ['r', 's', 't'].map((name) => moved.reached().has(graph.find(oid(name)))),
      [true, false, true],
    );
    const packs = [...moved.pool.index.packs.values()];
    assert.deepEqual(
      packs.map((pack) => moved.packReached(pack)),
      [true, false, true],
    );
    assert(before.reached().has(graph.find(oid('s'))), 'a request that began before goes on with what it saw');
  });
});
