import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BitSet } from './bitset.ts';
import { checkEncoded, encodeBits, encodedBytes, orEncoded, xorEncoded } from './roaring.ts';

const BOUND = 200_000;

/** Members as runs and single numbers, so that every form of container comes up. */
const members = fc
  .tuple(
    fc.array(fc.tuple(fc.nat(BOUND - 1), fc.nat(70_000)), { maxLength: 4 }),
    fc.array(fc.nat(BOUND - 1), { maxLength: 50 }),
    fc.record({ from: fc.nat(BOUND - 1), step: fc.integer({ min: 2, max: 9 }), count: fc.nat(20_000) }),
    fc.integer({ min: 1, max: BOUND }),
  )
  .map(([runs, single, comb, length]) => {
    const found = new Set<number>();
    for (const [from, count] of runs) for (let n = from; n < Math.min(from + count, length); n++) found.add(n);
    for (const n of single) if (n < length) found.add(n);
    for (let i = 0, n = comb.from; i < comb.count && n < length; i++, n += comb.step) found.add(n);
    return { found, length };
  });

function setOf(numbers: Iterable<number>, length: number): BitSet {
  const set = new BitSet(length);
  for (const n of numbers) set.add(n);
  return set;
}

const sorted = (numbers: Iterable<number>): number[] => [...numbers].sort((a, b) => a - b);

describe('a bit set', () => {
  test('does what a Set does', () => {
    fc.assert(
      fc.property(members, members, (a, b) => {
        const length = Math.max(a.length, b.length);
        const [one, two] = [setOf(a.found, length), setOf(b.found, length)];
        assert.deepEqual([...one], sorted(a.found));
        assert.equal(one.count(), a.found.size);
        const all = [...a.found, ...b.found];
        const results = {
          or: all,
          and: all.filter((n) => a.found.has(n) && b.found.has(n)),
          andNot: all.filter((n) => !b.found.has(n)),
          xor: all.filter((n) => a.found.has(n) !== b.found.has(n)),
        };
        for (const operation of ['or', 'and', 'andNot', 'xor'] as const) {
          const result = one.clone();
          result[operation](two);
          assert.ok(result.equals(setOf(results[operation], length)), operation);
        }
      }),
      { numRuns: 40 },
    );
  });

  test('adds ranges, and finds members, gaps and how many are below', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.array(fc.tuple(fc.nat(300), fc.nat(80)), { maxLength: 5 }),
        (length, ranges) => {
          const set = new BitSet(length);
          const model = new Set<number>();
          for (const [from, count] of ranges) {
            const to = Math.min(from + count, length);
            set.addRange(from, to);
            for (let n = from; n < to; n++) model.add(n);
          }
          for (let n = 0; n < length; n++) {
            assert.equal(set.has(n), model.has(n));
            assert.equal(set.count(n), sorted(model).filter((m) => m < n).length);
            let next = n;
            while (next < length && !model.has(next)) next++;
            assert.equal(set.next(n), next);
            let clear = n;
            while (clear < length && model.has(clear)) clear++;
            assert.equal(set.nextClear(n), clear);
          }
          const met: number[] = [];
          set.forEach((n) => void met.push(n));
          assert.deepEqual(met, sorted(model));
        },
      ),
    );
  });
});

describe('an encoded set', () => {
  test('comes back as it was, added or turned over', () => {
    fc.assert(
      fc.property(members, members, (a, b) => {
        const length = Math.max(a.length, b.length);
        const one = setOf(a.found, length);
        const bytes = encodeBits(one);
        assert.equal(bytes.length, encodedBytes(one));
        assert.equal(checkEncoded(bytes, 0, bytes.length, length), bytes.length);
        const or = setOf(b.found, length);
        orEncoded(or, bytes, 0);
        assert.ok(or.equals(setOf([...a.found, ...b.found], length)));
        const xor = setOf(b.found, length);
        xorEncoded(xor, bytes, 0);
        assert.ok(
          xor.equals(
            setOf(
              [...a.found, ...b.found].filter((n) => a.found.has(n) !== b.found.has(n)),
              length,
            ),
          ),
        );
      }),
      { numRuns: 60 },
    );
  });

  test('takes the smallest form', () => {
    const all = new BitSet(65536);
    all.addRange(0, 65536);
    assert.equal(encodedBytes(all), 4 + 5 + 4);
    assert.equal(encodedBytes(setOf([1, 5, 9], 65536)), 4 + 5 + 6);
    const half = new BitSet(65536);
    for (let n = 0; n < 65536; n += 2) half.add(n);
    assert.equal(encodedBytes(half), 4 + 5 + 8192);
  });

  test('is refused when it is cut, and never breaks a set when a byte is another', () => {
    fc.assert(
      fc.property(members, fc.nat(), fc.integer({ min: 1, max: 255 }), ({ found, length }, place, change) => {
        const bytes = encodeBits(setOf(found, length));
        if (found.size > 0) assert.throws(() => checkEncoded(bytes, 0, bytes.length - 1, length), { code: 'bad-bitmap' });
        bytes[place % bytes.length]! ^= change;
        let end: number;
        try {
          end = checkEncoded(bytes, 0, bytes.length, length);
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'bad-bitmap');
          return;
        }
        assert.ok(end <= bytes.length);
        const set = new BitSet(length);
        orEncoded(set, bytes, 0);
        const turned = new BitSet(length);
        xorEncoded(turned, bytes, 0);
        assert.ok(set.equals(turned));
        // No member at the bound or above, also not in the last word.
        assert.equal(set.count(), [...set].length);
        if ((length & 31) !== 0) assert.equal(set.words.at(-1)! >>> (length & 31), 0);
      }),
      { numRuns: 60 },
    );
  });

  test('with members at the bound is refused in every form', () => {
    const sparse = setOf([10, 99], 100);
    const run = new BitSet(100);
    run.addRange(50, 100);
    const dense = new BitSet(40_000);
    for (let n = 1; n < 40_000; n += 2) dense.add(n);
    for (const [set, length] of [
      [sparse, 99],
      [run, 99],
      [dense, 39_999],
    ] as const) {
      const bytes = encodeBits(set);
      assert.throws(() => checkEncoded(bytes, 0, bytes.length, length), { code: 'bad-bitmap' });
    }
  });
});
