import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  describeOnStores,
  git,
  scratchFolder,
  seededBytes,
  startTestDatabase,
  type TestDatabase,
} from '../../../internal/testkit/mod.ts';

const ENV = { PACKHOUSE_PUSH_TAIL_BYTES_MAX: '20KiB', PACKHOUSE_MAINTENANCE_ENABLED: 'false' };

describeOnStores('recovery by the command line', { env: ENV }, (server) => {
  const databases: TestDatabase[] = [];
  let local: string;
  before(async () => {
    for (let i = 0; i < 2; i++) databases.push(await startTestDatabase());
    local = scratchFolder('local');
    await git(['init', '-q', local]);
    for (const [i, bytes] of [60_000, 100].entries()) await commitAndPush(`file${i}`, bytes);
  });
  after(async () => {
    for (const database of databases) await database.stop();
  });

  async function commitAndPush(file: string, bytes: number): Promise<void> {
    writeFileSync(join(local, file), seededBytes(bytes, bytes));
    await git(['add', '.'], { cwd: local });
    await git(['commit', '-qm', file], { cwd: local });
    await git(['push', '-q', `${server().url}/o/demo.git`, 'main'], { cwd: local });
  }

  async function json(...args: readonly string[]): Promise<Record<string, unknown>> {
    const { code, stdout, stderr } = await server().packhouse(...args, '--json');
    assert.equal(code, 0, stderr + stdout);
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  test('snapshot, rebuild with what is newer, fsck', async () => {
    assert.equal((await json('snapshot', '--now')).kind, 'written');
    assert.equal((await json('snapshot')).kind, 'unchanged');
    await commitAndPush('newer', 50_000);
    const to = ['--database-url', databases[0]!.url];
    const report = await json('rebuild', '--adopt', ...to);
    assert.deepEqual([report.storePacks, report.tailPacks, report.lost, report.problems], [2, 1, [], []]);
    assert.deepEqual(
      (report.candidates as { updates: { result: string }[] }[]).map(({ updates }) => updates.map((one) => one.result)),
      [['adopted']],
    );
    assert.deepEqual((await json('fsck', ...to)).problems, []);
    const refused = await server().packhouse('rebuild', ...to);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /holds a catalog already/);
  });

  test('backup, and restore elsewhere', async () => {
    const folder = scratchFolder('backup');
    assert.equal((await json('backup', folder)).copied, 2);
    assert.equal((await json('backup', folder)).copied, 0);
    const to = ['--database-url', databases[1]!.url, '--store-kind', 'fs', '--data-dir', scratchFolder('restored')];
    const report = await json('restore', folder, ...to);
    assert.deepEqual([report.storePacks, report.tailPacks, report.lost, report.problems], [2, 1, [], []]);
    assert.deepEqual((await json('fsck', ...to)).problems, []);
    const refs = await json('repo', 'show', 'o/demo', ...to.slice(0, 2));
    assert.equal(refs.repository, 'o/demo');
  });
});
