import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import pg from 'pg';
import { createLogger } from '../base/mod.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../embedded/mod.ts';
import { migrate } from './mod.ts';

const FILES = readdirSync(new URL('../../db/migrations', import.meta.url)).filter((name) => name.endsWith('.sql'));
const folder = mkdtempSync(join(tmpdir(), 'packhouse-migrations-'));
let server: EmbeddedPostgres;

before(async () => {
  server = await startEmbeddedPostgres({ dataDir: folder, log: createLogger('silent') });
});
after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(text)).rows as Record<string, unknown>[];
  } finally {
    await client.end();
  }
}

test('processes that migrate at the same time take turns: every file is applied once, in order', async () => {
  const applied = await Promise.all([migrate(server.url), migrate(server.url), migrate(server.url)]);
  assert.deepEqual(applied.flat(), FILES.toSorted());
  assert.deepEqual(await migrate(server.url), []);
  const rows = await query(server.url, "select to_regclass('access_tokens') is not null as made");
  assert.deepEqual(rows, [{ made: true }]);
});

test('a file that was not applied is, though later ones were', async () => {
  await query(server.url, 'create database behind');
  const url = server.url.replace(/[^/]*$/, 'behind');
  await migrate(url);
  await query(url, 'drop table access_tokens');
  const tokens = FILES.find((name) => name.endsWith('_tokens.sql'))!;
  await query(url, `delete from schema_migrations where version = '${tokens.replace(/_.*/, '')}'`);
  assert.deepEqual(await migrate(url), [tokens]);
  assert.deepEqual(await query(url, "select to_regclass('access_tokens') is not null as made"), [{ made: true }]);
});

test('a migration that cannot be applied is refused with what the database said', async () => {
  await query(server.url, 'create database clash');
  const url = server.url.replace(/[^/]*$/, 'clash');
  await query(url, 'create table pools (odd int)');
  await assert.rejects(migrate(url), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'migration-failed');
    assert.match(error.message, /relation "pools" already exists/);
    assert.ok(!error.message.includes(new URL(url).password), 'and without the password');
    return true;
  });
});

test('every migration can be taken back by a developer', () => {
  for (const name of FILES) {
    const text = readFileSync(new URL(`../../db/migrations/${name}`, import.meta.url), 'utf8');
    assert.match(text, /^-- migrate:up\n[\s\S]*^-- migrate:down\n[\s\S]*(?:drop|alter) /m, name);
  }
});
