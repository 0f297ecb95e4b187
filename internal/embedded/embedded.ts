import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { codeOf, type Logger, messageOf, PackhouseError } from '../base/mod.ts';
import {
  type ClusterPaths,
  initialiseCluster,
  makeFolders,
  type Postmaster,
  runningPostmaster,
  SUPERUSER,
  startPostmaster,
  stopPostmaster,
} from './cluster.ts';
import { withFolderLock } from './lock.ts';
import { isAlive, processIdentity } from './processes.ts';

const DATABASE = 'packhouse';
const WATCH_MS = 1000;
const ADOPT_WAIT_MS_MAX = 60_000;

interface Paths extends ClusterPaths {
  readonly password: string;
  /** One file for every handle that uses the cluster, named by process, holding that process's identity. */
  readonly users: string;
}

export interface EmbeddedOptions {
  /** `data.dir`; everything lies in its subfolder `postgres`. */
  readonly dataDir: string;
  readonly log: Logger;
}

/** A use of the embedded PostgreSQL. */
export interface EmbeddedPostgres {
  /** `postgres://…` with the password: never log it. Stays the same for as long as the handle lives. */
  readonly url: string;
  /** Ends this use; the last one that ends stops PostgreSQL. */
  stop(): Promise<void>;
}

let handles = 0;

/**
 * Joins the PostgreSQL that runs on the data folder, or starts one. A postmaster that dies while the handle lives is started again on its
 * port. Throws PackhouseError with a code `embedded-…`.
 */
export async function startEmbeddedPostgres({ dataDir, log }: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const paths = pathsOf(dataDir);
  makeFolders(paths);
  const use = join(paths.users, `${process.pid}-${++handles}`);
  let postmaster = await withFolderLock(paths.folder, async () => {
    takeUse(paths, use);
    try {
      return await ensureRunning(paths, log);
    } catch (error) {
      rmSync(use, { force: true });
      throw error;
    }
  });
  const { port } = postmaster;

  let stopping = false;
  const watch = async (): Promise<void> => {
    if (stopping || isAlive(postmaster.pid)) return;
    log.error({ pid: postmaster.pid }, 'the embedded PostgreSQL ended; starting it again');
    await withFolderLock(paths.folder, async () => {
      if (!stopping) postmaster = await ensureRunning(paths, log, port);
    });
  };
  let watching: Promise<void> = Promise.resolve();
  let busy = false;
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    watching = watch()
      .catch((error: unknown) => log.error({ error: messageOf(error) }, 'the embedded PostgreSQL could not be started again'))
      .finally(() => {
        busy = false;
      });
  }, WATCH_MS).unref();

  const stop = async (): Promise<void> => {
    if (stopping) return;
    stopping = true;
    clearInterval(timer);
    await watching;
    await withFolderLock(paths.folder, async () => {
      rmSync(use, { force: true });
      if (liveUses(paths) > 0) return;
      const running = runningPostmaster(paths);
      if (running) await stopPostmaster(running.pid);
    });
  };
  return { url: urlOf(readPassword(paths), port), stop };
}

/** The URL of the PostgreSQL that runs on the data folder and accepts connections, or null: for tools that must not start one. */
export function findRunningEmbedded(dataDir: string): string | null {
  const paths = pathsOf(dataDir);
  const running = runningPostmaster(paths);
  return running?.ready ? urlOf(readPassword(paths), running.port) : null;
}

async function ensureRunning(paths: Paths, log: Logger, port?: number): Promise<Postmaster> {
  const adopted = await adopt(paths, log);
  if (adopted && (port === undefined || adopted.port === port)) return adopted;
  if (adopted) await stopPostmaster(adopted.pid);

  makePassword(paths);
  const started = performance.now();
  await initialiseCluster(paths, readPassword(paths));
  const postmaster = await startPostmaster(paths, port);
  await ensureDatabase(urlOf(readPassword(paths), postmaster.port));
  log.info(
    { port: postmaster.port, pid: postmaster.pid, ms: Math.round(performance.now() - started) },
    'embedded PostgreSQL started',
  );
  return postmaster;
}

