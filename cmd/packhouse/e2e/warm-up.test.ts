import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { git, reachableObjects, scratchFolder, startServer, syntheticHistory } from '../../../internal/testkit/mod.ts';

test('a server that warms up takes large pushes meanwhile and after it, and leaves nothing of it', async () => {
  const spools = scratchFolder('spools');
  const local = await syntheticHistory({ commits: 300, binaryEvery: 50, binaryBytes: 600_000, seed: 8 }).into();
  const server = await startServer({ env: { PACKHOUSE_PUSH_WARM_UP: 'true', TMPDIR: spools } });
  const untilSpools = async (isSo: (names: readonly string[]) => boolean): Promise<void> => {
    const deadline = Date.now() + 60_000;
    while (!isSo(readdirSync(spools)) && Date.now() < deadline) await sleep(5);
    assert.ok(isSo(readdirSync(spools)), readdirSync(spools).join(' '));
  };
  try {
    await untilSpools((names) => names.length > 0);
    const [rehearsed] = await server.query<{ count: number }>(
      `select count(*)::integer as count from pg_stat_activity where datname = current_database() and query = 'rollback'`,
    );
    assert.ok(rehearsed!.count >= 3, `small pushes were rehearsed on ${rehearsed!.count} connections`);
    for (const name of ['meanwhile', 'after']) {
      const url = `${server.url}/warm/${name}.git`;
      await git(['push', '-q', url, 'main'], { cwd: local });
      const clone = scratchFolder('clone');
      await git(['clone', '-q', '--bare', url, clone]);
      await git(['fsck', '--strict'], { cwd: clone });
      assert.deepEqual(await reachableObjects(clone, 'main'), await reachableObjects(local, 'main'));
      await untilSpools((names) => names.length === 0);
    }
  } finally {
    await server.close();
  }
});
