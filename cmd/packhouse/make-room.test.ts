import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makingRoom } from './make-room.ts';

test('caches hold less by what large pushes take, each in proportion and never nothing, and have it back after', () => {
  const MIB = 1 << 20;
  const parts = [1, 1];
  const caches = parts.map((_, i) => ({
    limitTo(part: number) {
      parts[i] = part;
    },
  }));
  const makeRoom = makingRoom(caches, 200 * MIB);
  const first = makeRoom(50 * MIB);
  assert.deepEqual(parts, [0.75, 0.75]);
  const second = makeRoom(1000 * MIB);
  assert.deepEqual(parts, [0.2, 0.2]);
  second();
  second();
  assert.deepEqual(parts, [0.75, 0.75]);
  first();
  assert.deepEqual(parts, [1, 1]);
});

test('what caches let go of for a very large push is collected before anything else is done, also what they would find again', async () => {
  let held: object | null = { name: 'an index' };
  let forgotten!: WeakRef<object>;
  const cache = {
    limitTo() {
      if (held !== null) forgotten = new WeakRef(held);
      held = null;
    },
  };
  makingRoom([cache], 1 << 30)(256 << 20);
  await new Promise(setImmediate);
  assert.equal(forgotten.deref(), undefined);
});
