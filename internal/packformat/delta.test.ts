import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PackhouseError } from '../base/mod.ts';
import { buildDelta, type DeltaOp } from '../testkit/mod.ts';
import { applyDelta, applyDeltaInto, readDeltaSizes } from './mod.ts';

const BASE = Buffer.from('the quick brown fox jumps over the lazy dog, again and again and again\n');

const op = fc.oneof(
  fc.record({ insert: fc.string({ minLength: 1, maxLength: 127, unit: 'binary-ascii' }) }),
  fc
    .tuple(fc.nat(BASE.length - 1), fc.integer({ min: 1, max: BASE.length }))
    .map(([offset, length]): DeltaOp => ({ copy: [offset, Math.min(length, BASE.length - offset)] })),
);

function expected(ops: readonly DeltaOp[]): Buffer {
  return Buffer.concat(
    ops.map((each) => {
      if ('insert' in each) return Buffer.from(each.insert, 'latin1');
      return 'copy' in each ? BASE.subarray(each.copy[0], each.copy[0] + each.copy[1]) : Buffer.alloc(0);
    }),
  );
}

test('a delta of copies and inserts makes what they say', () => {
  fc.assert(
    fc.property(fc.array(op, { minLength: 1 }), (ops) => {
      const result = expected(ops);
      assert.deepEqual(applyDelta(BASE, buildDelta(BASE.length, result.length, ops)), result);
    }),
  );
});

test('a copy without a length takes 64 KiB', () => {
  const base = Buffer.alloc(0x10000, 'x');
  assert.deepEqual(applyDelta(base, buildDelta(base.length, base.length, [{ raw: [0x80] }])), base);
});

test('a delta that claims more than its instructions make is refused before there is room for it', () => {
  for (const size of [2 ** 21, 2 ** 31, 2 ** 40, 2n ** 53n]) {
    assert.throws(() => applyDelta(BASE, buildDelta(BASE.length, size, [{ copy: [0, BASE.length] }])), { code: 'delta' });
  }
  const base = Buffer.alloc(70_000, 'x');
  const ops: readonly DeltaOp[] = [
    { raw: [0x80] },
    { copy: [0, 70_000] },
    { insert: 'y'.repeat(100) },
    { raw: [0xb0, 0x10, 0x27] },
  ];
  const repeated = Array.from({ length: 20 }, () => ops).flat();
  const size = 20 * (0x10000 + 70_000 + 100 + 10_000);
  assert.equal(applyDelta(base, buildDelta(base.length, size, repeated)).length, size);
});

test('a mutated delta makes the size it claims or is refused, and writes nothing outside its room', () => {
  const ops: DeltaOp[] = [{ copy: [4, 20] }, { insert: 'new words' }, { copy: [0, 40] }, { insert: 'end' }];
  const good = buildDelta(BASE.length, expected(ops).length, ops);
  const edits = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(edits, fc.nat(good.length), (changes, length) => {
      const delta = Buffer.from(good.subarray(0, length));
      for (const [at, byte] of changes) if (at < delta.length) delta[at] = byte;
      try {
        const sizes = readDeltaSizes(delta);
        if (sizes.resultSize > 1 << 20) return;
        const output = Buffer.alloc(sizes.resultSize + 64, 0xaa);
        applyDeltaInto(BASE, delta, sizes, output, 32);
        assert.ok(output.subarray(0, 32).every((byte) => byte === 0xaa));
        assert.ok(output.subarray(32 + sizes.resultSize).every((byte) => byte === 0xaa));
      } catch (error) {
        assert.ok(error instanceof PackhouseError && error.code === 'delta', String(error));
      }
    }),
    { numRuns: 5000 },
  );
});

test('a delta that git would not apply is refused, though it could be', () => {
  assert.throws(() => applyDelta(BASE, Buffer.from([BASE.length, 0])), { code: 'delta', message: /shorter than any/ });
  assert.throws(() => applyDelta(BASE, buildDelta(BASE.length, 4, [{ raw: [0] }, { insert: 'abcd' }])), { code: 'delta' });
});
