import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, PackhouseError } from '../base/mod.ts';
import { locateBinaries } from './binaries.ts';
import { isAlive, worksIn } from './processes.ts';
import { type SystemUser, systemUser } from './system-user.ts';

export const SUPERUSER = 'packhouse';
const MAJOR_VERSION = '18';
const LOG_BYTES_MAX = 16 * 2 ** 20;
const POLL_MS = 10;
const READY_WAIT_MS_MAX = 300_000;
const RETRY_MS_MAX = 15_000;

/** Given on the command line, so that nobody needs to edit postgresql.conf. What is not named has PostgreSQL's default. */
const SETTINGS: readonly string[] = [
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
  'max_connections=100',
  'shared_buffers=128MB',
  'synchronous_commit=on',
  'log_timezone=UTC',
  'timezone=UTC',
];

/** The files of one embedded PostgreSQL, under `<data.dir>/postgres`. */
export interface ClusterPaths {
  readonly folder: string;
  /** PostgreSQL's own data folder. */
  readonly cluster: string;
  readonly log: string;
}

/** A running postmaster. */
export interface Postmaster {
  readonly pid: number;
  readonly port: number;
}

/**
 * The postmaster that runs on this data folder, whoever started it, once it accepts connections; null when none does. Reads what
 * PostgreSQL writes into postmaster.pid: pid, folder, start time, port, socket folder, address, memory key, status, one a line.
 */
export function runningPostmaster(paths: ClusterPaths): (Postmaster & { readonly ready: boolean }) | null {
  let lines: string[];
  try {
    lines = readFileSync(join(paths.cluster, 'postmaster.pid'), 'utf8').split('\n');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  }
  const pid = Number(lines[0]);
  if (!Number.isInteger(pid) || pid <= 1 || !isAlive(pid) || worksIn(pid, paths.cluster) === false) return null;
  return { pid, port: Number(lines[3]), ready: lines[7]?.trim() === 'ready' };
}

/** Makes the data folder, unless it is there. It is made aside and renamed, so a killed process leaves none that is half made. */
export async function initialiseCluster(paths: ClusterPaths, password: string): Promise<void> {
  for (const name of readdirSync(paths.folder)) {
    if (name.startsWith('cluster.new-')) rmSync(join(paths.folder, name), { recursive: true, force: true });
  }
  const versionFile = join(paths.cluster, 'PG_VERSION');
  if (existsSync(versionFile)) {
    const version = readFileSync(versionFile, 'utf8').trim();
    if (version === MAJOR_VERSION) return;
    const message = `${paths.cluster} was made by PostgreSQL ${version}, the embedded one is ${MAJOR_VERSION}: use pg_upgrade or dump and restore`;
    throw new PackhouseError('embedded-version', message, { version });
  }
  const user = systemUser(paths.cluster);
  const fresh = mkdtempSync(join(paths.folder, 'cluster.new-'));
  const secrets = mkdtempSync(join(tmpdir(), 'packhouse-'));
  const passwordFile = join(secrets, 'password');
  try {
    writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
    chmodSync(fresh, 0o700);
    for (const path of user ? [fresh, secrets, passwordFile] : []) chownSync(path, user?.uid ?? 0, user?.gid ?? 0);
    const args = ['--username', SUPERUSER, '--pwfile', passwordFile, '--auth', 'scram-sha-256', '--encoding', 'UTF8'];
    const locale = ['--locale', 'C', '--locale-provider', 'builtin', '--builtin-locale', 'C.UTF-8'];
    await initdb([...args, ...locale], fresh, user);
    renameSync(fresh, paths.cluster);
  } finally {
    rmSync(secrets, { recursive: true, force: true });
    rmSync(fresh, { recursive: true, force: true });
  }
}

async function initdb(args: readonly string[], folder: string, user: SystemUser | undefined): Promise<void> {
  const child = spawn(locateBinaries(user).initdb, ['-D', folderArgument(folder, user), ...args], {
    ...spawnOptions(folder, user),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-4000);
  });
  const status = await ended(child);
  if (status !== 0) throw new PackhouseError('embedded-init', `initdb failed (${status}): ${stderr.trim()}`, { folder });
}

/**
 * Starts a postmaster and waits until it accepts connections. It has a session of its own: a Ctrl-C meant for us does not reach it, and
 * it outlives us when we are killed. What a killed process left (a stale postmaster.pid, backends that have not noticed yet
 * that their postmaster is gone) is waited for or cleaned.
 */
