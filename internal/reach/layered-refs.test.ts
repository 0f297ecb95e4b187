import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Ref } from '../catalog/mod.ts';
import { seededRandom } from '../testkit/mod.ts';
import { LayeredRefs } from './layered-refs.ts';

function ref(name: string, value: number): Ref {
  return { name, oid: Buffer.alloc(20, value), peeled: null, createdPush: value };
}

test('states one after the other tell what a sorted map tells, and earlier ones stay as they were', () => {
  const random = seededRandom(7);
  for (const start of [0, 3, 500]) {
    const known = new Map<string, Ref>();
    for (let i = 0; i < start; i++) known.set(`refs/${i}`, ref(`refs/${i}`, i));
    let refs = LayeredRefs.of(known.values());
    for (let push = 0; push < 300; push++) {
      const before = refs;
      const sizeBefore = before.size;
      const changes: (Ref | { name: string; oid: null })[] = [];
      for (let n = random(4); n >= 0; n--) {
        const name = `refs/${random(600)}`;
        changes.push(random(10) < 3 ? { name, oid: null } : ref(name, push % 256));
      }
      refs = refs.with(changes);
      for (const change of changes) {
        if (change.oid === null) known.delete(change.name);
        else known.set(change.name, change);
      }
      assert.equal(refs.size, known.size);
      const name = `refs/${random(600)}`;
      assert.deepEqual(refs.get(name), known.get(name));
      assert.equal(refs.has(name), known.has(name));
      if (push % 7 > 0) continue;
      const sorted = [...known.values()].sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
      assert.deepEqual([...refs.values()], sorted);
      assert.deepEqual(
        [...refs.keys()],
        sorted.map(({ name }) => name),
      );
      assert.equal([...before].length, sizeBefore);
    }
  }
});
