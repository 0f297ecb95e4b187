import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { createFsStore, createS3Store, type PackStore } from '../packstore/mod.ts';
import { startTestDatabase } from './database.ts';
import { scratchFolder } from './folder.ts';

export type StoreKind = 'fs' | 's3';

export interface ServerOptions {
  readonly store?: StoreKind;
  /** More arguments of `packhouse serve`. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /**
   * `shared`: a database of its own in the PostgreSQL of all tests, unless `env` names one. `embedded`: the server starts its own
   * PostgreSQL.
   */
  readonly database?: 'shared' | 'embedded';
}

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface TestServer {
  /** `http://127.0.0.1:port`, the same after a restart. */
  readonly url: string;
  readonly pid: number;
  readonly dataDir: string;
  /** What the server stored, read past the server. */
  readonly store: PackStore;
  /** Everything the server wrote to stderr, restarts included. */
  log(): string;
  /** Rows of a statement on the server's database. */
  query<T extends pg.QueryResultRow>(sql: string, values?: readonly unknown[]): Promise<T[]>;
  /** Another verb of the CLI, with the server's configuration. */
  packhouse(...args: readonly string[]): Promise<CliResult>;
  /** The same with more environment. */
  packhouseWith(env: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<CliResult>;
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
  /** SIGKILL, as a crash: nothing is tidied. */
  kill9(): Promise<void>;
  /** Starts the server again on the same data and port, after `stop` or `kill9`. */
  restart(): Promise<void>;
  /** Another server process on the same catalog and store; it is stopped by the caller. */
  startPeer(env: Readonly<Record<string, string>>, options?: PeerOptions): Promise<TestPeer>;
  /** Stops the server and deletes what it stored. */
  close(): Promise<void>;
}

export interface PeerOptions {
  /** It may end before it is ready: that is what the test is about. */
  readonly mayDie?: boolean;
}

export interface TestPeer {
  readonly url: string;
  readonly pid: number;
  log(): string;
  /** SIGTERM, and SIGKILL after a minute or as long as is told; resolves with the exit code. */
  stop(waitMsMax?: number): Promise<number | null>;
  kill9(): Promise<void>;
  /** Resolves when the process is gone, whyever: with its exit code, null when it was killed. */
  exited(): Promise<number | null>;
  /** Starts it again on its port, with other environment in the place of what `startPeer` added when it is given. */
  restart(more?: Readonly<Record<string, string>>): Promise<void>;
}

const MAIN = fileURLToPath(new URL('../../cmd/packhouse/main.ts', import.meta.url));
const START_WAIT_MS_MAX = 60_000;
const STOP_WAIT_MS_MAX = 60_000;

/** The stores that this run can test on: S3 only where `make test` (or the caller) has set PACKHOUSE_TEST_S3_*. */
export function testStores(): readonly StoreKind[] {
  return (process.env.PACKHOUSE_TEST_S3_ENDPOINT ?? '') === '' ? ['fs'] : ['fs', 's3'];
}

/** Starts the real server as a process of its own, without git in its PATH, and waits until it is ready. */
export async function startServer(options: ServerOptions = {}): Promise<TestServer> {
  const kind = options.store ?? 'fs';
  const dataDir = scratchFolder('data');
  const given = options.env?.PACKHOUSE_DATABASE_URL;
  const database = options.database === 'embedded' || given !== undefined ? undefined : await startTestDatabase();
  const databaseUrl = (): string => given ?? database?.url ?? embeddedUrl(dataDir);
  const { env: storeEnv, store } = openStore(kind, dataDir);
  const env: Record<string, string> = {
    // An empty folder: the server must not need a git, or anything else of the machine.
    PATH: scratchFolder('no-git'),
    HOME: dataDir,
    NO_COLOR: '1',
    PACKHOUSE_DATA_DIR: dataDir,
    PACKHOUSE_LOG_LEVEL: 'info',
    // What a test finds must not depend on what happens beside it: tests of these turn them on.
    PACKHOUSE_MAINTENANCE_ENABLED: 'false',
    PACKHOUSE_PUSH_WARM_UP: 'false',
    ...(database === undefined ? {} : { PACKHOUSE_DATABASE_URL: database.url }),
    // As `make serve` does it.
    ...(process.env.NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE }),
    ...storeEnv,
    ...options.env,
  };
  const running = new Running(env, options.flags ?? []);
  let pool: pg.Pool | undefined;
  const connect = (): pg.Pool => {
    if (pool === undefined) {
      pool = new pg.Pool({ connectionString: databaseUrl(), max: 2 });
      // A connection that the server's restart cuts between two statements is no error of a test.
      pool.on('error', () => undefined);
    }
    return pool;
  };
  const disconnect = async (): Promise<void> => {
    const open = pool;
    pool = undefined;
    await open?.end();
  };
  const close = async (): Promise<void> => {
    await disconnect();
    await running.stop();
    if (kind === 's3') for await (const { key } of store.list('')) await store.delete(key);
    await store.close();
    await database?.stop();
  };
  try {
    await running.start();
  } catch (error) {
    await close().catch(() => undefined);
    throw error;
  }
  return {
    url: running.url,
    get pid() {
      return running.pid;
    },
    dataDir,
    store,
    log: () => running.log,
    query: async (sql, values = []) => (await connect().query(sql, [...values])).rows,
    packhouse: (...args) => runCli(args, env),
    packhouseWith: (more, ...args) => runCli(args, { ...env, PACKHOUSE_DATABASE_URL: databaseUrl(), ...more }),
    stop: () => running.stop(),
    kill9: async () => {
      if (options.database === 'embedded') await disconnect();
      await running.kill();
    },
    restart: () => running.start(),
    async startPeer(more, { mayDie = false } = {}) {
      const base = { ...env, PACKHOUSE_DATABASE_URL: databaseUrl() };
      const peer = new Running({ ...base, ...more }, []);
      const forgive = (error: unknown): void => {
        if (!mayDie) throw error;
      };
      await peer.start().catch(forgive);
      return {
        url: peer.url,
        get pid() {
          return peer.pid;
        },
        log: () => peer.log,
        stop: (waitMsMax) => peer.stop(waitMsMax),
        kill9: () => peer.kill(),
        exited: () => peer.exited(),
        async restart(other) {
          if (other !== undefined) peer.env = { ...base, ...other };
          await peer.start().catch(forgive);
        },
      };
    },
    close,
  };
}

