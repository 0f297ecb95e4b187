import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
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
  type TestPeer,
  type TestServer,
  testStores,
  tryGit,
} from '../../../internal/testkit/mod.ts';
import { SlowLine } from './balancer-testing.ts';

/** With `make torture` the push that a stop comes into is of 1 GiB, and the line as fast as it goes. */
const IS_LONG = process.env.TORTURE_SECONDS !== undefined;
const PUSH_BYTES = IS_LONG ? 1 << 30 : 6 << 20;
const LINE_BYTES_PER_SECOND = IS_LONG ? Number.POSITIVE_INFINITY : 3 << 20;
const WAIT_MS_MAX = 120_000;
/** Longer than it takes a server to end whatever hangs in it. */
const END_MS_MAX = IS_LONG ? 600_000 : 60_000;
const NO_LIMIT = Number.POSITIVE_INFINITY;
const UPLOAD_LEASE_MS = 1_000;
const ENV = {
  PACKHOUSE_MAINTENANCE_UPLOAD_LEASE: '1s',
  // What is pushed is in a temporary file.
  PACKHOUSE_PUSH_MEMORY_BYTES_MAX: '1MiB',
  PACKHOUSE_LOG_LEVEL: 'warn',
};

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!(await holds())) {
    assert(performance.now() < deadline, what);
    await sleep(20);
  }
}

const repositories = new Map<number, Promise<string>>();

/** A repository with a commit of random bytes, the same for all who ask; in the long form its files are large blobs. */
function largeRepository(bytes: number): Promise<string> {
  const known = repositories.get(bytes) ?? makeLargeRepository(bytes);
  repositories.set(bytes, known);
  return known;
}

async function makeLargeRepository(bytes: number): Promise<string> {
  const local = await makeRepository();
  // Nothing of it is alike, and nothing can be deflated: git would look for long.
  for (const key of ['core.compression', 'pack.window']) await git(['config', key, '0'], { cwd: local });
  const importer = new FastImport(1_760_000_000);
  const fileBytes = IS_LONG ? 64 << 20 : 1_000_000;
  const files: Record<string, Buffer> = {};
  for (let i = 0; i * fileBytes < bytes; i++) files[`f${i}`] = seededBytes(i + 1, fileBytes);
  importer.commit('refs/heads/main', files, { parents: [] });
  await importer.into(local);
  return local;
}

async function stopped(peer: TestPeer): Promise<number> {
  const began = performance.now();
  assert.equal(await peer.stop(END_MS_MAX), 0, peer.log().slice(-4000));
  const ms = performance.now() - began;
  assert(ms < END_MS_MAX, `it took ${ms} ms`);
  return ms;
}

const list = (url: string) => tryGit(['ls-remote', url]);
const storedKeys = async (server: TestServer): Promise<string[]> => {
  const keys: string[] = [];
  for await (const { key } of server.store.list('')) keys.push(key);
  return keys.sort();
};