/** A postmaster that another process of ours started, or left behind when it was killed, if it is of use. */
async function adopt(paths: Paths, log: Logger): Promise<Postmaster | null> {
  const deadline = performance.now() + ADOPT_WAIT_MS_MAX;
  let running = runningPostmaster(paths);
  // It may still be starting or recovering, or stopping.
  while (running && !running.ready && performance.now() < deadline) {
    await sleep(20);
    running = runningPostmaster(paths);
  }
  if (running === null) return null;
  try {
    await ensureDatabase(urlOf(readPassword(paths), running.port));
    log.info({ port: running.port, pid: running.pid }, 'embedded PostgreSQL was running already');
    return running;
  } catch (error) {
    if (codeOf(error) === 'embedded-password') throw error;
    log.warn(
      { pid: running.pid, error: messageOf(error) },
      'the embedded PostgreSQL that was left behind does not answer; stopping it',
    );
    await stopPostmaster(running.pid);
    return null;
  }
}

/** Connects, and creates the database when it is missing. */
async function ensureDatabase(url: string): Promise<void> {
  try {
    await queryOnce(url, 'select 1');
  } catch (error) {
    if (codeOf(error) === '28P01') {
      const message = "the embedded PostgreSQL refuses the password in the data folder's file postgres/password";
      throw new PackhouseError('embedded-password', message, {}, { cause: error });
    }
    if (codeOf(error) !== '3D000') throw error;
    await queryOnce(url.replace(/[^/]*$/, 'postgres'), `create database ${DATABASE}`);
  }
}

async function queryOnce(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000, query_timeout: 30_000 });
  // Without a listener, a connection that breaks between queries would end the process.
  client.on('error', () => undefined);
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** Written whole and synced before the cluster is made: a cluster never exists without its password. */
function makePassword(paths: Paths): void {
  const exists = readdirSync(paths.folder).includes('password');
  if (exists) return;
  if (readdirSync(paths.folder).includes('cluster')) {
    throw new PackhouseError('embedded-password', `${paths.password} is missing: the database in ${paths.cluster} needs it`);
  }
  const fresh = `${paths.password}.new`;
  const file = openSync(fresh, 'w', 0o600);
  writeSync(file, `${randomBytes(24).toString('hex')}\n`);
  fsyncSync(file);
  closeSync(file);
  renameSync(fresh, paths.password);
}

function readPassword(paths: Paths): string {
  try {
    return readFileSync(paths.password, 'utf8').trim();
  } catch (error) {
    const message = `cannot read ${paths.password} (run as the user that the server runs as): ${messageOf(error)}`;
    throw new PackhouseError('embedded-password', message, {}, { cause: error });
  }
}

function takeUse(paths: Paths, use: string): void {
  mkdirSync(paths.users, { recursive: true, mode: 0o700 });
  writeFileSync(use, processIdentity(process.pid), { mode: 0o600 });
}

/** How many handles of live processes use the cluster; what dead ones left is removed. */
function liveUses(paths: Paths): number {
  return readdirSync(paths.users).filter((name) => {
    const pid = Number.parseInt(name, 10);
    const live = isAlive(pid) && processIdentity(pid) === readFileSync(join(paths.users, name), 'utf8');
    if (!live) rmSync(join(paths.users, name), { force: true });
    return live;
  }).length;
}

function urlOf(password: string, port: number): string {
  return `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/${DATABASE}`;
}

function pathsOf(dataDir: string): Paths {
  const folder = resolve(dataDir, 'postgres');
  return {
    folder,
    cluster: join(folder, 'cluster'),
    log: join(folder, 'log'),
    password: join(folder, 'password'),
    users: join(folder, 'users'),
  };
}
