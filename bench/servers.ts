import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { findRunningEmbedded } from '../internal/embedded/mod.ts';
import { createS3Store } from '../internal/packstore/mod.ts';
import { settledCpuSeconds } from './processes.ts';
import { countStatements, type StatementCount } from './statements.ts';

export type CountStatements = (part: () => Promise<unknown>) => Promise<StatementCount>;

/** A server under measurement. */
export interface Server {
  readonly name: 'packhouse' | 'git';
  readonly url: string;
  readonly pid: number;
  /** `bench/source.git` and the like have their files here, where the server keeps repositories in files. */
  readonly folder: string;
  /** CPU that the server took so far. */
  cpuSeconds(): Promise<number>;
  stop(): Promise<void>;
}

export interface PackhouseServer extends Server {
  /** Operations on the pack store so far, from /metrics. */
  storeRequests(): Promise<number>;
  /** The same, by operation: `get`, `put` and others. */
  storeOperations(): Promise<StoreOperations>;
  /**
   * Runs `work` while PostgreSQL logs every statement; `count` says what PostgreSQL was asked while a part of it ran. Slows the server
   * down: not for timed work.
   */
  withStatementLog(work: (count: CountStatements) => Promise<void>): Promise<void>;
  /**
   * Stops it and starts it again on its data, with more environment variables until the next time: every cache of the process is cold. Resolves
   * with milliseconds until ready.
   */
  restart(settings?: Readonly<Record<string, string>>): Promise<number>;
  /** Lets its maintenance do all that is due, then starts it again as it was first. */
  maintain(): Promise<void>;
}

/** Operations on the pack store by kind. */
export type StoreOperations = Readonly<Record<string, number>>;

/** Nothing works beside what is counted. */
export const NO_MAINTENANCE = { PACKHOUSE_MAINTENANCE_ENABLED: 'false' };

const MAIN = fileURLToPath(new URL('../cmd/packhouse/main.ts', import.meta.url));
const BRIDGE = fileURLToPath(new URL('./git-bridge.ts', import.meta.url));
const START_MS_MAX = 60_000;
const RELOAD_MS = 500;
/** Every kind of maintenance has looked for work by then, several times. */
const MAINTENANCE_MS_MIN = 4_000;
const MAINTENANCE_MS_MAX = 1_800_000;
const OFTEN = { PACKHOUSE_MAINTENANCE_INTERVAL: '200ms' };

/** Packhouse with its embedded PostgreSQL on an empty data folder; `settings` are environment variables, `atFirst` more of them until a restart. */
export async function startPackhouse(
  folder: string,
  store: 'fs' | 's3',
  settings: Readonly<Record<string, string>> = {},
  atFirst: Readonly<Record<string, string>> = {},
): Promise<PackhouseServer> {
  const s3 = store === 's3' ? s3Settings() : undefined;
  const environment = {
    ...inherited(),
    ...s3?.environment,
    ...settings,
    PACKHOUSE_DATA_DIR: folder,
    PACKHOUSE_LOG_LEVEL: 'warn',
  };
  let running: Running;
  const start = (listen: string, more: Readonly<Record<string, string>> = {}): Promise<Running> =>
    startProcess([MAIN, 'serve', '--http-listen', listen], folder, { ...environment, ...more }, async (said) => {
      const url = /listens on (http:\/\/\S+)/.exec(said)?.[1];
      const ready =
        url !== undefined &&
        (await fetch(`${url}/readyz`).then(
          ({ ok }) => ok,
          () => false,
        ));
      return ready ? url : undefined;
    });
  running = await start('127.0.0.1:0', atFirst);
  const { url } = running;
  const metrics = async (): Promise<string> => (await fetch(`${url}/metrics`)).text();
  const restart: PackhouseServer['restart'] = async (more) => {
    await running.stop();
    const from = performance.now();
    running = await start(new URL(url).host, more);
    return performance.now() - from;
  };
  return {
    name: 'packhouse',
    url,
    folder,
    get pid() {
      return running.pid;
    },
    async cpuSeconds() {
      // PostgreSQL is a child of the server.
      const { self, descendants } = await settledCpuSeconds(running.pid);
      return self + descendants;
    },
    storeRequests: async () => sumOf(storeOperationsIn(await metrics())),
    storeOperations: async () => storeOperationsIn(await metrics()),
    withStatementLog: (work) => withStatementLog(folder, work),
    restart,
    async maintain() {
      await restart(OFTEN);
      await whileMaintained(folder);
      await restart();
    },
    async stop() {
      await running.stop();
      await s3?.empty();
    },
  };
}

/** `git http-backend` behind the bridge; the bridge's own CPU is not counted. */
export async function startGit(folder: string): Promise<Server> {
  const running = await startProcess([BRIDGE, folder], folder, inherited(), (said) =>
    Promise.resolve(said.endsWith('\n') ? said.trim() : undefined),
  );
  return {
    name: 'git',
    url: running.url,
    pid: running.pid,
    folder,
    cpuSeconds: async () => (await settledCpuSeconds(running.pid)).descendants,
    stop: () => running.stop(),
  };
}

