/**
 * The rule that keeps a push on one shard of a distributed PostgreSQL: every large table has `pool_id` as the first column of its key, and every
 * statement that requests make of one names it (ARCHITECTURE.md, *On a distributed PostgreSQL*).
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { startTestDatabase, type TestDatabase } from '../testkit/mod.ts';

/** A row a pool, a repository, a person, a job: they stay whole, or are copied to every shard. */
const SMALL = new Set([
  'access_tokens',
  'catalog_snapshots',
  'maintenance_holds',
  'maintenance_jobs',
  'maintenance_pins',
  'pools',
  'repositories',
  'schema_migrations',
]);
/** The statements of pushes and fetches; those of maintenance and operators may look at all pools. */
const HOT_FILES = ['read.ts', 'publish.ts', 'chunks.ts', 'forks.ts'];
const HOT_FUNCTIONS = ['publish_push', 'repository_state', 'fork_repository', 'swap_packs'];

describe('the tenant key', () => {
  let database: TestDatabase;
  let client: pg.Client;
  let large: string[] = [];
  before(async () => {
    database = await startTestDatabase();
    client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const { rows } = await client.query<{ name: string }>(
      "select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') order by 1",
    );
    large = rows.map((row) => row.name).filter((name) => !SMALL.has(name));
  });
  after(async () => {
    await client?.end();
    await database?.stop();
  });

  test('comes first in the key of every large table, and is in every other unique index', async () => {
    assert(large.includes('object_blocks') && large.includes('refs'), large.join(' '));
    const { rows } = await client.query<{ table: string; columns: string[]; primary: boolean }>(
      `select c.relname as table, i.indisprimary as primary, (select array_agg(a.attname::text order by k.n) from unnest(i.indkey) with ordinality k (attnum, n)
          join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum) as columns
        from pg_index i join pg_class c on c.oid = i.indrelid where i.indisunique and c.relname = any ($1)`,
      [large],
    );
    for (const { table, columns, primary } of rows) {
      assert(columns.includes('pool_id'), `a unique index of ${table} is on ${columns.join(', ')}`);
      if (primary) assert.equal(columns[0], 'pool_id', `the key of ${table} is ${columns.join(', ')}`);
    }
    assert.deepEqual(
      rows
        .filter((row) => row.primary)
        .map((row) => row.table)
        .sort(),
      large,
    );
  });

  /** Statements of SQL that name a large table and not its pool. */
  function withoutKey(statements: readonly string[]): { seen: number; bad: string[] } {
    const names = new RegExp(`\\b(from|join|update|into|delete from)\\s+(${large.join('|')})\\b`, 'i');
    const naming = statements.filter((statement) => names.test(statement));
    return { seen: naming.length, bad: naming.filter((statement) => !/pool_id/.test(statement)) };
  }

  test('is named by every statement of a push or a fetch on a large table', () => {
    const folder = new URL('../../db/queries/', import.meta.url);
    const statements = HOT_FILES.flatMap((file) => {
      const text = readFileSync(new URL(file, folder), 'utf8');
      return [...text.matchAll(/`([^`]*)`|'((?:select|insert|update|delete|with)\b[^']*)'/g)].map(
        (match) => match[1] ?? match[2]!,
      );
    });
    const { seen, bad } = withoutKey(statements);
    assert(seen > 15, `${seen} statements found`);
    assert.deepEqual(bad, []);
  });

  test('is named by every statement of their functions', async () => {
    const { rows } = await client.query<{ name: string; source: string }>(
      "select proname as name, prosrc as source from pg_proc where pronamespace = 'public'::regnamespace and proname = any ($1)",
      [HOT_FUNCTIONS],
    );
    assert.deepEqual(rows.map((row) => row.name).sort(), [...HOT_FUNCTIONS].sort());
    const { seen, bad } = withoutKey(rows.flatMap(({ source }) => source.replace(/--.*$/gm, '').split(';')));
    assert(seen > 10, `${seen} statements found`);
    assert.deepEqual(bad, []);
  });
});
