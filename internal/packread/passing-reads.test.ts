import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PassingReads } from './passing-reads.ts';

const MIB = 1 << 20;

/** Loads that are counted and say which one they are. */
function counted(): { loads: number; load: () => Promise<Buffer> } {
  const count = {
    loads: 0,
    load: async (): Promise<Buffer> => {
      const number = ++count.loads;
      await new Promise((resolve) => setImmediate(resolve));
      return Buffer.of(number);
    },
  };
  return count;
}

test('who asks for the same at the same time, or soon after, shares one read; later it is read again', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const reads = new PassingReads();
  const count = counted();
  const [a, b] = await Promise.all([reads.read('k', MIB, count.load), reads.read('k', MIB, count.load)]);
  assert.equal(a, b);
  context.mock.timers.tick(999);
  assert.equal(await reads.read('k', MIB, count.load), a);
  assert.deepEqual(await reads.read('other', MIB, count.load), Buffer.of(2));
  context.mock.timers.tick(1);
  assert.deepEqual(await reads.read('k', MIB, count.load), Buffer.of(3));
  context.mock.timers.tick(1_000);
  assert.equal(reads.bytes, 0);
});

test('no more is kept than 16 MiB: the oldest go, and still come to who has asked', async () => {
  const reads = new PassingReads();
  const count = counted();
  const first = reads.read('0', 6 * MIB, count.load);
  for (let i = 1; i < 10; i++) {
    void reads.read(`${i}`, 6 * MIB, count.load);
    assert(reads.bytes <= 16 * MIB);
  }
  assert.deepEqual(await first, Buffer.of(1));
  assert.deepEqual(await reads.read('9', 6 * MIB, count.load), Buffer.of(10));
  assert.deepEqual(await reads.read('0', 6 * MIB, count.load), Buffer.of(11));
  // More than all may be: alone.
  await reads.read('large', 100 * MIB, count.load);
  assert.equal(reads.bytes, 100 * MIB);
  await reads.read('small', MIB, count.load);
  assert.equal(reads.bytes, MIB);
});

test('what is cleared is read again', async () => {
  const reads = new PassingReads();
  const count = counted();
  const before = reads.read('k', MIB, count.load);
  reads.clear();
  assert.equal(reads.bytes, 0);
  assert.deepEqual(await reads.read('k', MIB, count.load), Buffer.of(2));
  assert.deepEqual(await before, Buffer.of(1));
});

test('a read that fails fails for all who wait, and for nobody after', async () => {
  const reads = new PassingReads();
  let fails = true;
  const load = async (): Promise<Buffer> => {
    if (fails) throw new Error('no answer');
    return Buffer.of(1);
  };
  const both = [reads.read('k', MIB, load), reads.read('k', MIB, load)];
  for (const read of both) await assert.rejects(read, /no answer/);
  assert.equal(reads.bytes, 0);
  fails = false;
  assert.deepEqual(await reads.read('k', MIB, load), Buffer.of(1));
});

test('who goes takes nothing from who stays', async () => {
  const reads = new PassingReads();
  let arrive = (_: Buffer): void => {};
  const load = (): Promise<Buffer> => new Promise((resolve) => (arrive = resolve));
  const going = new AbortController();
  const gone = reads.read('k', MIB, load, going.signal);
  const staying = reads.read('k', MIB, load, new AbortController().signal);
  going.abort(new Error('client gone'));
  await assert.rejects(gone, /client gone/);
  await assert.rejects(reads.read('k', MIB, load, going.signal), /client gone/);
  arrive(Buffer.of(7));
  assert.deepEqual(await staying, Buffer.of(7));
});
