import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import type pg from 'pg';
import { useCatalog } from '../testkit/mod.ts';
import type { Catalog } from './catalog.ts';
import { create, oid, publish, remove, tailPack, update } from './catalog-testing.ts';
import { type ForkRequest, forkRepository } from './forks.ts';
import type { Repository, RepositoryState } from './types.ts';

const [A, B, C] = [oid('a'), oid('b'), oid('c')];
const [X, Y] = ['refs/heads/x', 'refs/heads/y'];
const TABLES = ['repositories', 'packs', 'tail_bytes', 'object_blocks', 'graph_blocks', 'refs', 'pushes', 'ref_updates', 'pools'];

describe('a fork', () => {
  let catalog: Catalog;
  let client: pg.Client;
  let parent: Repository;
  let count = 0;

  useCatalog(3, (bench) => {
    ({ catalog, client } = bench);
  });
  beforeEach(async () => {
    parent = await catalog.createRepository({ owner: 'o', name: `r${++count}`, format: 'sha1', private: false });
    const pack = tailPack(await catalog.reservePackId());
    await publish(catalog, parent, [create(Y, A, C)], { pack });
    await publish(catalog, parent, [create(X, A)]);
  });

  const forked = async (more: Partial<ForkRequest> = {}): Promise<Repository> => {
    const request = { owner: 'f', name: `${parent.name}`, private: null, hiddenRefs: [], actor: 'who', ...more };
    await forkRepository(catalog, parent, request);
    return (await catalog.findRepository(request.owner, request.name))!;
  };
  const stateOf = async ({ owner, name }: Repository): Promise<RepositoryState> =>
    (await catalog.repositoryState(owner, name, null))!;
  /** Bytes of all rows, and how many rows each table has. */
  const written = async (): Promise<{ bytes: number; rows: Record<string, number> }> => {
    let bytes = 0;
    const rows: Record<string, number> = {};
    for (const table of TABLES) {
      const { rows: found } = await client.query(
        `select count(*)::int as count, coalesce(sum(pg_column_size(t)), 0)::int as bytes from ${table} t`,
      );
      bytes += found[0].bytes;
      rows[table] = found[0].count;
    }
    return { bytes, rows };
  };

  test('has the refs, the order of branches and HEAD of its parent, in its parent’s pool', async () => {
    await catalog.setHead(parent.id, X);
    const fork = await forked();
    assert.equal(fork.poolId, parent.poolId);
    assert.notEqual(fork.id, parent.id);
    const [ours, theirs] = [await stateOf(fork), await stateOf((await catalog.findRepository('o', parent.name))!)];
    assert.deepEqual(ours.refs, theirs.refs);
    assert.equal(ours.head, X);
  });

  test('is one push of its log, and the parent’s log stays as it was', async () => {
    await publish(catalog, parent, [update(X, A, B)]);
    const fork = await forked();
    const { rows } = await client.query(
      `select convert_from(name, 'UTF8') as name, old_oid, new_oid, actor, pack_id, count(*) over (partition by push_id)::int as together
        from pushes s join ref_updates u on u.pool_id = s.pool_id and u.push_id = s.id where s.repository_id = $1 order by name`,
      [fork.id],
    );
    const row = (name: string, to: Buffer) => ({ name, old_oid: null, new_oid: to, actor: 'who', pack_id: null, together: 2 });
    assert.deepEqual(rows, [row(X, B), row(Y, A)]);
    assert.deepEqual(await catalog.loggedTips(fork.poolId, fork.id, 1e9, 10), [], 'what the parent has let go is not the fork’s');
    assert.deepEqual(await catalog.loggedTips(parent.poolId, parent.id, 1e9, 10), [A]);
  });

  test('of 20 refs is less than 10 KiB of rows, of 5,000 refs too no object', async () => {
    for (const refs of [20, 5000]) {
      parent = await catalog.createRepository({ owner: 'o', name: `refs${refs}`, format: 'sha1', private: false });
      const names = Array.from({ length: refs }, (_, i) => create(`refs/heads/topic/branch-${i}`, A));
      await publish(catalog, parent, names, { pack: tailPack(await catalog.reservePackId()) });
      const before = await written();
      await forked();
      const after = await written();
      if (refs === 20) assert.ok(after.bytes - before.bytes < 10_240, `${after.bytes - before.bytes} bytes`);
      const grown = { repositories: 1, pushes: 1, refs, ref_updates: refs };
      const expected = TABLES.map((table) => [table, before.rows[table]! + ((grown as Record<string, number>)[table] ?? 0)]);
      assert.deepEqual(after.rows, Object.fromEntries(expected));
    }
  });

  test('is private when its parent is, unless it is told otherwise', async () => {
    assert.equal((await forked()).private, false);
    assert.equal((await forked({ owner: 'p', private: true })).private, true);
    await catalog.setPrivate(parent.id, true);
    assert.equal((await forked({ owner: 'q' })).private, true);
    assert.equal((await forked({ owner: 'r', private: false })).private, false);
  });

  test('does not take hidden refs along', async () => {
    const names = ['refs/pull/1/head', 'refs/pull', 'refs/pullers/x', 'refs/meta/config', 'refs/exact'];
    for (const name of ['refs/pull/1/head', 'refs/pullers/x', 'refs/meta/config', 'refs/exact'])
      await publish(catalog, parent, [create(name, B)]);
    assert.equal(names.length, 5);
    const fork = await forked({ hiddenRefs: ['refs/pull', 'refs/meta/', 'refs/exact'] });
    assert.deepEqual(
      (await stateOf(fork)).refs.map(({ name }) => name),
      [X, Y, 'refs/pullers/x'],
    );
  });

  test('goes its own way: neither sees the other’s pushes', async () => {
    const fork = await forked();
    await publish(catalog, parent, [update(X, A, B)]);
    await publish(catalog, fork, [update(X, A, C), remove(Y, A)]);
    const values = async (of: Repository) => (await stateOf(of)).refs.map((ref) => ref.oid);
    assert.deepEqual(await values(parent), [B, A]);
    assert.deepEqual(await values(fork), [C]);
  });

  test('is whole when its parent is gone, and the other way round', async () => {
    const fork = await forked();
    await catalog.deleteRepository(parent.id);
    assert.equal((await stateOf(fork)).refs.length, 2);
    await publish(catalog, fork, [update(X, A, B)]);
    const second = await catalog.findRepository(fork.owner, fork.name);
    parent = second!;
    const grandchild = await forked({ owner: 'g' });
    await catalog.deleteRepository(grandchild.id);
    assert.equal((await stateOf(fork)).refs.length, 2);
  });

  test('of a deleted repository, or under a name that is taken, is refused and leaves nothing', async () => {
    await forked();
    const before = await written();
    await assert.rejects(forked(), { code: 'repository-exists' });
    await catalog.deleteRepository(parent.id);
    const { rows } = await written();
    await assert.rejects(forkRepository(catalog, parent, { owner: 'n', name: 'n', private: null, hiddenRefs: [], actor: '' }), {
      code: 'repository-not-found',
    });
    assert.deepEqual((await written()).rows, rows);
    assert.deepEqual(rows, before.rows);
  });

  test('waits for the sweep’s lock of the pool', async () => {
    await client.query('begin');
    await client.query('select pg_advisory_xact_lock(1347, $1::integer)', [parent.poolId]);
    let done = false;
    const fork = forked().then(() => {
      done = true;
    });
    const { rows } = await waitFor(() =>
      client.query(`select 1 from pg_locks where locktype = 'advisory' and classid = 1347 and objid = $1 and not granted`, [
        parent.poolId,
      ]),
    );
    assert.equal(rows.length, 1);
    assert.equal(done, false);
    await client.query('commit');
    await fork;
  });
});

/** Asks again until there is a row. */
async function waitFor(ask: () => Promise<pg.QueryResult>): Promise<pg.QueryResult> {
  for (let attempt = 0; attempt < 1000; attempt++) {
    const result = await ask();
    if (result.rows.length > 0) return result;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return ask();
}
