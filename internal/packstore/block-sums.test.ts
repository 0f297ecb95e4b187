import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { SUM_BLOCK_BYTES, withBlockSums } from './block-sums.ts';
import { hasCode, listed, oddChunks, readWhole } from './conformance.ts';
import { createFaultyStore, type FaultRule } from './faulty-store.ts';
import { crateKey, sidecarKey } from './keys.ts';
import { createMemoryStore } from './memory-store.ts';

const KEY = crateKey('ab34cd5600');
const SUMS = sidecarKey(KEY, 'sums');
/** Not a multiple of a block. */
const BYTES = randomBytes(10 * SUM_BLOCK_BYTES + 1234);

const flips = (n: number, keys = /\.pack$/): FaultRule => ({
  operation: 'get',
  keys,
  when: n === 0 ? { kind: 'always' } : { kind: 'nth', n },
  fault: { kind: 'flip' },
});

/** Rules in force once the crate is there. */
async function storeWith(...rules: FaultRule[]) {
  const inner = createMemoryStore();
  const faulty = createFaultyStore(inner, { seed: 3 });
  const damages: string[] = [];
  const store = withBlockSums(faulty, (key) => void damages.push(key));
  await store.put(KEY, BYTES);
  faulty.setRules(rules);
  return { store, inner, faulty, damages };
}

test('checksums: every range of a crate is the one that was put', async () => {
  const { store } = await storeWith();
  const ends = [
    0,
    1,
    SUM_BLOCK_BYTES - 1,
    SUM_BLOCK_BYTES,
    SUM_BLOCK_BYTES + 1,
    5 * SUM_BLOCK_BYTES,
    BYTES.length - 1,
    BYTES.length,
  ];
  for (const from of ends) {
    for (const to of ends.filter((end) => end >= from)) {
      const got = await store.get(KEY, { offset: from, lengthBytes: to - from });
      assert.deepEqual(got, BYTES.subarray(from, to));
      assert.equal(got.buffer.byteLength, got.length, 'the buffer is the caller’s own');
    }
  }
  await assert.rejects(store.get(KEY, { offset: BYTES.length - 1, lengthBytes: 2 }), hasCode('store-short'));
});

test('checksums: what is passed on is compared too, unless it comes from a disk of the machine', async () => {
  const { store, inner } = await storeWith(flips(0));
  const range = { offset: 5, lengthBytes: 70_000, passedOn: Buffer.allocUnsafe };
  await assert.rejects(store.get(KEY, range), hasCode('store-damaged'));
  const clean = withBlockSums(inner);
  assert.deepEqual(await clean.get(KEY, range), BYTES.subarray(5, 70_005));
  await inner.put(KEY, Buffer.alloc(BYTES.length));
  await assert.rejects(clean.get(KEY, range), hasCode('store-damaged'));
  const local = withBlockSums({ ...inner, kind: 'fs' });
  assert.deepEqual(await local.get(KEY, range), Buffer.alloc(70_000));
  await assert.rejects(local.get(KEY, { offset: 5, lengthBytes: 70_000 }), hasCode('store-damaged'));
});

test('checksums: a bit that turned on its way is read again', async () => {
  const { store, faulty, damages } = await storeWith(flips(1));
  const range = { offset: 100, lengthBytes: 200_000 };
  assert.deepEqual(await store.get(KEY, range), BYTES.subarray(100, 200_100));
  assert.equal(faulty.injected.length, 1);
  assert.deepEqual(damages, [KEY]);
});