for (const store of IS_LONG ? testStores() : (['fs'] as const)) {
  describe(`SIGTERM (${store})`, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ store, env: ENV });
    });
    after(() => server.close());

    test('in a large push waits for it, and the push is acknowledged and there', async (context) => {
      const peer = await server.startPeer({ PACKHOUSE_HTTP_DRAIN_TIMEOUT: '10m' });
      const line = await SlowLine.start(peer.url, { up: LINE_BYTES_PER_SECOND, down: NO_LIMIT });
      try {
        const local = await largeRepository(PUSH_BYTES);
        const pushing = tryGit(['push', '-q', `${line.url}/o/large.git`, 'main'], { cwd: local });
        await until(() => line.passed.up > PUSH_BYTES / 4, 'the push is under way');
        const stop = stopped(peer);
        const { status, stderr } = await pushing;
        assert.equal(status, 0, stderr);
        context.diagnostic(`${PUSH_BYTES >> 20} MiB: ended ${Math.round(await stop)} ms after SIGTERM`);
        const clone = join(scratchFolder(), 'c.git');
        await git(['clone', '-q', '--mirror', `${server.url}/o/large.git`, clone]);
        await git(['fsck', '--strict', '--full'], { cwd: clone });
        assert.equal(await git(['rev-parse', 'main'], { cwd: clone }), await git(['rev-parse', 'main'], { cwd: local }));
      } finally {
        line.stop();
        await peer.stop();
      }
    });

    test('in a push that is too slow for http.drain_timeout cuts it, in bounded time, and nothing is left of it', async (context) => {
      const temporary = scratchFolder('spool');
      const peer = await server.startPeer({ PACKHOUSE_HTTP_DRAIN_TIMEOUT: '1s', TMPDIR: temporary });
      const line = await SlowLine.start(peer.url, { up: LINE_BYTES_PER_SECOND / 3, down: NO_LIMIT });
      try {
        const local = await largeRepository(PUSH_BYTES);
        const before = await storedKeys(server);
        const pushing = tryGit(['push', '-q', `${line.url}/o/cut.git`, 'main'], { cwd: local });
        await until(() => line.passed.up > PUSH_BYTES / 4 && readdirSync(temporary).length > 0, 'the push is under way');
        const ms = await stopped(peer);
        const { status, stderr } = await pushing;
        assert.notEqual(status, 0, 'what is cut is not acknowledged');
        context.diagnostic(
          `${PUSH_BYTES >> 20} MiB: ended ${Math.round(ms)} ms after SIGTERM; git said: ${stderr.trim().slice(0, 200)}`,
        );
        assert.deepEqual(readdirSync(temporary), []);
        assert.deepEqual(await storedKeys(server), before);
        assert.deepEqual(
          await server.query(`select k.state from packs k join repositories r using (pool_id) where r.name = 'cut'`),
          [],
        );
        assert.equal((await list(`${server.url}/o/cut.git`)).stdout.toString(), '');
        await git(['push', '-q', `${server.url}/o/cut.git`, 'main'], { cwd: local });
        assert.equal((await server.packhouse('fsck')).code, 0);
      } finally {
        line.stop();
        await peer.stop();
      }
    });

    test('in whatever moment of placing and committing a push leaves all of it or nothing', async (context) => {
      const local = await largeRepository(1 << 20);
      const tip = await git(['rev-parse', 'main'], { cwd: local });
      // The first two wake up in time to take back what they have begun, the last ones when all is closed.
      const moments = ['push.intent-written=sleep(3000)', 'push.before-commit=sleep(3000)', 'push.crate-put=sleep(7000)'];
      const told = await Promise.all(
        moments.map(async (moment, i) => {
          const peer = await server.startPeer({
            PACKHOUSE_PUSH_TAIL_BYTES_MAX: '100KiB',
            PACKHOUSE_HTTP_DRAIN_TIMEOUT: '500ms',
            PACKHOUSE_FAILPOINTS: moment,
          });
          const pushing = tryGit(['push', '-q', `${peer.url}/o/r${i}.git`, 'main'], { cwd: local });
          await until(
            async () =>
              (await server.query('select 1 from packs k join repositories r using (pool_id) where r.name = $1', [`r${i}`]))
                .length > 0,
            'the pack has its intent row',
          );
          await sleep(300);
          const ms = await stopped(peer);
          const { status } = await pushing;
          const [seen = ''] = (await list(`${server.url}/o/r${i}.git`)).stdout.toString().split('\t');
          assert(seen === '' || seen === tip);
          if (status === 0) assert.equal(seen, tip);
          return `${moment}: ${status === 0 ? 'acknowledged' : 'cut'}, ${seen === '' ? 'not ' : ''}there, ended after ${Math.round(ms)} ms`;
        }),
      );
      for (const text of told) context.diagnostic(text);
      await sleep(UPLOAD_LEASE_MS + 200);
      assert.equal((await server.packhouse('sweep', '--yes')).code, 0);
      const packs = await server.query<{ state: string; crate_key: string }>('select state, crate_key from packs');
      assert(
        packs.every(({ state }) => state === 'live'),
        JSON.stringify(packs),
      );
      const named = new Set(packs.map((pack) => pack.crate_key.replace(/\.pack$/, '')));
      for (const key of await storedKeys(server)) assert(named.has(key.replace(/\.[a-z]+$/, '')), `${key} is left`);
      assert.equal(await server.store.removeUnfinished(0), 0);
      for (const [i] of moments.entries()) await git(['push', '-q', `${server.url}/o/r${i}.git`, 'main'], { cwd: local });
      assert.equal((await server.packhouse('fsck')).code, 0);
    });

    test('in a clone waits for it, or cuts it, and a clone that was cut is none', async () => {
      const local = await largeRepository(24 << 20);
      await git(['push', '-q', `${server.url}/o/r.git`, 'main'], { cwd: local });
      for (const drain of ['60s', '500ms']) {
        const peer = await server.startPeer({ PACKHOUSE_HTTP_DRAIN_TIMEOUT: drain });
        const line = await SlowLine.start(peer.url, { up: NO_LIMIT, down: 6 << 20 });
        const clone = join(scratchFolder(), 'c.git');
        const cloning = tryGit(['clone', '-q', '--mirror', `${line.url}/o/r.git`, clone]);
        await until(() => line.passed.down > 1 << 20, 'the clone is under way');
        await stopped(peer);
        const { status, stderr } = await cloning;
        line.stop();
        if (drain === '500ms') assert.notEqual(status, 0);
        else assert.equal(status, 0, stderr);
        if (status === 0) await git(['fsck', '--strict', '--full'], { cwd: clone });
      }
    });
  });
}
