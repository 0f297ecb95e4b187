import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteCache } from './byte-cache.ts';

test('a cache keeps what was used last, within its bytes', () => {
  const steps = fc.array(fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd', 'e'), size: fc.option(fc.nat(60)) }), {
    maxLength: 80,
  });
  fc.assert(
    fc.property(steps, fc.constantFrom(0, 20), (sequence, entryBytes) => {
      const cache = new ByteCache(100, undefined, entryBytes);
      const bytesOf = (entries: typeof model): number => entries.reduce((sum, kept) => sum + kept.size + entryBytes, 0);
      let model: { key: string; size: number }[] = [];
      for (const { key, size } of sequence) {
        const at = model.findIndex((kept) => kept.key === key);
        if (size === null) {
          assert.equal(cache.get(key)?.length, model[at]?.size);
          if (at >= 0) model.push(...model.splice(at, 1));
          continue;
        }
        cache.set(key, Buffer.alloc(size));
        model = [...model.filter((kept) => kept.key !== key), { key, size }];
        while (bytesOf(model) > 100) model.shift();
      }
      assert.equal(cache.bytes, bytesOf(model));
      for (const { key } of model) assert(cache.has(key));
    }),
  );
});

test('what is larger than the cache is not kept, nor is what it replaces', () => {
  const looked: boolean[] = [];
  const cache = new ByteCache(10, (hit) => looked.push(hit));
  cache.set('a', Buffer.alloc(4));
  cache.set('a', Buffer.alloc(11));
  assert.equal(cache.get('a'), undefined);
  cache.set('b', Buffer.alloc(10));
  assert.equal(cache.get('b')?.length, 10);
  assert.deepEqual([cache.bytes, looked], [10, [false, true]]);
});

test('a cache that is limited lets go of the least recently used, and takes its whole bound again later', () => {
  const cache = new ByteCache(100);
  const held = (): string[] => [...'abcdef'].filter((key) => cache.has(key));
  for (const key of 'abcd') cache.set(key, Buffer.alloc(25));
  cache.get('a');
  cache.limitTo(0.5);
  assert.deepEqual(held(), ['a', 'd']);
  cache.set('e', Buffer.alloc(25));
  assert.deepEqual(held(), ['a', 'e']);
  cache.limitTo(1);
  for (const key of 'bc') cache.set(key, Buffer.alloc(25));
  assert.deepEqual(held(), ['a', 'b', 'c', 'e']);
  cache.limitTo(0);
  assert.deepEqual([held(), cache.bytes], [[], 0]);
});
