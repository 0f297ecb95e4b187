import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import {
  scratchFolder,
  startServer,
  startTestDatabase,
  type TestDatabase,
  type TestServer,
} from '../../../internal/testkit/mod.ts';
import { FaultPushes, figuresLine, noFigures, SMALL_IS_LARGE } from './fault-pushes-testing.ts';

/** More than a push opens at a time. */
const FILES_MAX = 100;

describe('a server', () => {
  let database: TestDatabase;
  let server: TestServer;
  let pushes: FaultPushes;
  let pid: number;
  const spools = scratchFolder('spools');

  before(async () => {
    database = await startTestDatabase();
    // Small packs spool too.
    const env = {
      ...SMALL_IS_LARGE,
      PACKHOUSE_DATABASE_URL: database.url,
      PACKHOUSE_PUSH_MEMORY_BYTES_MAX: '64KiB',
      TMPDIR: spools,
    };
    server = await startServer({ env });
    pushes = await FaultPushes.start('faults/spool', server.url, database.url);
    await pushes.push('large');
    pid = server.pid;
  });
  after(async () => {
    await pushes?.close();
    await server?.close();
    await database?.stop();
  });

  /** Soft limits only: they can be raised again. */
  const limit = (what: 'fsize' | 'nofile', most: number | 'unlimited'): void => {
    const hard = what === 'nofile' ? '' : 'unlimited';
    execFileSync('prlimit', ['--pid', String(pid), `--${what}=${most}:${hard}`]);
  };
  const filesMax = (): number => Number(/open files +(\d+)/i.exec(limitsOf(pid))?.[1]);
  const assertUnharmed = async (): Promise<void> => {
    assert.equal(server.pid, pid);
    assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
    assert.deepEqual(readdirSync(spools), []);
  };

  test('that has no room for a pack refuses it in the words of git, and takes what needs none', async () => {
    const figures = noFigures();
    limit('fsize', 100_000);
    try {
      await pushes.push('small');
      await pushes.struck('large', figures, () => limit('fsize', 'unlimited'));
    } finally {
      limit('fsize', 'unlimited');
    }
    assert.deepEqual([figures.refused, figures.acknowledged], [1, 1]);
    await assertUnharmed();
  });

  test('that can open so many files, and then no more, fails pushes cleanly and lives on', { timeout: 120_000 }, async (t) => {
    const figures = noFigures();
    const before = filesMax();
    const heal = (): void => limit('nofile', before);
    let most = readdirSync(`/proc/${pid}/fd`).length;
    const last = most + FILES_MAX;
    try {
      for (let enough = false; !enough; most += 5) {
        assert(most < last, 'a push ends');
        const { acknowledged, retried } = figures;
        limit('nofile', most);
        await pushes.struck('large', figures, heal);
        enough = figures.retried === retried && figures.acknowledged === acknowledged + 1;
        await assertUnharmed();
      }
    } finally {
      heal();
    }
    t.diagnostic(figuresLine(figures));
    assert(figures.refused > 0, 'a spool was not to be had');
    assert.equal(await pushes.cloned(), 0);
  });
});

function limitsOf(pid: number): string {
  return execFileSync('cat', [`/proc/${pid}/limits`], { encoding: 'utf8' });
}
