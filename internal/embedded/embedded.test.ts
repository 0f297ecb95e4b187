import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { createLogger } from '../base/mod.ts';
import { isPassable } from './binaries.ts';
import { withFolderLock } from './lock.ts';
import { findRunningEmbedded, startEmbeddedPostgres } from './mod.ts';
import { isAlive, processIdentity } from './processes.ts';

const log = createLogger('silent');
const isRoot = process.getuid?.() === 0;
const NOBODY = 65_534;
let folder: string;
let dataDir: string;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'packhouse-embedded-'));
  // The folder above is closed (mode 700): what a checkout under /root looks like to the system user.
  dataDir = join(folder, 'data');
});
after(() => rmSync(folder, { recursive: true, force: true }));

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(text)).rows as Record<string, unknown>[];
  } finally {
    await client.end();
  }
}

function postmasterPid(dir = dataDir): number {
  return Number.parseInt(readFileSync(join(dir, 'postgres', 'cluster', 'postmaster.pid'), 'utf8'), 10);
}

/** A process of its own that starts PostgreSQL, prints its URL and waits; on end of input it stops it. */
async function startInProcess(dir: string, uid?: number): Promise<{ child: ChildProcess; url: string }> {
  const program = `
    import { startEmbeddedPostgres } from ${JSON.stringify(new URL('./mod.ts', import.meta.url).href)};
    import { createLogger } from ${JSON.stringify(new URL('../base/mod.ts', import.meta.url).href)};
    const running = await startEmbeddedPostgres({ dataDir: process.argv[1], log: createLogger('silent') });
    console.log(running.url);
    process.stdin.resume().on('end', () => running.stop());`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, dir], {
    stdio: ['pipe', 'pipe', 'inherit'],
    ...(uid === undefined ? {} : { uid, gid: uid, cwd: '/' }),
  });
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout?.setEncoding('utf8').once('data', (text: string) => resolve(text.trim()));
    child.once('exit', (code) => reject(new Error(`ended with ${code} before PostgreSQL was up`)));
  });
  return { child, url };
}

async function endOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => (child.exitCode !== null ? resolve(child.exitCode) : child.once('exit', resolve)));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(10);
}

test('starts PostgreSQL 18 on loopback, keeps data over a restart, and stops it', async () => {
  const first = await startEmbeddedPostgres({ dataDir, log });
  assert.match(first.url, /^postgres:\/\/packhouse:[0-9a-f]{48}@127\.0\.0\.1:\d+\/packhouse$/);
  const [version] = await query(first.url, 'show server_version');
  assert.match(String(version?.server_version), /^18\./);
  const settings = await query(first.url, "select name, setting from pg_settings where name in ('fsync', 'synchronous_commit')");
  assert.deepEqual(new Set(settings.map((row) => row.setting)), new Set(['on']));
  await query(first.url, 'create table kept as select 42 as answer');
  assert.equal(findRunningEmbedded(dataDir), first.url);
  const pid = postmasterPid();
  await first.stop();
  await first.stop();
  assert.equal(findRunningEmbedded(dataDir), null);
  assert.ok(!isAlive(pid));

  const second = await startEmbeddedPostgres({ dataDir, log });
  assert.deepEqual(await query(second.url, 'select answer from kept'), [{ answer: 42 }]);
  await second.stop();
});

test('the password is for its owner only, and wrong ones are refused', async () => {
  assert.equal(statSync(join(dataDir, 'postgres', 'password')).mode & 0o777, 0o600);
  assert.equal(statSync(join(dataDir, 'postgres', 'cluster')).mode & 0o777, 0o700);
  const running = await startEmbeddedPostgres({ dataDir, log });
  await assert.rejects(query(running.url.replace(/:[0-9a-f]{48}@/, ':guess@'), 'select 1'), /password authentication failed/);
  await running.stop();
});

test('several users share one PostgreSQL, and the last one out stops it', async () => {
  const server = await startInProcess(dataDir);
  const verb = await startEmbeddedPostgres({ dataDir, log });
  assert.equal(verb.url, server.url);
  server.child.stdin?.end();
  assert.equal(await endOf(server.child), 0);
  await query(verb.url, 'select 1');
  await verb.stop();
  assert.equal(findRunningEmbedded(dataDir), null);
});

test('simultaneous first starts make one cluster', async () => {
  const fresh = join(folder, 'race');
  const uses = await Promise.all([0, 1, 2].map(() => startEmbeddedPostgres({ dataDir: fresh, log })));
  assert.equal(new Set(uses.map((use) => use.url)).size, 1);
  await Promise.all(uses.map((use) => use.stop()));
  assert.equal(findRunningEmbedded(fresh), null);
});

test('a PostgreSQL left behind by kill -9 of its process is joined, and then stopped', async () => {
  const killed = await startInProcess(dataDir);
  await query(killed.url, 'create table survives as select 1 as one');
  killed.child.kill('SIGKILL');
  await endOf(killed.child);
  assert.equal(findRunningEmbedded(dataDir), killed.url, 'it outlives the process');

  const next = await startEmbeddedPostgres({ dataDir, log });
  assert.equal(next.url, killed.url);
  assert.deepEqual(await query(next.url, 'select one from survives'), [{ one: 1 }]);
  await next.stop();
  assert.equal(findRunningEmbedded(dataDir), null);
});

