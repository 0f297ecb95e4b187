import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { resolveBinary } from 'dbmate';
import pg from 'pg';
import { PackhouseError } from '../base/mod.ts';

const MIGRATIONS = fileURLToPath(new URL('../../db/migrations', import.meta.url));
/** Any number that nobody else takes an advisory lock on: "packhous" in ASCII, kept within a signed bigint. */
const LOCK = '8097862789571016051';

/**
 * Brings the database at `url` to the newest schema and tells the files that were applied, none when it was there already. Processes
 * that start at the same time take turns. Each file is a transaction of its own, so a failed one leaves the schema before it.
 *
 * @throws PackhouseError `migration-failed` with what dbmate said
 */
export async function migrate(url: string): Promise<readonly string[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  client.on('error', () => undefined);
  await client.connect();
  try {
    await client.query(`select pg_advisory_lock(${LOCK})`);
    return (await isCurrent(client)) ? [] : await runDbmate(url);
  } finally {
    // Ending the session returns the lock.
    await client.end();
  }
}

/** Whether dbmate has noted every file: then it need not be started, which takes longer than all else here. */
async function isCurrent(client: pg.Client): Promise<boolean> {
  const known = await client.query<{ known: boolean }>("select to_regclass('schema_migrations') is not null as known");
  if (!known.rows[0]!.known) return false;
  const { rows } = await client.query<{ version: string }>('select version from schema_migrations');
  const applied = new Set(rows.map(({ version }) => version));
  const files = readdirSync(MIGRATIONS).filter((name) => name.endsWith('.sql'));
  return files.every((name) => applied.has(name.replace(/_.*/, '')));
}

async function runDbmate(url: string): Promise<readonly string[]> {
  const child = spawn(resolveBinary(), ['--no-dump-schema', '--migrations-dir', MIGRATIONS, 'migrate'], {
    // By the environment, not as an argument: arguments are visible to every user of the machine.
    env: { PATH: process.env.PATH, DATABASE_URL: dbmateUrl(url) },
    // Not the caller's folder, where dbmate would read a .env file.
    cwd: dirname(MIGRATIONS),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const status = await new Promise<number | string>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown'));
  });
  if (status !== 0) throw new PackhouseError('migration-failed', `the migration failed (${status}): ${output.trim()}`);
  return [...output.matchAll(/^Applied: (\S+)/gm)].map((match) => match[1] as string);
}

/** Where a URL says nothing of TLS, pg connects without it; dbmate would insist on it. */
function dbmateUrl(url: string): string {
  const parsed = new URL(url);
  if (!parsed.searchParams.has('sslmode')) parsed.searchParams.set('sslmode', 'disable');
  return parsed.href;
}