interface Running {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** The environment without settings of a Packhouse or of git. */
function inherited(): Record<string, string> {
  const kept = Object.entries(process.env).filter(([name]) => !/^(PACKHOUSE|GIT)_/.test(name));
  return Object.fromEntries(kept.map(([name, value]) => [name, value ?? '']));
}

/** Starts a Node program and waits until `urlIn` finds in what it prints that it is ready. */
async function startProcess(
  args: readonly string[],
  cwd: string,
  env: Record<string, string>,
  urlIn: (said: string) => Promise<string | undefined>,
): Promise<Running> {
  const child = spawn(process.execPath, args, { cwd, env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const deadline = performance.now() + START_MS_MAX;
  while (performance.now() < deadline && isAlive(child)) {
    const url = await urlIn(said);
    if (url !== undefined) return { url, pid: child.pid ?? -1, stop: () => stopProcess(child, ended) };
    await sleep(5);
  }
  child.kill('SIGKILL');
  throw new Error(`${args.join(' ')} did not become ready: ${said}`);
}

async function stopProcess(child: ChildProcess, ended: Promise<void>): Promise<void> {
  if (isAlive(child)) child.kill('SIGTERM');
  await ended;
}

function isAlive(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/** What prom-client's text format says, whatever the outcome. */
export function storeOperationsIn(metrics: string): StoreOperations {
  const operations: Record<string, number> = {};
  for (const [, operation = '', value] of metrics.matchAll(
    /^packhouse_store_requests_total\{operation="([^"]*)"[^}]*\} (\S+)$/gm,
  ))
    operations[operation] = (operations[operation] ?? 0) + Number(value);
  return operations;
}

export function sumOf(operations: StoreOperations): number {
  return Object.values(operations).reduce((sum, count) => sum + count, 0);
}

/** Waits until no maintenance is queued or runs. */
async function whileMaintained(dataDir: string): Promise<void> {
  const client = new pg.Client({ connectionString: embeddedUrl(dataDir) });
  await client.connect();
  try {
    const from = performance.now();
    for (let quiet = false; !quiet; ) {
      await sleep(MAINTENANCE_MS_MIN / 4);
      const { rows } = await client.query("select kind from maintenance_jobs where state in ('queued', 'running')");
      const milliseconds = performance.now() - from;
      quiet = milliseconds > MAINTENANCE_MS_MIN && rows.length === 0;
      if (milliseconds > MAINTENANCE_MS_MAX) throw new Error(`maintenance does not end: ${JSON.stringify(rows)}`);
    }
  } finally {
    await client.end();
  }
}

function embeddedUrl(dataDir: string): string {
  const url = findRunningEmbedded(dataDir);
  if (url === null) throw new Error(`no PostgreSQL runs on ${dataDir}`);
  return url;
}

/** Each statement is in the log before it is executed, so what an answer needed is there when the answer is. */
async function withStatementLog(dataDir: string, work: (count: CountStatements) => Promise<void>): Promise<void> {
  const log = join(dataDir, 'postgres', 'log');
  const url = embeddedUrl(dataDir);
  await alterSystem(url, "SET log_statement = 'all'");
  try {
    await work(async (part) => {
      const from = statSync(log).size;
      await part();
      return countStatements(tailOf(log, from));
    });
  } finally {
    await alterSystem(url, 'RESET log_statement');
  }
}

async function alterSystem(url: string, change: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(`ALTER SYSTEM ${change}`);
    await client.query('SELECT pg_reload_conf()');
  } finally {
    await client.end();
  }
  await sleep(RELOAD_MS);
}

function tailOf(path: string, from: number): string {
  const bytes = Buffer.alloc(statSync(path).size - from);
  const file = openSync(path, 'r');
  try {
    readSync(file, bytes, 0, bytes.length, from);
  } finally {
    closeSync(file);
  }
  return bytes.toString('latin1');
}

/** The object store of PACKHOUSE_TEST_S3_*, with a bucket for this run. */
function s3Settings(): { environment: Record<string, string>; empty: () => Promise<void> } {
  const { env } = process;
  const endpoint = env.PACKHOUSE_TEST_S3_ENDPOINT ?? '';
  if (endpoint === '')
    throw new Error('--store s3 needs PACKHOUSE_TEST_S3_ENDPOINT, _REGION, _BUCKET, _ACCESS_KEY and _SECRET_KEY');
  const region = env.PACKHOUSE_TEST_S3_REGION ?? 'us-east-1';
  const bucket = `${env.PACKHOUSE_TEST_S3_BUCKET ?? 'packhouse-test'}-bench-${randomBytes(6).toString('hex')}`;
  const accessKeyId = env.PACKHOUSE_TEST_S3_ACCESS_KEY ?? '';
  const secretAccessKey = env.PACKHOUSE_TEST_S3_SECRET_KEY ?? '';
  const environment = {
    PACKHOUSE_STORE_KIND: 's3',
    PACKHOUSE_STORE_S3_ENDPOINT: endpoint,
    PACKHOUSE_STORE_S3_REGION: region,
    PACKHOUSE_STORE_S3_BUCKET: bucket,
    PACKHOUSE_STORE_S3_ACCESS_KEY_ID: accessKeyId,
    PACKHOUSE_STORE_S3_SECRET_ACCESS_KEY: secretAccessKey,
    PACKHOUSE_FETCH_PACKFILE_URIS: 'true',
  };
  const empty = async (): Promise<void> => {
    const store = createS3Store({ endpoint, region, bucket, accessKeyId, secretAccessKey });
    for await (const { key } of store.list('')) await store.delete(key);
    await store.close();
  };
  return { environment, empty };
}

/** The model of the first CPU, as /proc/cpuinfo names it. */
export function cpuModel(): string {
  return /^model name\s*: (.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown';
}
