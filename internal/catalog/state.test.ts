import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import pg from 'pg';
import { startTestDatabase, type TestDatabase } from '../testkit/mod.ts';
import { type Catalog, followedHead, openCatalog } from './catalog.ts';
import { create, oid, publish, remove, tailPack, update } from './catalog-testing.ts';
import type { Repository, RepositoryState } from './types.ts';

const [A, B, C] = [oid('a'), oid('b'), oid('c')];
const [X, Y] = ['refs/heads/x', 'refs/heads/y'];

describe('the state of a repository', () => {
  let database: TestDatabase;
  let reader: Catalog;
  let writer: Catalog;
  let client: pg.Client;
  let repository: Repository;
  let count = 0;

  before(async () => {
    database = await startTestDatabase();
    reader = openCatalog({ url: database.url, poolMax: 2 });
    writer = openCatalog({ url: database.url, poolMax: 2 });
    client = new pg.Client({ connectionString: database.url });
    await client.connect();
  });
  after(async () => {
    await client?.end();
    await reader?.close();
    await writer?.close();
    await database?.stop();
  });
  beforeEach(async () => {
    repository = await writer.createRepository({ owner: 'o', name: `r${++count}`, format: 'sha1', private: false });
    await publish(writer, repository, [create(X, A), create(Y, A)]);
  });

  async function read(known: RepositoryState | null): Promise<RepositoryState> {
    const before = reader.statements;
    const state = await reader.repositoryState('o', repository.name, known);
    assert.equal(reader.statements - before, 1);
    assert.ok(state);
    return state;
  }
  const told = (state: RepositoryState): string[] =>
    state.refs.map((ref) => `${ref.name} ${ref.oid?.toString('hex', 0, 2) ?? '-'}`).sort();
  const is = (name: string, value: Buffer | null): string => `${name} ${value?.toString('hex', 0, 2) ?? '-'}`;

  /** A push in a transaction that the caller ends: by the plain statements of publish_push, so that its moment is ours to choose. */
  async function begin(to: Buffer): Promise<void> {
    await client.query('begin');
    const key = [repository.poolId, repository.id];
    await client.query(`update refs set oid = $3 where pool_id = $1 and repository_id = $2 and name = '${X}'`, [...key, to]);
    const { rows } = await client.query<{ id: string }>(
      `insert into pushes (pool_id, id, repository_id, pack_id) values ($1, nextval('push_ids'), $2, 777) returning id`,
      key,
    );
    await client.query(
      `insert into ref_updates (pool_id, push_id, repository_id, name, old_oid, new_oid) values ($1, $3, $2, '${X}', $4, $5)`,
      [...key, rows[0]?.id, A, to],
    );
  }

  test('is whole at first, then only what has changed', async () => {
    const first = await read(null);
    assert.ok(first.full);
    assert.deepEqual(told(first), [is(X, A), is(Y, A)]);
    const second = await read(first);
    assert.ok(!second.full);
    assert.deepEqual(second.refs, []);
    assert.deepEqual(second.newPacks, []);
  });

  test('tells a push of another connection once', async () => {
    const first = await read(null);
    const pack = tailPack(await writer.reservePackId());
    await publish(writer, repository, [update(X, A, B), remove(Y, A), create('refs/heads/z', C)], { pack });
    const second = await read(first);
    assert.deepEqual(told(second), [is(X, B), is(Y, null), is('refs/heads/z', C)]);
    assert.deepEqual(second.newPacks, [pack.id]);
    const third = await read(second);
    assert.deepEqual([told(third), third.newPacks], [[], []]);
    assert.deepEqual(told(await read(first)), told(second), 'whoever still has the first snapshot is told again');
  });

  test('tells a push that was in progress when the snapshot was taken, once, and not those that were visible in it', async () => {
    const start = await read(null);
    await begin(B);
    // Younger than the one in progress, and committed before it.
    await publish(writer, repository, [update(Y, A, C)]);
    const first = await read(start);
    assert.deepEqual(told(first), [is(Y, C)], 'what has not been committed is not told');
    await client.query('commit');
    const second = await read(first);
    assert.deepEqual(told(second), [is(X, B)], 'the older push alone');
    assert.deepEqual(second.newPacks, [777]);
    const third = await read(second);
    assert.deepEqual([told(third), third.newPacks], [[], []]);
  });

  test('of a whole state that was read while a push was in progress, the push is told later', async () => {
    await begin(B);
    const whole = await read(null);
    assert.deepEqual(told(whole), [is(X, A), is(Y, A)]);
    await client.query('commit');
    assert.deepEqual(told(await read(whole)), [is(X, B)]);
  });

  test('never tells a push that was rolled back', async () => {
    const first = await read(null);
    await begin(B);
    await client.query('rollback');
    const second = await read(first);
    assert.deepEqual([told(second), second.newPacks], [[], []]);
  });

  test('tells new packs of the whole pool, and refs of this repository alone', async () => {
    const fork = await writer.createRepository({ owner: 'o', name: `r${++count}`, format: 'sha1', private: false });
    await client.query('update repositories set pool_id = $1 where id = $2', [repository.poolId, fork.id]);
    const first = await read(null);
    const pack = tailPack(await writer.reservePackId());
    await publish(writer, { ...fork, poolId: repository.poolId }, [create(X, B)], { pack });
    const second = await read(first);
    assert.deepEqual([told(second), second.newPacks], [[], [pack.id]]);
    const stranger = await writer.createRepository({ owner: 'o', name: `r${++count}`, format: 'sha1', private: false });
    await publish(writer, stranger, [create(X, B)], { pack: tailPack(await writer.reservePackId()) });
    assert.deepEqual((await read(second)).newPacks, []);
  });

  test('shows a HEAD and a visibility that an operator changed', async () => {
    const first = await read(null);
    assert.deepEqual([first.head, first.private], [null, false]);
    await writer.setHead(repository.id, Y);
    await writer.setPrivate(repository.id, true);
    const second = await read(first);
    assert.deepEqual([second.head, second.private, second.refs.length], [Y, true, 0]);
  });

  test("is whole again when the name is another repository's now", async () => {
    const first = await read(null);
    await writer.deleteRepository(repository.id);
    assert.equal(await reader.repositoryState('o', repository.name, first), null);
    const next = await writer.createRepository({ owner: 'o', name: repository.name, format: 'sha256', private: true });
    const value = oid('wide', 32);
    await publish(writer, next, [create('refs/heads/w', value)]);
    const second = await read(first);
    assert.deepEqual([second.full, second.id, second.format, second.private], [true, next.id, 'sha256', true]);
    assert.deepEqual(told(second), [is('refs/heads/w', value)]);
  });

  test('costs no more when its pool has had many pushes, whatever PostgreSQL thinks of its size', async () => {
    await client.query(
      `with s as (insert into pushes (pool_id, id, repository_id) select $1, nextval('push_ids'), $2 from generate_series(1, 500) returning id)
         insert into ref_updates (pool_id, push_id, repository_id, name) select $1, id, $2, '${X}' from s`,
      [repository.poolId, repository.id],
    );
    await client.query('begin');
    const { rows: before } = await client.query<{ snapshot: string }>('select pg_current_snapshot() as snapshot');
    await client.query('rollback');
    await publish(writer, repository, [update(X, A, B)]);
    const tuplesRead = async (): Promise<number> => {
      const { rows } = await client.query<{ tuples: number }>(
        `select (seq_tup_read + idx_tup_fetch)::int as tuples from pg_stat_xact_user_tables where relname = 'ref_updates'`,
      );
      return rows[0]!.tuples;
    };
    await client.query('begin');
    // What it does by itself where its statistics take the pool for an empty one.
    await client.query('set local enable_nestloop = off');
    const tuples = await tuplesRead();
    const { rows } = await client.query<{ names: Buffer[] }>('select names from repository_state($1, $2, $3, $4)', [
      'o',
      repository.name,
      repository.id,
      before[0]!.snapshot,
    ]);
    assert.deepEqual(rows[0]?.names, [Buffer.from(X)]);
    assert.equal((await tuplesRead()) - tuples, 1);
    await client.query('rollback');
  });

  test('what a push asks is planned once for each connection, whatever the values', async () => {
    // A function that is defined anew loses it.
    const { rows } = await client.query<{ proname: string }>(
      `select proname from pg_proc where 'plan_cache_mode=force_generic_plan' = any(proconfig) order by proname`,
    );
    assert.deepEqual(
      rows.map(({ proname }) => proname),
      ['publish_push', 'repository_state'],
    );
  });

  test('follows a renaming', async () => {
    await writer.renameRepository(repository.id, 'p', `n${count}`);
    assert.equal(await reader.repositoryState('o', repository.name, null), null);
    assert.equal((await reader.repositoryState('p', `n${count}`, null))?.id, repository.id);
    const other = await writer.createRepository({ owner: 'o', name: repository.name, format: 'sha1', private: false });
    const taken = writer.renameRepository(other.id, 'p', `n${count}`);
    await assert.rejects(taken, { code: 'repository-exists' });
    await assert.rejects(writer.renameRepository(2 ** 40, 'q', 'q'), { code: 'repository-not-found' });
  });

  test('HEAD follows main, else the oldest branch', () => {
    const ref = (name: string, createdPush: number) => ({ name, oid: A, peeled: null, createdPush });
    assert.equal(followedHead([]), 'refs/heads/main');
    assert.equal(followedHead([ref('refs/tags/v1', 1), ref('refs/heads/b', 3), ref('refs/heads/c', 2)]), 'refs/heads/c');
    assert.equal(followedHead([ref('refs/heads/a', 1), ref('refs/heads/main', 9)]), 'refs/heads/main');
  });
});
