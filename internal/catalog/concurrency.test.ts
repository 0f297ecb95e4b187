import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { startTestDatabase, type TestDatabase } from '../testkit/mod.ts';
import { type Catalog, openCatalog } from './catalog.ts';
import { create, oid, publish, remove, tailPack, update } from './catalog-testing.ts';
import type { RefCommand, Repository } from './types.ts';

const [A, B, C] = [oid('a'), oid('b'), oid('c')];
const [X, Y] = ['refs/heads/x', 'refs/heads/y'];

describe('pushes at the same time', () => {
  let database: TestDatabase;
  /** As two processes. */
  let one: Catalog;
  let two: Catalog;
  let client: pg.Client;
  /** Outside the transaction of `client`, in which PostgreSQL would show the same activity again and again. */
  let watcher: pg.Client;
  let repository: Repository;
  let count = 0;

  before(async () => {
    database = await startTestDatabase();
    one = openCatalog({ url: database.url, poolMax: 4 });
    two = openCatalog({ url: database.url, poolMax: 4 });
    client = new pg.Client({ connectionString: database.url });
    watcher = new pg.Client({ connectionString: database.url });
    await Promise.all([client.connect(), watcher.connect()]);
  });
  after(async () => {
    await client?.end();
    await watcher?.end();
    await one?.close();
    await two?.close();
    await database?.stop();
  });
  beforeEach(async () => {
    repository = await one.createRepository({ owner: 'o', name: `r${++count}`, format: 'sha1', private: false });
    await publish(one, repository, [create(X, A), create(Y, A)]);
  });

  const array = (values: readonly (Buffer | null)[]): string =>
    `array[${values.map((value) => (value === null ? 'null' : `'\\x${value.toString('hex')}'`)).join(', ')}]::bytea[]`;

  /** A push whose transaction stays open until the caller ends it. */
  async function hold(commands: readonly RefCommand[], target = repository): Promise<void> {
    await client.query('begin');
    const names = commands.map((command) => Buffer.from(command.name, 'latin1'));
    const { rows } = await client.query<{ statuses: string[] }>(
      `select publish_push(${target.poolId}, ${target.id}, false, ${array(names)}, ${array(commands.map((c) => c.oldOid))},
         ${array(commands.map((c) => c.newOid))}, ${array(commands.map(() => null))}, null, '', '', '{}', null, null, null, null, null, null,
         null, null, null, null, null, null, null, null, null, null, null, null, null, null) as statuses`,
    );
    assert.deepEqual(
      rows[0]?.statuses,
      commands.map(() => 'ok'),
    );
  }

  /** Resolves once a statement waits for a lock; fails when it ends instead. */
  async function waits<T>(running: Promise<T>): Promise<void> {
    let ended = false;
    const mark = (): void => {
      ended = true;
    };
    running.then(mark, mark);
    while (!ended) {
      const { rows } = await watcher.query(
        `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      );
      if (rows.length > 0) return;
      await sleep(2);
    }
    assert.fail('it did not wait');
  }

  test('of two that move one ref, one wins; the other waits for it and is stale', async () => {
    await hold([update(X, A, B)]);
    const second = publish(two, repository, [update(X, A, C)]);
    await waits(second);
    await client.query('commit');
    assert.deepEqual(await second, ['stale']);
  });

  test('when the first fails, the one that waited goes on', async () => {
    await hold([update(X, A, B)]);
    const second = publish(two, repository, [update(X, A, C)]);
    await waits(second);
    await client.query('rollback');
    assert.deepEqual(await second, ['ok']);
  });

  test('exactly one of many wins, in every round', async () => {
    for (let round = 0; round < 10; round++) {
      const [from, to] = [oid(`round ${round}`), oid(`round ${round + 1}`)];
      if (round === 0) await publish(one, repository, [update(X, A, from)]);
      const racing = [one, two, one, two].map((catalog) => publish(catalog, repository, [update(X, from, to)]));
      // All set the same value: whoever comes second finds another old value and is stale.
      const statuses = (await Promise.all(racing)).flat().sort();
      assert.deepEqual(statuses, ['ok', 'stale', 'stale', 'stale']);
    }
  });

  test('those that move different refs do not wait for each other', async () => {
    await hold([update(X, A, B)]);
    assert.deepEqual(await publish(two, repository, [update(Y, A, B)]), ['ok']);
    const pack = tailPack(await two.reservePackId());
    assert.deepEqual(await publish(two, repository, [update(Y, B, C)], { pack }), ['ok']);
    await client.query('commit');
  });

  test("those that create or delete wait for each other, so that no name becomes another one's folder", async () => {
    await hold([create('refs/heads/new', A)]);
    const second = publish(two, repository, [create('refs/heads/new/below', B)]);
    await waits(second);
    await client.query('commit');
    assert.deepEqual(await second, ['conflict']);
    await hold([remove('refs/heads/new', A)]);
    const third = publish(two, repository, [create('refs/heads/new/below', B)]);
    await waits(third);
    await client.query('commit');
    assert.deepEqual(await third, ['ok']);
  });

  test('a creation holds up neither the moves of other refs nor other repositories', async () => {
    const other = await one.createRepository({ owner: 'o', name: `r${++count}`, format: 'sha1', private: false });
    await hold([create('refs/heads/new', A)]);
    assert.deepEqual(await publish(two, repository, [update(X, A, B)]), ['ok']);
    assert.deepEqual(await publish(two, other, [create('refs/heads/new', A)]), ['ok']);
    await client.query('commit');
  });

  test('one that waits for a ref holds none with a later name, so that no two wait for each other', async () => {
    await hold([update(X, A, B)]);
    const second = publish(two, repository, [update(Y, A, C), update(X, A, C)]);
    await waits(second);
    assert.deepEqual(await publish(one, repository, [update(Y, A, B)]), ['ok']);
    await client.query('commit');
    assert.deepEqual(await second, ['stale', 'stale']);
  });

  test('those that move the same refs in another order do not deadlock', async () => {
    let [x, y] = [A, A];
    for (let round = 0; round < 15; round++) {
      const next = oid(`next ${round}`);
      const racing = [
        publish(one, repository, [update(X, x, next), update(Y, y, next)], { atomic: true }),
        publish(two, repository, [update(Y, y, next), update(X, x, next)], { atomic: true }),
      ];
      const won = (await Promise.all(racing)).filter((statuses) => statuses.every((status) => status === 'ok'));
      assert.equal(won.length, 1);
      [x, y] = [next, next];
    }
  });

  test('a repository is deleted after the push that is being published, and none is published after it', async () => {
    await hold([update(X, A, B)]);
    const deletion = two.deleteRepository(repository.id);
    await waits(deletion);
    await client.query('commit');
    await deletion;
    await assert.rejects(publish(one, repository, [update(X, B, C)]), { code: 'repository-not-found' });
  });

  test('a push waits for a deletion that is under way, and then finds nothing', async () => {
    await client.query('begin');
    await client.query('select 1 from repositories where id = $1 for update', [repository.id]);
    await client.query('update repositories set deleted_at = now() where id = $1', [repository.id]);
    const push = publish(two, repository, [update(X, A, B)]);
    await waits(push);
    await client.query('commit');
    await assert.rejects(push, { code: 'repository-not-found' });
  });

  test('of two first pushes one creates the repository', async () => {
    const values = { owner: 'o', name: `r${++count}`, format: 'sha1', private: false } as const;
    const results = await Promise.allSettled([one.createRepository(values), two.createRepository(values)]);
    assert.deepEqual(results.map((result) => result.status).sort(), ['fulfilled', 'rejected']);
    const failed = results.find((result) => result.status === 'rejected');
    assert.equal((failed as PromiseRejectedResult | undefined)?.reason.code, 'repository-exists');
    const { rows } = await client.query(
      'select 1 from pools p where not exists (select 1 from repositories r where r.pool_id = p.id)',
    );
    assert.deepEqual(rows, [], 'the loser leaves no pool behind');
  });

  test('no id of a pack is given out twice', async () => {
    const ids = await Promise.all(Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? one : two).reservePackId()));
    assert.equal(new Set(ids).size, ids.length);
  });
});
