import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import pg from 'pg';
import { startTestDatabase, type TestDatabase } from '../testkit/mod.ts';
import { bigintOf, bigintsOf, copiedRows } from './copy-out.ts';

suite('rows that are copied out', () => {
  let database: TestDatabase;
  let pool: pg.Pool;
  before(async () => {
    database = await startTestDatabase();
    pool = new pg.Pool({ connectionString: database.url, max: 1, query_timeout: 60_000 });
    pool.on('connect', (client) => client.on('error', () => {}));
  });
  after(async () => {
    await pool.end();
    await database.stop();
  });

  async function all(query: string): Promise<Buffer[][]> {
    const rows: Buffer[][] = [];
    for await (const row of copiedRows(pool, query)) rows.push(row);
    return rows;
  }

  test('have bytes and numbers of all lengths and signs', async () => {
    const numbers = [0, 1, -1, 2 ** 32 - 1, 2 ** 32, -(2 ** 32), 2 ** 53 - 1, -(2 ** 53) + 1];
    const [row, ...more] = await all(
      `select '\\x'::bytea, '\\x00ff'::bytea, ${2 ** 40}::bigint, -7::bigint, '{${numbers.join(',')}}'::bigint[], '{}'::bigint[]`,
    );
    assert.equal(more.length, 0);
    assert.deepEqual(row!.slice(0, 2), [Buffer.alloc(0), Buffer.from([0, 255])]);
    assert.deepEqual(row!.slice(2, 4).map(bigintOf), [2 ** 40, -7]);
    assert.deepEqual([...bigintsOf(row![4]!)], numbers);
    assert.equal(bigintsOf(row![5]!).length, 0);
    const [[nulls]] = (await all(`select '{1,null,-3}'::bigint[]`)) as [[Buffer]];
    assert.deepEqual([...bigintsOf(nulls)], [1, Number.NaN, -3]);
    assert.deepEqual(await all('select 1::bigint where false'), []);
  });

  test('come whole whatever pieces they arrive in, and leave the connection to who comes next', async () => {
    for (const bytes of [1, 100_000]) {
      const rows = await all(
        `select g::bigint, convert_to(repeat(chr(64 + g), ${bytes}), 'LATIN1') from generate_series(1, 40) g`,
      );
      assert.deepEqual(
        rows.map(([number, text]) => [bigintOf(number!), text!.toString('latin1')]),
        Array.from({ length: 40 }, (_, i) => [i + 1, String.fromCharCode(65 + i).repeat(bytes)]),
      );
    }
    assert.equal(pool.totalCount, 1);
    assert.deepEqual((await pool.query('select 1 as one')).rows, [{ one: 1 }]);
  });

  test('fail when PostgreSQL refuses, when there is a null, and when the connection ends, and the next ones come', async () => {
    await assert.rejects(all('select 1/0'), { code: '22012' });
    await assert.rejects(all('select null::bigint'), { code: 'catalog-copy' });
    await assert.rejects(
      all(`select pg_terminate_backend(pg_backend_pid())::int::bigint from generate_series(1, 2)`),
      (error: Error) => error instanceof Error,
    );
    const rows = copiedRows(pool, `select repeat('x', 100000)::bytea from generate_series(1, 1000)`);
    await rows.next();
    await rows.return(undefined);
    assert.equal((await all('select 5::bigint')).length, 1);
    assert.equal(pool.waitingCount, 0);
  });
});
