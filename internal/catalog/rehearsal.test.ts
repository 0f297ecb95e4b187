import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { startTestDatabase } from '../testkit/mod.ts';
import { create, oid, publish, tailPack } from './catalog-testing.ts';
import { openCatalog } from './mod.ts';

test('a catalog that is warmed up has its connections and knows its statements, and nothing is in it', async () => {
  const database = await startTestDatabase();
  const catalogs = [openCatalog({ url: database.url }), openCatalog({ url: database.url })];
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  const query = async <Row>(text: string): Promise<Row[]> => (await client.query(text)).rows;
  const connections = async () => {
    const [row] = await query<{ count: number }>(
      `select count(*)::integer as count from pg_stat_activity where application_name = 'packhouse' and datname = current_database()`,
    );
    return row!.count;
  };
  try {
    await Promise.all(catalogs.map((catalog) => catalog.warmUp()));
    assert.equal(await connections(), 8);
    const tables = await query<{ name: string }>(
      `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'public' and tablename <> 'schema_migrations'`,
    );
    assert(tables.length > 10);
    for (const { name } of tables) assert.deepEqual(await query(`select * from ${name} limit 1`), [], name);

    const [catalog] = catalogs as [(typeof catalogs)[0]];
    const repository = await catalog.createRepository({ owner: 'o', name: 'r', format: 'sha1', private: false });
    const pushes = Array.from({ length: 4 }, async (_, i) => {
      const pack = tailPack(await catalog.reservePackId());
      return publish(catalog, repository, [create(`refs/heads/${i}`, oid(i))], { pack });
    });
    assert.deepEqual((await Promise.all(pushes)).flat(), ['ok', 'ok', 'ok', 'ok']);
    assert.equal(await connections(), 8, 'of those that were opened');
    await catalog.warmUp();
    assert.equal((await catalog.repositoryState('o', 'r', null))?.refs.length, 4);
  } finally {
    await client.end();
    for (const catalog of catalogs) await catalog.close();
    await database.stop();
  }
});

test('a catalog with one connection is warmed up on that one', async () => {
  const database = await startTestDatabase();
  const catalog = openCatalog({ url: database.url, poolMax: 1 });
  try {
    await catalog.warmUp();
    assert.deepEqual(await catalog.listRepositories(), []);
  } finally {
    await catalog.close();
    await database.stop();
  }
});
