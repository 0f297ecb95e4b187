import assert from 'node:assert/strict';
import { getPriority } from 'node:os';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { FastImport, git, makeRepository, scratchFolder, startServer, type TestServer } from '../../../internal/testkit/mod.ts';

const WAIT_MS_MAX = 60_000;

describe('maintenance beside serving', () => {
  const servers: TestServer[] = [];
  after(async () => {
    for (const server of servers) await server.close();
  });

  async function start(flags: readonly string[]): Promise<TestServer> {
    const server = await startServer({
      env: { PACKHOUSE_MAINTENANCE_ENABLED: 'true' },
      flags: ['--maintenance-interval', '100ms', ...flags],
    });
    servers.push(server);
    return server;
  }

  async function push(server: TestServer, local: string, seed: number): Promise<void> {
    const importer = new FastImport(1_760_000_000 + seed);
    const parents = seed === 0 ? [] : ['refs/heads/main'];
    importer.commit(
      'refs/heads/main',
      { 'text.txt': `version ${seed}\n`, [`dir/${seed}.txt`]: `${seed}\n`.repeat(50) },
      { parents },
    );
    await importer.into(local);
    await git(['push', '-q', `${server.url}/o/r.git`, 'main'], { cwd: local });
  }

  async function assertClones(server: TestServer, local: string): Promise<void> {
    const clone = scratchFolder('clone');
    await git(['clone', '-q', '--mirror', `${server.url}/o/r.git`, clone]);
    await git(['fsck', '--strict'], { cwd: clone });
    assert.equal(await git(['rev-parse', 'main'], { cwd: clone }), await git(['rev-parse', 'main'], { cwd: local }));
  }

  const packs = (server: TestServer) =>
    server.query<{ tier: string; count: number }>(
      `select tier, count(*)::integer as count from packs where state = 'live' group by tier order by tier`,
    );

  async function until(holds: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + WAIT_MS_MAX;
    while (!(await holds())) {
      assert(performance.now() < deadline, 'what was waited for did not come');
      await sleep(50);
    }
  }

  test('maintenance is a process of lower priority, that is replaced when it dies and gone when its server is', async () => {
    const server = await start([]);
    const processes = (): number[] =>
      [...server.log().matchAll(/"pid":(\d+),"msg":"maintenance runs/g)].map(([, pid]) => Number(pid));
    await until(async () => processes().length === 1);
    const [first] = processes();
    await until(async () => getPriority(first) > getPriority(server.pid));
    process.kill(first!, 'SIGKILL');
    await until(async () => processes().length === 2);
    const second = processes()[1]!;
    await until(async () => getPriority(second) > getPriority(server.pid));
    await server.kill9();
    await until(async () => !isAlive(second));
  });

  test('a server seals by itself, says so, and is stopped in good order', async () => {
    const server = await start(['--seal-packs', '3']);
    const local = await makeRepository();
    for (let i = 0; i < 10; i++) await push(server, local, i);
    await until(async () => ((await packs(server)).find(({ tier }) => tier === 'tail')?.count ?? 0) < 3);
    assert.equal((await packs(server))[0]?.tier, 'store');
    await assertClones(server, local);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    assert.match(metrics, /packhouse_maintenance_jobs_total\{kind="seal",result="done"\} [1-9]/);
    // Packs that the server is sealing at the moment are left to it.
    await until(async () => {
      const sealed = await server.packhouse('seal', 'o/r', '--now', '--json');
      assert.equal(sealed.code, 0, sealed.stderr);
      return JSON.parse(sealed.stdout).left === 0;
    });
    // One or two, as the sizes of what was sealed before have it.
    assert.deepEqual(
      (await packs(server)).map(({ tier }) => tier),
      ['store'],
    );
    await assertClones(server, local);
    // Another pack, which would not be merged by itself yet.
    await push(server, local, 10);
    await server.packhouse('seal', '--now', '--compaction-ratio', '1', '--json');
    const planned = await server.packhouse('compact', '--dry-run', '--json');
    const plan = JSON.parse(planned.stdout);
    const merged = await server.packhouse('compact', 'o/r', '--json');
    assert.equal(merged.code, 0, merged.stderr);
    assert.equal(JSON.parse(merged.stdout).merged, plan.merges.length === 0 ? 0 : plan.merges[0].packs.length);
    assert.deepEqual(await packs(server), [{ tier: 'store', count: 1 }]);
    assert.match((await server.packhouse('compact', '--dry-run')).stdout, /^nothing to do/);
    await assertClones(server, local);
    assert.equal((await server.packhouse('fsck')).code, 0);
    assert.equal(await server.stop(), 0);
  });

  test('a tail that is full takes no more, until it is sealed', async () => {
    const server = await start(['--seal-packs', '1000', '--tail-pool-bytes-max', '600', '--tail-bytes-max', '1500']);
    const local = await makeRepository();
    for (let i = 0; i < 6; i++) await push(server, local, i);
    const tiers = await packs(server);
    assert.deepEqual(
      tiers.map(({ tier, count }) => [tier, count > 1]),
      [
        ['store', true],
        ['tail', true],
      ],
      'the tail of the pool is full',
    );
    await assertClones(server, local);
    assert.equal((await server.packhouse('seal', '--now')).code, 0);
    await push(server, local, 6);
    assert.equal((await packs(server)).find(({ tier }) => tier === 'tail')?.count, 1);
    // Many pools fill it together, none of them alone.
    const tails = async (): Promise<number> => (await packs(server)).find(({ tier }) => tier === 'tail')?.count ?? 0;
    for (let i = 0; i < 60; i++) {
      const other = await makeRepository();
      const importer = new FastImport(1_760_000_000 + i);
      importer.commit('refs/heads/main', { 'a.txt': `${i}\n` }, { parents: [] });
      await importer.into(other);
      const before = await tails();
      await git(['push', '-q', `${server.url}/o/other${i}.git`, 'main'], { cwd: other });
      if ((await tails()) === before) {
        assert.equal((await server.packhouse('fsck')).code, 0);
        return;
      }
      await sleep(100);
    }
    assert.fail('the tail of all pools took everything');
  });

  test('a process that is killed while it seals leaves all there is, and work for the next', async () => {
    const server = await start(['--seal-packs', '1', '--maintenance-bytes-per-second-max', '20000']);
    const local = await makeRepository();
    let seed = 0;
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 4; i++) await push(server, local, seed++);
      await sleep(60 * round);
      await server.kill9();
      // As if the lease had passed.
      await server.query('update packs set lease_until = now() where lease_until is not null');
      await server.query('update maintenance_jobs set lease_until = now() where lease_until is not null');
      await server.restart();
      await assertClones(server, local);
    }
    const fsck = await server.packhouse('fsck');
    assert.equal(fsck.code, 0, fsck.stdout);
    await until(async () => (await packs(server)).every(({ tier }) => tier === 'store'));
    await assertClones(server, local);
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
