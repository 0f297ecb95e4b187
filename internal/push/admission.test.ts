import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, MemoryBudget } from '../base/mod.ts';
import { buildPack, commitBody, entry, oidOf, startTestDatabase, type TestDatabase, treeBody, ZERO_OID } from '../testkit/mod.ts';
import { PushBench } from './push-testing.ts';

const MAIN = 'refs/heads/main';
const OK = ['unpack ok', `ok ${MAIN}`];
const TREE = treeBody([['100644', 'a', oidOf('blob', 'a\n')]]);
const COMMIT = commitBody(oidOf('tree', TREE), []);
const PACK = buildPack([entry('commit', COMMIT), entry('tree', TREE), entry('blob', 'a\n')]);
const UPDATES = [[ZERO_OID, oidOf('commit', COMMIT), MAIN]] as const;
/** Any pack is a large one. */
const LARGE = { memoryBytesMax: 0 };

describe('large pushes share memory', () => {
  let database: TestDatabase;
  let bench: PushBench;
  before(async () => {
    database = await startTestDatabase();
    bench = new PushBench(database.url);
    await bench.client.connect();
  });
  after(async () => {
    await bench?.close();
    await database?.stop();
  });

  test('a large push comes whole and waits for its turn, small ones go by, and nothing is held afterwards', async () => {
    const memory = new MemoryBudget({ bytesMax: 1 << 30, waitersMax: 1 });
    const other = await memory.take(1 << 30);
    let done = false;
    const large = bench.push('o/large', UPDATES, PACK, { ...LARGE, memory });
    void large.then(() => (done = true));
    while (memory.waiting === 0) await sleep(1);
    assert.deepEqual(await bench.push('o/small', UPDATES, PACK, { memory }), OK);
    assert.equal(done, false);
    other.release();
    assert.deepEqual(await large, OK);
    assert.equal(memory.usedBytes, 0);
  });

  test('a client with a sideband is told why it waits', async () => {
    const memory = new MemoryBudget({ bytesMax: 1 << 30, waitersMax: 1 });
    const other = await memory.take(1 << 30);
    const answer: Buffer[] = [];
    const capabilities = 'report-status side-band-64k';
    const large = bench.push('o/told', UPDATES, PACK, { ...LARGE, memory }, undefined, { capabilities, answer });
    while (!Buffer.concat(answer).includes('\x02Waiting for other large pushes')) await sleep(1);
    other.release();
    await large;
    assert.ok(Buffer.concat(answer).includes('unpack ok'));
  });

  test('beyond the queue a large push is refused as too much, and a refused pack gives its memory back', async () => {
    const memory = new MemoryBudget({ bytesMax: 1 << 30, waitersMax: 0 });
    const other = await memory.take(1 << 30);
    await assert.rejects(bench.push('o/beyond', UPDATES, PACK, { ...LARGE, memory }), (error) => codeOf(error) === 'overloaded');
    other.release();
    const broken = Buffer.from(PACK);
    broken[20]! ^= 1;
    const [unpack] = await bench.push('o/broken', UPDATES, broken, { ...LARGE, memory });
    assert.notEqual(unpack, 'unpack ok');
    assert.equal(memory.usedBytes, 0);
  });
});
