import { randomBytes } from 'node:crypto';
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

/** A database of its own, at the newest schema, on real PostgreSQL. */
export async function startTestDatabase(): Promise<TestDatabase> {
  const server = await startEmbeddedPostgres({ dataDir: SHARED, log: createLogger('silent') });
  const name = `test_${randomBytes(8).toString('hex')}`;
  try {
    await runOnce(server.url, `create database ${name}`);
    const url = server.url.replace(/[^/]*$/, name);
    await migrate(url);
    return {
      url,
      async stop() {
        await runOnce(server.url, `drop database ${name} with (force)`);
        await server.stop();
      },
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

async function runOnce(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
