import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { FastImport, git, makeRepository, seededBytes, startServer, type TestPeer } from '../../../internal/testkit/mod.ts';

const WAIT_MS_MAX = 120_000;

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!(await holds())) {
    assert(performance.now() < deadline, what);
    await sleep(20);
  }
}

describe('a server that ends while it seals', () => {
  const SEALING = {
    PACKHOUSE_MAINTENANCE_ENABLED: 'true',
    PACKHOUSE_MAINTENANCE_INTERVAL: '100ms',
    PACKHOUSE_MAINTENANCE_LEASE: '2s',
    PACKHOUSE_SEAL_PACKS: '1',
    PACKHOUSE_LOG_LEVEL: 'info',
  };

  for (const end of ['SIGTERM', 'SIGKILL'] as const)
    test(`by ${end} takes its process of maintenance along, and another server takes the job over`, async (context) => {
      const server = await startServer({ env: SEALING, flags: ['--maintenance-enabled', 'false'] });
      // So slow that it does not end by itself.
      const peer = await server.startPeer({ PACKHOUSE_MAINTENANCE_BYTES_PER_SECOND_MAX: '20KiB' });
      let other: TestPeer | null = null;
      try {
        const local = await makeRepository();
        const importer = new FastImport(1_760_000_000);
        importer.commit('refs/heads/main', { file: seededBytes(1, 700_000) }, { parents: [] });
        await importer.into(local);
        await git(['push', '-q', `${server.url}/o/r.git`, 'main'], { cwd: local });
        const jobs = () =>
          server.query<{ state: string; lost: number; leased: number }>(
            `select state, lost, (select count(*)::integer from packs where lease_token is not null) as leased
               from maintenance_jobs where kind = 'seal' and pool_id is null order by id`,
          );
        const sealing = `select 1 from maintenance_jobs where kind = 'seal' and state = 'running' and report->>'pool' is not null`;
        await until(async () => (await server.query(sealing)).length > 0, 'it seals a pool');
        const child = Number(/"pid":(\d+),"msg":"maintenance runs/.exec(peer.log())?.[1]);
        assert(isAlive(child));
        if (end === 'SIGTERM') {
          const began = performance.now();
          assert.equal(await peer.stop(), 0, peer.log().slice(-4000));
          context.diagnostic(`ended ${Math.round(performance.now() - began)} ms after SIGTERM`);
          assert(!isAlive(child));
          assert.deepEqual(await jobs(), [{ state: 'queued', lost: 0, leased: 0 }], 'the job is back, the packs are free');
        } else {
          await peer.kill9();
          await until(() => !isAlive(child), 'its process ends with it');
          const listed = await server.packhouse('jobs', '--json');
          const told = JSON.parse(listed.stdout) as { kind: string; state: string; report: unknown }[];
          const [job] = told.filter(({ kind }) => kind === 'seal');
          assert.equal(job?.state, 'running', 'nobody has told');
          assert.deepEqual(Object.keys(job.report as object), ['pool'], 'it was at a pool');
          assert.match((await server.packhouse('jobs')).stdout, /^\d+ +seal +- +running /m);
        }
        other = await server.startPeer({});
        const began = performance.now();
        await until(
          async () => (await server.query(`select 1 from packs where state = 'live' and tier = 'tail'`)).length === 0,
          'it is sealed',
        );
        context.diagnostic(`sealed by another ${Math.round(performance.now() - began)} ms after it was started`);
        await until(async () => (await jobs())[0]?.state === 'done', 'the one job is done, by another');
        assert.equal((await jobs())[0]?.lost, 0);
        if (end === 'SIGKILL') {
          assert.match(other.log(), /maintenance was not done: its process ended/);
          assert.match(
            await (await fetch(`${other.url}/metrics`)).text(),
            /maintenance_jobs_total\{kind="seal",result="lost"\} 1/,
          );
        }
        assert.equal((await server.packhouse('fsck')).code, 0);
      } finally {
        await peer.stop();
        await other?.stop();
        await server.close();
      }
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
