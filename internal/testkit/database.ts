import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { createLogger } from '../base/mod.ts';
import { startEmbeddedPostgres } from '../embedded/mod.ts';
import { migrate } from '../migrations/mod.ts';

export interface TestDatabase {
  /** A migrated database that nobody else uses. */
  readonly url: string;
  /** Drops it. */
  stop(): Promise<void>;
}

/** One PostgreSQL for all test files that run at a time: each joins it and makes a database of its own. */
const SHARED = fileURLToPath(new URL('../../.cache/test-postgres', import.meta.url));
const MIGRATIONS = new URL('../../db/migrations/', import.meta.url);
/** Any number that nobody else takes an advisory lock on. */
const LOCK = '5501374106';

/** A database of its own, at the newest schema, on real PostgreSQL. */
export async function startTestDatabase(): Promise<TestDatabase> {
  const server = await startEmbeddedPostgres({ dataDir: SHARED, log: createLogger('silent') });
  const name = `test_${randomBytes(8).toString('hex')}`;
  try {
    await withClient(server.url, async (client) => {
      await client.query(`create database ${name} template ${await migratedTemplate(client, server.url)}`);
    });
    return {
      url: urlOf(server.url, name),
      async stop() {
        await withClient(server.url, (client) => client.query(`drop database ${name} with (force)`));
        await server.stop();
      },
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** The name of a migrated database that is copied: migrating each anew takes ten times as long. Made by whoever comes first, and again when a migration changes. */
async function migratedTemplate(client: pg.Client, url: string): Promise<string> {
  const hash = createHash('sha256');
  for (const file of readdirSync(MIGRATIONS).sort()) hash.update(file).update(readFileSync(new URL(file, MIGRATIONS)));
  const name = `migrated_${hash.digest('hex').slice(0, 16)}`;
  await client.query(`select pg_advisory_lock(${LOCK})`);
  try {
    const { rowCount } = await client.query('select from pg_database where datname = $1', [name]);
    if (rowCount === 0) {
      const fresh = `${name}_new`;
      await client.query(`drop database if exists ${fresh} with (force)`);
      await client.query(`create database ${fresh}`);
      await migrate(urlOf(url, fresh));
      await client.query(`alter database ${fresh} rename to ${name}`);
    }
  } finally {
    await client.query(`select pg_advisory_unlock(${LOCK})`);
  }
  return name;
}

function urlOf(url: string, database: string): string {
  return url.replace(/[^/]*$/, database);
}

async function withClient(url: string, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}
