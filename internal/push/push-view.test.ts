import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  buildDelta,
  buildPack,
  commitBody,
  entry,
  oidOf,
  refDelta,
  startTestDatabase,
  treeBody,
  ZERO_OID,
} from '../testkit/mod.ts';
import { PushBench } from './push-testing.ts';

const MAIN = 'refs/heads/main';
const TEXT = Array.from({ length: 300 }, (_, i) => `line ${i}\n`).join('');

test('a push that takes longer to come than replaced packs stay is received on what took their place', async (context) => {
  const database = await startTestDatabase();
  const [first, second] = [new PushBench(database.url), new PushBench(database.url)];
  await second.client.connect();
  await first.client.connect();
  try {
    const tree = treeBody([['100644', 'b', oidOf('blob', TEXT)]]);
    const root = commitBody(oidOf('tree', tree), []);
    const whole = buildPack([entry('commit', root), entry('tree', tree), entry('blob', TEXT)]);
    assert.deepEqual(await first.push('o/slow', [[ZERO_OID, oidOf('commit', root), MAIN]], whole), ['unpack ok', `ok ${MAIN}`]);

    const blob = `${TEXT}thin`;
    const delta = buildDelta(TEXT.length, blob.length, [{ copy: [0, TEXT.length] }, { insert: 'thin' }]);
    const nextTree = treeBody([['100644', 'b', oidOf('blob', blob)]]);
    const next = commitBody(oidOf('tree', nextTree), [oidOf('commit', root)]);
    const thin = buildPack([entry('commit', next), entry('tree', nextTree), refDelta(oidOf('blob', TEXT), delta)]);
    const { now } = performance;
    let passed = 0;
    context.mock.method(performance, 'now', () => now.call(performance) + passed);
    const replaced = async (): Promise<void> => {
      // Another pack of the same bytes takes the place of the first, which is gone when the new pack comes.
      await second.client.query(`create temporary table moved as select pool_id, id, nextval('pack_ids') as to_id from packs`);
      for (const table of ['object_blocks', 'graph_blocks', 'tail_bytes'])
        await second.client.query(
          `update ${table} t set pack_id = m.to_id from moved m where t.pool_id = m.pool_id and t.pack_id = m.id`,
        );
      await second.client.query('update packs k set id = m.to_id from moved m where k.id = m.id');
      await second.client.query(
        `insert into pack_swaps (pool_id, added, removed, reason) select pool_id, array[to_id], array[id], 'seal' from moved`,
      );
      passed = 7_200_000;
    };
    const update = [oidOf('commit', root), oidOf('commit', next), MAIN] as const;
    assert.deepEqual(await second.push('o/slow', [update], thin, {}, replaced), ['unpack ok', `ok ${MAIN}`]);
  } finally {
    await first.close();
    await second.close();
    await database.stop();
  }
});