test('kill -9 of both: the next start recovers what was committed', async () => {
  const killed = await startInProcess(dataDir);
  await query(killed.url, 'create table committed as select generate_series(1, 1000) as n');
  killed.child.kill('SIGKILL');
  process.kill(postmasterPid(), 'SIGKILL');
  await endOf(killed.child);
  assert.ok(existsSync(join(dataDir, 'postgres', 'cluster', 'postmaster.pid')), 'a stale pid file is there');
  const next = await startEmbeddedPostgres({ dataDir, log });
  assert.deepEqual(await query(next.url, 'select count(*)::int as n from committed'), [{ n: 1000 }]);
  await next.stop();
});

test('a postmaster that is killed under a live user comes back on its port', async () => {
  const running = await startEmbeddedPostgres({ dataDir, log });
  const killed = postmasterPid();
  process.kill(killed, 'SIGKILL');
  await until(() => findRunningEmbedded(dataDir) === running.url && postmasterPid() !== killed);
  await query(running.url, 'select 1');
  await running.stop();
  assert.equal(findRunningEmbedded(dataDir), null);
});

test('a pid file that names a live process of something else does not stop the start', async () => {
  const other = spawn('sleep', ['600'], isRoot ? ownerOf(join(dataDir, 'postgres', 'cluster')) : {});
  try {
    const path = join(dataDir, 'postgres', 'cluster', 'postmaster.pid');
    writeFileSync(path, `${other.pid}\n/elsewhere\n1\n5432\n\n127.0.0.1\n  1  1\nready   \n`, { mode: 0o600 });
    assert.equal(findRunningEmbedded(dataDir), null);
    const running = await startEmbeddedPostgres({ dataDir, log });
    await query(running.url, 'select 1');
    await running.stop();
    assert.ok(isAlive(other.pid as number), 'and the other process is left alone');
  } finally {
    other.kill();
  }
});

function ownerOf(path: string): { uid: number; gid: number } {
  const { uid, gid } = statSync(path);
  return { uid, gid };
}

test('a half-made cluster is made anew', async () => {
  const fresh = join(folder, 'half');
  mkdirSync(join(fresh, 'postgres', 'cluster.new-abc', 'base'), { recursive: true });
  const running = await startEmbeddedPostgres({ dataDir: fresh, log });
  await running.stop();
  assert.deepEqual(
    readdirSync(join(fresh, 'postgres')).filter((name) => name.startsWith('cluster')),
    ['cluster'],
  );
});

test('a cluster of another major version is refused by name, not touched', async () => {
  const old = join(folder, 'old');
  mkdirSync(join(old, 'postgres', 'cluster'), { recursive: true });
  writeFileSync(join(old, 'postgres', 'cluster', 'PG_VERSION'), '17\n');
  writeFileSync(join(old, 'postgres', 'password'), 'x\n');
  await assert.rejects(startEmbeddedPostgres({ dataDir: old, log }), { code: 'embedded-version' });
  assert.deepEqual(readdirSync(join(old, 'postgres', 'users')), []);
});

test('a cluster whose password is lost is refused by name', async () => {
  const lost = join(folder, 'lost');
  mkdirSync(join(lost, 'postgres', 'cluster'), { recursive: true });
  await assert.rejects(startEmbeddedPostgres({ dataDir: lost, log }), { code: 'embedded-password' });
});

test('it runs for an ordinary user', { skip: !isRoot && 'every other test does, when not root' }, async () => {
  const theirs = mkdtempSync(join(tmpdir(), 'packhouse-ordinary-'));
  try {
    chownSync(theirs, NOBODY, NOBODY);
    chmodSync(theirs, 0o700);
    const { child, url } = await startInProcess(join(theirs, 'data'), NOBODY);
    await query(url, 'select 1');
    assert.equal(statSync(join(theirs, 'data', 'postgres', 'cluster')).uid, NOBODY);
    const pid = postmasterPid(join(theirs, 'data'));
    child.stdin?.end();
    assert.equal(await endOf(child), 0);
    assert.ok(!isAlive(pid));
  } finally {
    rmSync(theirs, { recursive: true, force: true });
  }
});

test('the folder lock is exclusive, and returned by a process that is killed', async () => {
  let inside = 0;
  await Promise.all(
    [0, 1, 2, 3].map(() =>
      withFolderLock(folder, async () => {
        assert.equal(++inside, 1);
        await sleep(5);
        inside--;
      }),
    ),
  );
  const program = `
    import { withFolderLock } from ${JSON.stringify(new URL('./lock.ts', import.meta.url).href)};
    await withFolderLock(process.argv[1], () => new Promise((resolve) => { console.log('held'); setTimeout(resolve, 600_000); }));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  let taken = false;
  const waiting = withFolderLock(folder, async () => {
    taken = true;
  });
  await sleep(60);
  assert.equal(taken, false);
  child.kill('SIGKILL');
  await waiting;
});

test('a process is told from a later one of the same id, and a folder closed to a user is seen', () => {
  assert.equal(processIdentity(process.pid), processIdentity(process.pid));
  assert.notEqual(processIdentity(process.pid), processIdentity(1));
  assert.equal(processIdentity(2 ** 30), '');
  const closed = mkdtempSync(join(tmpdir(), 'packhouse-closed-'));
  try {
    assert.equal(isPassable(closed, { uid: NOBODY, gid: NOBODY }), false);
    chmodSync(closed, 0o711);
    assert.equal(isPassable(closed, { uid: NOBODY, gid: NOBODY }), true);
  } finally {
    rmSync(closed, { recursive: true });
  }
});
