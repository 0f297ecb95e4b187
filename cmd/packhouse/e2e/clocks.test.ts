import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  FastImport,
  git,
  makeRepository,
  scratchFolder,
  seededBytes,
  startServer,
  startTestDatabase,
  type TestPeer,
  type TestServer,
  testStores,
  tryGit,
  wireRequest,
} from '../../../internal/testkit/mod.ts';
import { startPeers } from './fleet-testing.ts';
import { RoundRobin } from './round-robin-testing.ts';
import { checkRepository, HURRIED, readOnce, SWEPT_UNDER_THE_CLIENT, Writer } from './soak-testing.ts';

const IS_LONG = process.env.TORTURE_SECONDS !== undefined;
const SECONDS = IS_LONG ? 120 : 5;
const SEED = Number(process.env.TORTURE_SEED ?? 1);
const HOUR_MS = 3_600_000;
const AHEAD = clock(String(2 * HOUR_MS));
const BEHIND = clock(String(-2 * HOUR_MS));
/** There and back, every second and a half. */
const JUMPING = clock(`(Math.floor(performance.now() / 1500) % 2 ? ${2 * HOUR_MS} : ${-2 * HOUR_MS})`);

/** The environment of a process whose clock is off by so many milliseconds, an expression; its threads and children have the same. */
function clock(shiftMs: string): Readonly<Record<string, string>> {
  const script = `const Real = Date;
    const now = () => Real.now() + ${shiftMs};
    globalThis.Date = new Proxy(Real, {
      construct: (target, args, made) => Reflect.construct(target, args.length === 0 ? [now()] : args, made),
      apply: () => new Real(now()).toString(),
      get: (target, key, receiver) => (key === 'now' ? now : Reflect.get(target, key, receiver)),
    });`;
  return { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(script)}` };
}

for (const store of testStores())
  describe(`servers whose clocks are hours ahead, behind, and jumping (${store})`, () => {
    test('push, fetch, seal, compact, sweep and write snapshots together: nothing is lost, and no lease is taken from anybody', async (context) => {
      const server = await startServer({ store, env: HURRIED });
      const peers: TestPeer[] = [];
      const proxy = await RoundRobin.start(() => peers.map(({ url }) => url));
      try {
        const environments = [AHEAD, BEHIND, JUMPING].map((env) => ({ ...env, PACKHOUSE_MAINTENANCE_ENABLED: 'true' }));
        peers.push(...(await startPeers(server, environments)));
        const writers = await Promise.all([0, 1].map((i) => Writer.create(`clock/r${i}`, SEED * 100 + i)));
        for (const writer of writers) await writer.step(proxy.url);
        const deadline = performance.now() + SECONDS * 1000;
        let clones = 0;
        const read = async (writer: Writer): Promise<void> => {
          while (performance.now() < deadline) {
            const found = await readOnce(proxy.url, writer);
            if (typeof found === 'string') assert.match(found, SWEPT_UNDER_THE_CLIENT);
            else clones++;
          }
        };
        const write = async (writer: Writer): Promise<void> => {
          while (performance.now() < deadline) await writer.step(proxy.url);
        };
        await Promise.all([...writers.map(write), read(writers[0]!)]);
        for (const writer of writers) await checkRepository(proxy.url, writer);
        const count = async () => {
          const [jobs] = await server.query<{ done: number; odd: number; snapshots: number; odd_snapshots: number }>(
            `select count(*) filter (where state = 'done')::integer as done, count(*) filter (where lost > 0 or state = 'failed')::integer as odd,
               (select count(*)::integer from catalog_snapshots) as snapshots,
               (select count(*)::integer from catalog_snapshots where taken_at > clock_timestamp()
                  or taken_at < clock_timestamp() - interval '30 minutes') as odd_snapshots from maintenance_jobs`,
          );
          return jobs!;
        };
        // On a busy machine maintenance has come to little yet.
        const patience = performance.now() + 120_000;
        let jobs = await count();
        while ((jobs.done === 0 || jobs.snapshots === 0) && performance.now() < patience) {
          await sleep(100);
          jobs = await count();
        }
        await Promise.all(peers.map((peer) => peer.stop()));
        jobs = await count();
        for (const peer of peers)
          assert.doesNotMatch(peer.log(), /lease-lost|not leased any more|taken the job over|was not done/);
        const pushes = writers.reduce((sum, writer) => sum + writer.pushes, 0);
        context.diagnostic(`seed ${SEED}: ${pushes} pushes, ${clones} clones, ${jobs.done} jobs, ${jobs.snapshots} snapshots`);
        assert.deepEqual([jobs.odd, jobs.odd_snapshots], [0, 0]);
        assert(jobs.done > 0 && jobs.snapshots > 0);
        const fsck = await server.packhouse('fsck');
        assert.equal(fsck.code, 0, fsck.stdout + fsck.stderr);
      } finally {
        await proxy.stop();
        await Promise.all(peers.map((peer) => peer.stop()));
        await server.close();
      }
    });
  });

describe('a clock that is off', () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ env: { PACKHOUSE_PUSH_TAIL_BYTES_MAX: '100KiB' } });
  });
  after(() => server.close());

  async function verb(env: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await server.packhouseWith(env, ...args);
    assert.equal(code, 0, stdout + stderr);
    return stdout;
  }

  async function commit(local: string, n: number, bytes: number, parents: readonly string[]): Promise<string> {
    const importer = new FastImport(1_760_000_000 + n);
    importer.commit('refs/heads/next', { [`file${n}`]: seededBytes(n, bytes) }, { parents: [...parents] });
    await importer.into(local);
    return git(['rev-parse', 'refs/heads/next'], { cwd: local });
  }

  test('lets nothing go before its time: what refs named, what was replaced, orphans, unfinished files', async () => {
    const url = `${server.url}/clock/sweep.git`;
    const local = await makeRepository();
    const first = await commit(local, 1, 300_000, []);
    await git(['push', '-q', url, `${first}:refs/heads/main`], { cwd: local });
    const second = await commit(local, 2, 300_000, []);
    await git(['push', '-q', url, `+${second}:refs/heads/main`], { cwd: local });
    await verb({}, 'seal', '--now');
    await verb({}, 'compact');
    const orphan = 'crates/aa/00000000-0000-4000-8000-000000000000.pack';
    await server.store.put(orphan, Buffer.from('nobody knows me'));
    mkdirSync(join(server.dataDir, 'packs', '.tmp'), { recursive: true });
    const unfinished = join(server.dataDir, 'packs', '.tmp', 'half-a-pack');
    writeFileSync(unfinished, 'half a pack');
    const states = () => server.query('select id, state from packs order by id');
    const before = await states();
    assert(before.some(({ state }) => state === 'superseded'));
    // Each span is half of what the clock is off by.
    const hour = {
      PACKHOUSE_SWEEP_RETENTION: '1h',
      PACKHOUSE_FETCH_MAX_DURATION: '59m',
      PACKHOUSE_MAINTENANCE_READER_MARGIN: '1m',
      PACKHOUSE_MAINTENANCE_UPLOAD_LEASE: '1h',
    };
    for (const env of [AHEAD, BEHIND]) await verb({ ...hour, ...env }, 'sweep', '--yes', '--thorough');
    assert.deepEqual(await states(), before);
    assert.notEqual(await server.store.head(orphan), null);
    assert(existsSync(unfinished));
    const again = await makeRepository();
    await git(['fetch', '-q', url, first], { cwd: again });
    // And what is due is not kept by a clock that is behind.
    const due = {
      PACKHOUSE_SWEEP_RETENTION: '0s',
      PACKHOUSE_FETCH_MAX_DURATION: '1s',
      PACKHOUSE_MAINTENANCE_READER_MARGIN: '0s',
      PACKHOUSE_MAINTENANCE_UPLOAD_LEASE: '1s',
      PACKHOUSE_SWEEP_CONDEMNED_PERCENT_MAX: '100',
    };
    await sleep(1_500);
    await verb({ ...due, ...BEHIND }, 'sweep', '--yes', '--thorough');
    await sleep(1_200);
    await verb({ ...due, ...BEHIND }, 'sweep', '--yes', '--thorough');
    assert.deepEqual(new Set((await states()).map(({ state }) => state)), new Set(['live']));
    assert.equal(await server.store.head(orphan), null);
    assert(!existsSync(unfinished));
    await git(['clone', '-q', '--mirror', url, join(scratchFolder(), 'c.git')]);
  });

  test('neither lengthens nor shortens what a token or a time of the log says', async () => {
    await verb({}, 'repo', 'create', 'clock/tokens', '--private');
    const environments = [AHEAD, BEHIND].map((env) => ({ ...env, PACKHOUSE_AUTH_MODE: 'token' }));
    const peers = await startPeers(server, environments);
    try {
      const statuses = (token: string) =>
        Promise.all(
          peers.map(async ({ url }) => {
            const headers = { Authorization: `Basic ${Buffer.from(`x:${token}`).toString('base64')}` };
            return (await wireRequest(`${url}/clock/tokens.git/info/refs?service=git-upload-pack`, { headers })).status;
          }),
        );
      for (const [i, env] of [AHEAD, BEHIND].entries()) {
        const make = async (expires: string): Promise<string> =>
          JSON.parse(await verb(env, 'token', 'create', `t${i}-${expires}`, '--expires', expires, '--json')).token as string;
        const [long, short] = [await make('1h'), await make('1s')];
        const [row] = await server.query<{ seconds: number }>(
          `select extract(epoch from expires_at - clock_timestamp())::integer as seconds from access_tokens where name = $1`,
          [`t${i}-1h`],
        );
        assert(row!.seconds > 3_000 && row!.seconds <= 3_600, `it ends in ${row!.seconds} s`);
        await sleep(1_100);
        assert.deepEqual(await statuses(long), [200, 200]);
        assert.deepEqual(await statuses(short), [401, 401]);
        const listed = JSON.parse(await verb(env, 'token', 'list', '--json')) as { name: string; state: string }[];
        const mine = listed.filter(({ name }) => name.startsWith(`t${i}-`)).map(({ name, state }) => [name, state]);
        assert.deepEqual(mine, [
          [`t${i}-1h`, 'in force'],
          [`t${i}-1s`, 'expired'],
        ]);
      }
    } finally {
      await Promise.all(peers.map((peer) => peer.stop()));
    }
    const url = `${server.url}/clock/log.git`;
    const local = await makeRepository();
    const tip = await commit(local, 1, 100, []);
    await git(['push', '-q', url, `${tip}:refs/heads/main`], { cwd: local });
    for (const env of [AHEAD, BEHIND]) {
      const [ago, expected] = env === BEHIND ? ['0s', `${tip} refs/heads/main`] : ['1h', ''];
      assert.equal((await verb(env, 'repo', 'at', ago!, 'clock/log')).trim(), expected);
    }
  });

  test('does not mix up the order in which pushes of several servers are done again by a rebuild', async () => {
    const local = await makeRepository();
    const peers = await startPeers(server, [AHEAD, BEHIND]);
    let parents: string[] = [];
    try {
      for (let i = 0; i < 4; i++) {
        parents = [await commit(local, 10 + i, 200_000, parents)];
        await git(['push', '-q', `${peers[i % 2]!.url}/clock/order.git`, `${parents[0]}:refs/heads/main`], { cwd: local });
      }
    } finally {
      await Promise.all(peers.map((peer) => peer.stop()));
    }
    const database = await startTestDatabase();
    try {
      // There was no snapshot: everything is told by manifests.
      await verb({ PACKHOUSE_DATABASE_URL: database.url }, 'rebuild', '--adopt');
      const peer = await server.startPeer({ PACKHOUSE_DATABASE_URL: database.url });
      const { stdout, stderr } = await tryGit(['ls-remote', `${peer.url}/clock/order.git`, 'refs/heads/main']);
      await peer.stop();
      assert.equal(stdout.toString(), `${parents[0]}\trefs/heads/main\n`, stderr);
    } finally {
      await database.stop();
    }
  });
});
