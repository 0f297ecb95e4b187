import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { seededBytes } from '../testkit/mod.ts';
import { type CutSizes, FastCdcCutter } from './mod.ts';

const SIZES: CutSizes = { minBytes: 64, avgBytes: 256, maxBytes: 1024 };
const BYTES = seededBytes(1, 200_000);

function cuts(bytes: Uint8Array, sizes: CutSizes = SIZES, splits: readonly number[] = []): number[] {
  const cutter = new FastCdcCutter(sizes);
  const found: number[] = [];
  let from = 0;
  for (const split of [...splits, bytes.length]) {
    found.push(...cutter.push(bytes.subarray(from, split)));
    from = split;
  }
  found.push(...cutter.finish());
  return found;
}

/** The places behind each chunk. */
function ends(sizes: readonly number[]): Set<number> {
  let at = 0;
  return new Set(
    sizes.map((size) => {
      at += size;
      return at;
    }),
  );
}

describe('cuts', () => {
  const content = fc.oneof(
    fc.integer({ min: 0, max: 20_000 }).map((at) => BYTES.subarray(at, at + 30_000)),
    fc.uint8Array({ maxLength: 3000, size: 'max' }),
    fc.tuple(fc.nat(255), fc.nat(5000)).map(([byte, length]) => new Uint8Array(length).fill(byte)),
  );

  test('do not depend on how the stream was split', () => {
    fc.assert(
      fc.property(content, fc.array(fc.nat(30_000), { maxLength: 30 }), (bytes, places) => {
        const splits = places.map((place) => Math.min(place, bytes.length)).sort((a, b) => a - b);
        assert.deepEqual(cuts(bytes, SIZES, splits), cuts(bytes));
      }),
      { numRuns: 500 },
    );
    const everyByte = Array.from({ length: 5000 }, (_, i) => i);
    assert.deepEqual(cuts(BYTES.subarray(0, 5000), SIZES, everyByte), cuts(BYTES.subarray(0, 5000)));
  });

  test('cover the stream, and keep to the smallest and the largest size', () => {
    fc.assert(
      fc.property(content, (bytes) => {
        const sizes = cuts(bytes);
        assert.equal(
          sizes.reduce((sum, size) => sum + size, 0),
          bytes.length,
        );
        for (const [i, size] of sizes.entries()) {
          assert.ok(size <= SIZES.maxBytes && size > 0);
          assert.ok(size >= SIZES.minBytes || i === sizes.length - 1);
        }
      }),
    );
  });

  test('come about as often as was asked for', () => {
    for (const avgBytes of [256, 1024, 4096]) {
      const sizes = cuts(BYTES, { minBytes: avgBytes / 4, avgBytes, maxBytes: avgBytes * 4 });
      const mean = BYTES.length / sizes.length;
      assert.ok(mean > avgBytes * 0.8 && mean < avgBytes * 1.5, `${mean} for ${avgBytes}`);
    }
  });

  test('settle soon after bytes were put in or taken out', () => {
    fc.assert(
      fc.property(fc.integer({ min: 50_000, max: 150_000 }), fc.nat(300), fc.nat(300), (at, taken, given) => {
        const edited = Buffer.concat([BYTES.subarray(0, at), seededBytes(7, given), BYTES.subarray(at + taken)]);
        const before = ends(cuts(BYTES));
        const kept = [...ends(cuts(edited))].filter((end) => before.has(end <= at ? end : end - given + taken)).length;
        assert.ok(kept > before.size * 0.95, `${kept} of ${before.size} cuts were kept`);
      }),
      { numRuns: 50 },
    );
  });

  test('begin anew after the end of a stream', () => {
    const cutter = new FastCdcCutter(SIZES);
    const run = (): number[] => [...cutter.push(BYTES), ...cutter.finish()];
    assert.deepEqual(run(), run());
    assert.deepEqual(cutter.finish(), []);
  });
});

test('parameters that cut nonsense are refused', () => {
  const bad = [
    [63, 256, 1024],
    [256, 256, 1024],
    [64, 1024, 256],
    [64, 256, 256],
    [64, 300, 1024],
    [64.5, 256, 1024],
    [64, 256, 2 ** 31],
    [64, 2 ** 29, 2 ** 30],
    [Number.NaN, 256, 1024],
  ] as const;
  for (const [minBytes, avgBytes, maxBytes] of bad) {
    assert.throws(() => new FastCdcCutter({ minBytes, avgBytes, maxBytes }), { code: 'chunking-parameters' });
  }
});
