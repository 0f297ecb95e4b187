import assert from 'node:assert/strict';
import { test } from 'node:test';
import { givingWay } from './give-way.ts';

test('caches give to large pushes what these hold beyond one worker’s memory, from each in proportion, and have it back after', () => {
  const MIB = 1 << 20;
  const parts: number[][] = [[], []];
  const onPushMemory = givingWay(
    parts.map((told) => ({ limitTo: (part: number) => told.push(part) })),
    200 * MIB,
  );
  for (const mib of [80, 130, 280, 1000, 0]) onPushMemory(mib * MIB);
  assert.deepEqual(parts, [
    [1, 0.75, 0, 0, 1],
    [1, 0.75, 0, 0, 1],
  ]);
});