export async function startPostmaster(paths: ClusterPaths, port?: number): Promise<Postmaster> {
  const deadline = performance.now() + RETRY_MS_MAX;
  for (;;) {
    const chosen = port ?? (await freePort());
    removeStalePidFile(paths);
    const problem = await tryStart(paths, chosen);
    if (typeof problem !== 'string') return problem;
    // All but these is final. The first: somebody took the port between our look and PostgreSQL's.
    const passing = /could not bind|Address already in use|pre-existing shared memory block|lock file .* already exists/i.test(
      problem,
    );
    if (!passing || performance.now() > deadline) {
      throw new PackhouseError('embedded-start', `the embedded PostgreSQL did not start: ${problem}`, { log: paths.log });
    }
    await sleep(100);
  }
}

/** Stops a postmaster: politely (open transactions are rolled back), then at once, and as the last resort by force. */
export async function stopPostmaster(pid: number): Promise<void> {
  for (const [signal, waitMs] of [
    ['SIGINT', 60_000],
    ['SIGQUIT', 10_000],
    ['SIGKILL', 10_000],
  ] as const) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if (codeOf(error) === 'ESRCH') return;
      throw error;
    }
    const deadline = performance.now() + waitMs;
    while (performance.now() < deadline) {
      if (!isAlive(pid)) return;
      await sleep(POLL_MS);
    }
  }
  throw new PackhouseError('embedded-stop', `the embedded PostgreSQL (process ${pid}) does not stop`, { pid });
}

/** A postmaster that accepts connections, or what it said before it ended. */
async function tryStart(paths: ClusterPaths, port: number): Promise<Postmaster | string> {
  const user = systemUser(paths.cluster);
  if ((statSync(paths.log, { throwIfNoEntry: false })?.size ?? 0) > LOG_BYTES_MAX) rmSync(paths.log);
  const log = openSync(paths.log, 'a', 0o600);
  const logStart = statSync(paths.log).size;
  const settings = SETTINGS.flatMap((setting) => ['-c', setting]);
  const child = spawn(
    locateBinaries(user).postgres,
    ['-D', folderArgument(paths.cluster, user), '-p', String(port), ...settings],
    { ...spawnOptions(paths.cluster, user), stdio: ['ignore', log, log], detached: true },
  );
  closeSync(log);
  const end = ended(child);
  let status: string | number | undefined;
  end.then(
    (value) => (status = value),
    (error: unknown) => (status = String(error)),
  );
  const deadline = performance.now() + READY_WAIT_MS_MAX;
  while (status === undefined && performance.now() < deadline) {
    const running = runningPostmaster(paths);
    if (running?.ready && running.pid === child.pid) {
      child.unref();
      return { pid: running.pid, port: running.port };
    }
    await sleep(POLL_MS);
  }
  child.kill('SIGQUIT');
  const said = readFileSync(paths.log).subarray(logStart).toString('utf8').trim().slice(-2000);
  return `${status === undefined ? 'it is not ready after minutes' : `it ended (${status})`}: ${said}`;
}

function removeStalePidFile(paths: ClusterPaths): void {
  const path = join(paths.cluster, 'postmaster.pid');
  const pid = Number.parseInt(existsSync(path) ? readFileSync(path, 'utf8') : '', 10);
  // PostgreSQL takes any live process of its user for the old postmaster; we know when it works elsewhere.
  if (pid > 1 && (!isAlive(pid) || worksIn(pid, paths.cluster) === false)) rmSync(path, { force: true });
}

/**
 * How PostgreSQL is told its data folder. As another user it may not be able to pass through the parents (a checkout in /root), but
 * its working folder, which we set before the user changes, it always reaches; and every process of PostgreSQL works there.
 */
function folderArgument(folder: string, user: SystemUser | undefined): string {
  return user && process.platform === 'linux' ? '/proc/self/cwd' : folder;
}

function spawnOptions(folder: string, user: SystemUser | undefined) {
  // A small environment: none of the caller's PG* variables, locale or secrets.
  return { cwd: folder, ...user, env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', TZ: 'UTC' } };
}

function ended(child: ChildProcess): Promise<string | number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown'));
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Makes the folders, passable for the system user but listed by nobody else. */
export function makeFolders(paths: ClusterPaths): void {
  mkdirSync(paths.folder, { recursive: true, mode: 0o711 });
}
