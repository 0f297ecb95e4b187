import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PassingReads } from './passing-reads.ts';
import type { Loan } from './piece-memory.ts';

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
  assert.equal(a.bytes, b.bytes);
  context.mock.timers.tick(999);
  assert.equal((await reads.read('k', MIB, count.load)).bytes, a.bytes);
  assert.deepEqual((await reads.read('other', MIB, count.load)).bytes, Buffer.of(2));
  context.mock.timers.tick(1);
  assert.deepEqual((await reads.read('k', MIB, count.load)).bytes, Buffer.of(3));
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
  assert.deepEqual((await first).bytes, Buffer.of(1));
  assert.deepEqual((await reads.read('9', 6 * MIB, count.load)).bytes, Buffer.of(10));
  assert.deepEqual((await reads.read('0', 6 * MIB, count.load)).bytes, Buffer.of(11));
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
  assert.deepEqual((await reads.read('k', MIB, count.load)).bytes, Buffer.of(2));
  assert.deepEqual((await before).bytes, Buffer.of(1));
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
  assert.deepEqual((await reads.read('k', MIB, load)).bytes, Buffer.of(1));
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
  assert.deepEqual((await staying).bytes, Buffer.of(7));
});

/** Loads whose memory comes from loans. */
const lent = async (loan: Loan): Promise<Buffer> => {
  const bytes = loan.allocate(MIB);
  await new Promise((resolve) => setImmediate(resolve));
  return bytes;
};

test('memory is used again when all who share a read have released it, and nothing is kept of it', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const reads = new PassingReads();
  const [a, b] = await Promise.all([reads.read('k', MIB, lent), reads.read('k', MIB, lent)]);
  a.release();
  a.release();
  context.mock.timers.tick(1_000);
  const other = await reads.read('other', MIB, lent);
  assert.notEqual(other.bytes.buffer, a.bytes.buffer, 'one still reads');
  b.release();
  const again = await reads.read('again', MIB, lent);
  assert.equal(again.bytes.buffer, a.bytes.buffer);
  // It is still at hand for who asks for the same.
  again.release();
  assert.notEqual((await reads.read('third', MIB, lent)).bytes.buffer, a.bytes.buffer);
  assert.equal((await reads.read('again', MIB, lent)).bytes, again.bytes);
});

test('memory that is still read into is nobody else’s, though all who asked have gone', async () => {
  const reads = new PassingReads();
  const going = new AbortController();
  let arrive = (): void => {};
  let memory: Buffer | undefined;
  const gone = reads.read(
    'k',
    MIB,
    (loan) =>
      new Promise((resolve) => {
        const bytes = loan.allocate(MIB);
        memory = bytes;
        arrive = () => resolve(bytes);
      }),
    going.signal,
  );
  going.abort(new Error('client gone'));
  await assert.rejects(gone, /client gone/);
  reads.clear();
  assert.notEqual((await reads.read('other', MIB, lent)).bytes.buffer, memory!.buffer);
  arrive();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal((await reads.read('third', MIB, lent)).bytes.buffer, memory!.buffer);
});

test('memory of a try that failed is left alone, and what comes from elsewhere too', async () => {
  const reads = new PassingReads();
  const tries: Buffer[] = [];
  const second = await reads.read('k', MIB, async (loan) => {
    tries.push(loan.allocate(MIB), loan.allocate(MIB));
    return tries[1]!;
  });
  const elsewhere = await reads.read('elsewhere', MIB, async (loan) => {
    tries.push(loan.allocate(MIB));
    return Buffer.allocUnsafeSlow(MIB);
  });
  const failed = reads.read('failed', MIB, async (loan) => {
    tries.push(loan.allocate(MIB));
    throw new Error('no answer');
  });
  await assert.rejects(failed, /no answer/);
  reads.clear();
  for (const { release } of [second, elsewhere]) release();
  assert.equal((await reads.read('a', MIB, lent)).bytes.buffer, tries[1]!.buffer);
  const { buffer } = (await reads.read('b', MIB, lent)).bytes;
  assert(!tries.some((bytes) => bytes.buffer === buffer));
});
