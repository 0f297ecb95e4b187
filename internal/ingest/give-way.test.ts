import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryBudget } from '../base/mod.ts';
import { DEFAULT_SEVERITIES } from '../object/mod.ts';
import { buildPack, entry, scratchFolder, seededBytes } from '../testkit/mod.ts';
import { DEFAULT_PACK_LIMITS, receivePack } from './mod.ts';

const PACK = buildPack(Array.from({ length: 60 }, (_, i) => entry('blob', seededBytes(i, 40_000))));

/** Every pack is a worker's. */
function byWorker() {
  return {
    format: 'sha1',
    limits: DEFAULT_PACK_LIMITS,
    severities: DEFAULT_SEVERITIES,
    memoryBytesMax: 0,
    spoolFolder: scratchFolder('spool'),
    readBase: async () => null,
  } as const;
}

test('a pack that comes slowly gives its memory to those who wait, and is verified when it has come whole', async () => {
  const memory = new MemoryBudget({ bytesMax: 100 << 20, waitersMax: 4 });
  const { promise: whole, resolve: finish } = Promise.withResolvers<void>();
  let given = 0;
  let isServed = false;
  const body = async function* (): AsyncGenerator<Buffer, undefined> {
    // Drips until somebody else has got the memory.
    for (; !isServed; given += 10) {
      await new Promise((wake) => setTimeout(wake, 5));
      yield PACK.subarray(given, given + 10);
    }
    await whole;
    yield PACK.subarray(given);
  };
  const received = receivePack(body(), Buffer.alloc(0), {
    ...byWorker(),
    memory,
    patienceMs: 20,
  });
  while (memory.usedBytes === 0) await new Promise((wake) => setTimeout(wake, 1));
  const other = await memory.take(90 << 20);
  isServed = true;
  finish();
  while (memory.waiting === 0) await new Promise((wake) => setTimeout(wake, 1));
  other.release();
  const { pack, dispose } = await received;
  assert.equal(pack.objectCount, 60);
  assert.ok(memory.usedBytes > 0);
  await dispose();
  assert.equal(memory.usedBytes, 0);
});

for (const end of ['is good', 'is not what it announced', 'is refused when it has come whole'] as const) {
  test(`others make room for a pack when it has come whole, until it is done with: one that ${end}`, async () => {
    const told: number[] = [];
    const isGood = end === 'is good';
    const good = Buffer.from(PACK);
    if (end === 'is not what it announced') good.writeUInt32BE(1_000_000, 8);
    const missing = buildPack([
      ...Array.from({ length: 9 }, (_, i) => entry('blob', seededBytes(i, 100))),
      entry('commit', Buffer.from('x')),
    ]);
    const bytes = end === 'is refused when it has come whole' ? missing : good;
    const body = async function* (): AsyncGenerator<Buffer, undefined> {
      yield bytes.subarray(0, 100);
      await new Promise((wake) => setTimeout(wake, 20));
      assert.deepEqual(told, [], 'not on the word of its header');
      yield bytes.subarray(100);
    };
    const receiving = receivePack(body(), Buffer.alloc(0), {
      ...byWorker(),
      makeRoom(taken) {
        told.push(taken);
        return () => told.push(-taken);
      },
    });
    if (isGood) {
      const { dispose } = await receiving;
      assert.deepEqual(told, [60 * 300]);
      await dispose();
    } else {
      await assert.rejects(receiving, { code: 'bad-pack' });
    }
    assert.equal(
      told.reduce((sum, taken) => sum + taken, 0),
      0,
    );
  });
}
