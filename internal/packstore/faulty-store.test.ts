import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { PackhouseError } from '../base/mod.ts';
import { hasCode, listed } from './conformance.ts';
import { withCounters } from './counters.ts';
import { createFaultyStore, type FaultRule } from './faulty-store.ts';
import { crateKey, sidecarKey } from './keys.ts';
import { createMemoryStore } from './memory-store.ts';

const always = { kind: 'always' } as const;
const bytes = randomBytes(1_000);
const all = { offset: 0, lengthBytes: 1_000 };

function storeWith(...rules: FaultRule[]) {
  return createFaultyStore(createMemoryStore(), { rules, seed: 7 });
}

test('faulty: the n-th call of an operation fails and has done nothing', async () => {
  const store = storeWith({ operation: 'put', when: { kind: 'nth', n: 2 }, fault: { kind: 'fail' } });
  await store.put('a', bytes);
  await assert.rejects(store.put('b', bytes), hasCode('store-unavailable'));
  assert.equal(await store.head('b'), null);
  await store.put('b', bytes);
  assert.deepEqual(
    store.injected.map(({ operation, key }) => [operation, key]),
    [['put', 'b']],
  );
});

test('faulty: a lost answer rejects although it is done', async () => {
  const store = storeWith({ operation: 'any', keys: /^lost/, when: always, fault: { kind: 'lost-answer' } });
  await assert.rejects(store.put('lost', bytes), hasCode('store-unavailable'));
  store.setRules([]);
  assert.equal((await store.head('lost'))?.lengthBytes, 1_000);
  store.setRules([{ operation: 'delete', when: always, fault: { kind: 'lost-answer' } }]);
  await assert.rejects(store.delete('lost'), hasCode('store-unavailable'));
  assert.equal(await store.head('lost'), null);
});

test('faulty: a broken source stores nothing', async () => {
  for (const afterBytes of [0, 10, 1_000, 5_000]) {
    const store = storeWith({ operation: 'put', when: always, fault: { kind: 'break-source', afterBytes } });
    await assert.rejects(store.put('a', bytes), hasCode('store-unavailable'));
    assert.equal(await store.head('a'), null);
  }
});

test('faulty: gets are cut and bits are turned, in what is given and not in what is stored', async () => {
  const store = storeWith(
    { operation: 'get', when: { kind: 'nth', n: 1 }, fault: { kind: 'truncate', lengthBytes: 10 } },
    { operation: 'get', when: { kind: 'nth', n: 2 }, fault: { kind: 'flip', bit: 9 } },
    { operation: 'get', when: { kind: 'nth', n: 3 }, fault: { kind: 'flip' } },
  );
  await store.put('a', bytes);
  assert.equal((await store.get('a', all)).length, 10);
  const turned = await store.get('a', all);
  assert.equal(turned.readUInt8(1) ^ bytes.readUInt8(1), 2);
  turned.writeUInt8(bytes.readUInt8(1), 1);
  assert.deepEqual(turned, bytes);
  const anywhere = await store.get('a', all);
  assert.equal(anywhere.filter((byte, at) => byte !== bytes[at]).length, 1);
  assert.deepEqual(await store.get('a', all), bytes);
  assert.equal(store.injected.length, 3);
});

test('faulty: random faults are the same for the same seed', async () => {
  async function failures(seed: number): Promise<string> {
    const rules: FaultRule[] = [{ operation: 'head', when: { kind: 'random', probability: 0.3 }, fault: { kind: 'fail' } }];
    const store = createFaultyStore(createMemoryStore(), { rules, seed });
    let seen = '';
    for (let turn = 0; turn < 200; turn += 1) {
      seen += await store.head('a').then(
        () => '.',
        () => 'x',
      );
    }
    return seen;
  }
  assert.equal(await failures(1), await failures(1));
  assert.notEqual(await failures(1), await failures(2));
  const share = (await failures(3)).replaceAll('.', '').length / 200;
  assert.ok(share > 0.15 && share < 0.45, `about 30 % fail: ${share}`);
});

test('faulty: a delay ends with the signal', async () => {
  const store = storeWith({ operation: 'get', when: always, fault: { kind: 'delay', milliseconds: 600_000 } });
  await store.put('a', bytes);
  const abort = new AbortController();
  const reading = store.get('a', { ...all, signal: abort.signal });
  abort.abort(new Error('waited enough'));
  await assert.rejects(reading, /waited enough/);
});

test('faulty: lists and checks fail too', async () => {
  const store = storeWith({ operation: 'any', when: always, fault: { kind: 'fail' } });
  await assert.rejects(listed(store, ''), hasCode('store-unavailable'));
  await assert.rejects(store.check(), hasCode('store-unavailable'));
  await assert.rejects(store.removeUnfinished(1), hasCode('store-unavailable'));
});

test('counters: each finished call is told with its bytes and its outcome', async () => {
  const seen: [string, number, boolean][] = [];
  const inner = storeWith({ operation: 'list', keys: /^bad/, when: always, fault: { kind: 'fail' } });
  const store = withCounters(inner, (operation, moved, seconds, ok) => {
    assert.ok(seconds >= 0);
    seen.push([operation, moved, ok]);
  });
  await store.put('a', bytes);
  await store.put('b', bytes);
  await store.get('a', { offset: 5, lengthBytes: 20 });
  await assert.rejects(store.get('none', all));
  await store.head('a');
  for await (const _ of store.list('')) break;
  await assert.rejects(listed(store, 'bad'));
  await store.delete('a');
  await store.check();
  assert.deepEqual(seen, [
    ['put', 1_000, true],
    ['put', 1_000, true],
    ['get', 20, true],
    ['get', 0, false],
    ['head', 0, true],
    ['list', 0, true],
    ['list', 0, false],
    ['delete', 0, true],
    ['check', 0, true],
  ]);
});

test('keys: a crate and its sidecars lie beside each other', () => {
  assert.equal(crateKey('ab34cd5600'), 'crates/ab/ab34cd5600.pack');
  assert.equal(sidecarKey(crateKey('ab34cd5600'), 'idx'), 'crates/ab/ab34cd5600.idx');
  for (const id of ['', '../../x', 'AB34CD5600', 'ab', 'ab34cd56/0', `ab34${'0'.repeat(100)}`]) {
    assert.throws(() => crateKey(id), PackhouseError, id);
  }
  assert.throws(() => sidecarKey('crates/ab/ab34cd5600.idx', 'reach'), PackhouseError);
});
