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
  /**
   * Runs `work` while PostgreSQL logs every statement; `count` says what PostgreSQL was asked while a part of it ran. Slows the server
   * down: not for timed work.
   */
  withStatementLog(work: (count: CountStatements) => Promise<void>): Promise<void>;
  /** Stops it and starts it again on its data: every cache of the process is cold. Resolves with milliseconds until ready. */
  restart(): Promise<number>;
}

const MAIN = fileURLToPath(new URL('../cmd/packhouse/main.ts', import.meta.url));
const BRIDGE = fileURLToPath(new URL('./git-bridge.ts', import.meta.url));
const START_MS_MAX = 60_000;
const RELOAD_MS = 500;

/** Packhouse with its embedded PostgreSQL on an empty data folder; `settings` are environment variables. */
export async function startPackhouse(
  folder: string,
  store: 'fs' | 's3',
  settings: Readonly<Record<string, string>> = {},
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
  const start = (listen: string): Promise<Running> =>
    startProcess([MAIN, 'serve', '--http-listen', listen], folder, environment, async (said) => {
      const url = /listens on (http:\/\/\S+)/.exec(said)?.[1];
      const ready =
        url !== undefined &&
        (await fetch(`${url}/readyz`).then(
          ({ ok }) => ok,
          () => false,
        ));
      return ready ? url : undefined;
    });
  running = await start('127.0.0.1:0');
  const { url } = running;
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
    storeRequests: async () => storeRequestsIn(await (await fetch(`${url}/metrics`)).text()),
    withStatementLog: (work) => withStatementLog(folder, work),
    async restart() {
      await running.stop();
      const from = performance.now();
      running = await start(new URL(url).host);
      return performance.now() - from;
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

/** The sum over operations of what prom-client's text format says. */
export function storeRequestsIn(metrics: string): number {
  const lines = metrics.matchAll(/^packhouse_store_requests_total(?:\{[^}]*\})? (\S+)$/gm);
  return [...lines].reduce((sum, [, value]) => sum + Number(value), 0);
}

/** Each statement is in the log before it is executed, so what an answer needed is there when the answer is. */
async function withStatementLog(dataDir: string, work: (count: CountStatements) => Promise<void>): Promise<void> {
  const log = join(dataDir, 'postgres', 'log');
  const url = findRunningEmbedded(dataDir);
  if (url === null) throw new Error(`no PostgreSQL runs on ${dataDir}`);
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