test('checksums: bytes that are damaged in the store are not given', async () => {
  for (const keys of [/\.pack$/, /\.sums$/]) {
    const { store, damages } = await storeWith(flips(0, keys));
    await assert.rejects(store.get(KEY, { offset: 0, lengthBytes: 10 }), hasCode('store-damaged'));
    assert.equal(damages.length, 3);
  }
  const { store, inner } = await storeWith();
  const changed = Buffer.from(BYTES);
  changed.writeUInt8(changed.readUInt8(5 * SUM_BLOCK_BYTES) ^ 1, 5 * SUM_BLOCK_BYTES);
  await inner.put(KEY, changed);
  await assert.rejects(store.get(KEY, { offset: 0, lengthBytes: BYTES.length }), hasCode('store-damaged'));
  // Its other blocks are.
  assert.deepEqual(await store.get(KEY, { offset: 0, lengthBytes: 100 }), BYTES.subarray(0, 100));
});

test('checksums: a short answer is asked for again, and damaged checksums too', async () => {
  const short: FaultRule = {
    operation: 'get',
    keys: /\.pack$/,
    when: { kind: 'nth', n: 1 },
    fault: { kind: 'truncate', lengthBytes: 10 },
  };
  const { store, damages } = await storeWith(short, flips(1, /\.sums$/));
  assert.deepEqual(await store.get(KEY, { offset: 0, lengthBytes: BYTES.length }), BYTES);
  assert.deepEqual(damages, [SUMS, KEY]);
});

test('checksums: a fault of the store while they are read is not kept', async () => {
  const { store } = await storeWith({ operation: 'get', keys: /\.sums$/, when: { kind: 'nth', n: 1 }, fault: { kind: 'fail' } });
  const range = { offset: 0, lengthBytes: 10 };
  await assert.rejects(store.get(KEY, range), hasCode('store-unavailable'));
  assert.deepEqual(await store.get(KEY, range), BYTES.subarray(0, 10));
});

test('checksums: a crate that has none is given as it comes', async () => {
  const { store, inner, faulty } = await storeWith();
  const key = crateKey('cd34cd5600');
  await inner.put(key, BYTES);
  for (let i = 0; i < 3; i++)
    assert.deepEqual(await store.get(key, { offset: 7, lengthBytes: 70_000 }), BYTES.subarray(7, 70_007));
  assert.equal(faulty.injected.length, 0);
  await assert.rejects(store.get(crateKey('ef34cd5600'), { offset: 0, lengthBytes: 1 }), hasCode('store-missing'));
});

test('checksums: come and go with their crate, and a crate without them is none', async () => {
  const { store, inner, faulty } = await storeWith();
  await store.delete(KEY);
  assert.deepEqual(await listed(inner, ''), []);
  for (const kind of ['fail', 'lost-answer'] as const) {
    faulty.setRules([{ operation: 'put', keys: /\.sums$/, when: { kind: 'always' }, fault: { kind } }]);
    await assert.rejects(store.put(KEY, BYTES), hasCode('store-unavailable'));
    assert.equal(await inner.head(KEY), null);
  }
});

test('checksums: more than a page of them', { timeout: 60_000 }, async () => {
  const lengthBytes = (4096 + 3) * SUM_BLOCK_BYTES + 77;
  const inner = createMemoryStore();
  const store = withBlockSums(inner);
  assert.equal(await store.put(KEY, oddChunks(lengthBytes)), lengthBytes);
  assert.equal((await inner.head(SUMS))?.lengthBytes, 2 * (8 + 4 * 4096 + 4));
  const whole = await readWhole(inner, KEY, lengthBytes);
  const edge = 4096 * SUM_BLOCK_BYTES;
  for (const [from, to] of [
    [edge - 10, edge + 10],
    [edge, lengthBytes],
    [lengthBytes - 1, lengthBytes],
  ] as const)
    assert.ok((await store.get(KEY, { offset: from, lengthBytes: to - from })).equals(whole.subarray(from, to)));
  whole.writeUInt8(whole.readUInt8(lengthBytes - 1) ^ 128, lengthBytes - 1);
  await inner.put(KEY, whole);
  await assert.rejects(store.get(KEY, { offset: lengthBytes - 100, lengthBytes: 100 }), hasCode('store-damaged'));
});