/** One server process after another on the same address. */
class Running {
  url = '';
  log = '';
  env: Record<string, string>;
  readonly #flags: readonly string[];
  #child: ChildProcess | undefined;
  #exit: Promise<number | null> = Promise.resolve(0);

  constructor(env: Record<string, string>, flags: readonly string[]) {
    this.env = env;
    this.#flags = flags;
  }

  get pid(): number {
    return this.#child?.pid ?? -1;
  }

  async start(): Promise<void> {
    const listen = this.url === '' ? '127.0.0.1:0' : new URL(this.url).host;
    const args = [MAIN, 'serve', '--http-listen', listen, ...this.#flags];
    const child = spawn(process.execPath, args, {
      cwd: this.env.HOME ?? '/',
      env: this.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
    });
    let ended = false;
    this.#exit = new Promise((resolve) =>
      child.once('exit', (code) => {
        ended = true;
        resolve(code);
      }),
    );
    const deadline = performance.now() + START_WAIT_MS_MAX;
    while (performance.now() < deadline && !ended) {
      const url = /listens on (http:\/\/\S+)/.exec(said)?.[1];
      if (url !== undefined && (await isReady(url))) {
        this.url = url;
        return;
      }
      await sleep(20);
    }
    child.kill('SIGKILL');
    throw new Error(`the server did not become ready: ${said}\n${this.log.slice(-4000)}`);
  }

  async stop(waitMsMax = STOP_WAIT_MS_MAX): Promise<number | null> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return this.#exit;
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), waitMsMax);
    const code = await this.#exit;
    clearTimeout(timer);
    return code;
  }

  exited(): Promise<number | null> {
    return this.#exit;
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#exit;
  }
}

async function isReady(url: string): Promise<boolean> {
  return fetch(`${url}/readyz`).then(
    async (answer) => {
      await answer.arrayBuffer();
      return answer.ok;
    },
    () => false,
  );
}

function openStore(kind: StoreKind, dataDir: string): { env: Record<string, string>; store: PackStore } {
  if (kind === 'fs') return { env: { PACKHOUSE_STORE_KIND: 'fs' }, store: createFsStore({ root: join(dataDir, 'packs') }) };
  const { env } = process;
  const endpoint = env.PACKHOUSE_TEST_S3_ENDPOINT ?? '';
  const region = env.PACKHOUSE_TEST_S3_REGION ?? 'us-east-1';
  // A bucket for each server: the number of objects in it is the server's alone.
  const bucket = `${env.PACKHOUSE_TEST_S3_BUCKET ?? 'packhouse-test'}-e2e-${randomBytes(6).toString('hex')}`;
  const accessKeyId = env.PACKHOUSE_TEST_S3_ACCESS_KEY ?? '';
  const secretAccessKey = env.PACKHOUSE_TEST_S3_SECRET_KEY ?? '';
  return {
    store: createS3Store({ endpoint, region, bucket, accessKeyId, secretAccessKey, createBucket: true }),
    env: {
      PACKHOUSE_STORE_KIND: 's3',
      PACKHOUSE_STORE_S3_ENDPOINT: endpoint,
      PACKHOUSE_STORE_S3_REGION: region,
      PACKHOUSE_STORE_S3_BUCKET: bucket,
      PACKHOUSE_STORE_S3_ACCESS_KEY_ID: accessKeyId,
      PACKHOUSE_STORE_S3_SECRET_ACCESS_KEY: secretAccessKey,
    },
  };
}

/** Where the PostgreSQL that the server started listens, from its own files. */
function embeddedUrl(dataDir: string): string {
  const password = readFileSync(join(dataDir, 'postgres', 'password'), 'utf8').trim();
  const port = readFileSync(join(dataDir, 'postgres', 'cluster', 'postmaster.pid'), 'utf8').split('\n')[3];
  return `postgres://packhouse:${password}@127.0.0.1:${port}/packhouse`;
}

async function runCli(args: readonly string[], env: Record<string, string>): Promise<CliResult> {
  const child = spawn(process.execPath, [MAIN, ...args], { cwd: env.HOME ?? '/', env, stdio: ['ignore', 'pipe', 'pipe'] });
  const text = async (stream: typeof child.stdout): Promise<string> => (await stream.setEncoding('utf8').toArray()).join('');
  const [stdout, stderr, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise<number | null>((resolve) => child.once('close', resolve)),
  ]);
  return { code, stdout, stderr };
}

/** The process's peak resident memory since `resetPeakMemory`, in bytes (Linux). */
export function peakMemoryBytes(pid: number): number {
  const line = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  if (line === null) throw new Error(`no VmHWM for process ${pid}`);
  return Number(line[1]) * 1024;
}

/** Lets the peak start again from what is in use now; where the kernel refuses, the peak stays that of the process's life. */
export function resetPeakMemory(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
  } catch {
    // an older peak only makes a bound harder to keep
  }
}
