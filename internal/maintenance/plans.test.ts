import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { CrateSummary, PackSummary } from '../catalog/mod.ts';
import { cratesToLeave, planGathers, planMerges } from './plan-compact.ts';
import { planMerge } from './plan-merge.ts';
import { planSeal, tailsDue } from './plan-seal.ts';
import { Rest } from './rest.ts';

const RULES = { ratio: 2, packBytesMax: 1_000_000 };
const sum = (packs: readonly { lengthBytes: number }[]): number => packs.reduce((bytes, pack) => bytes + pack.lengthBytes, 0);
const sizes = fc.array(fc.integer({ min: 1, max: 1_200_000 }), { maxLength: 40 });

function pack(id: number, lengthBytes: number, more: Partial<PackSummary> = {}): PackSummary {
  const crateKey = `crates/aa/${id}.pack`;
  return {
    poolId: 1,
    id,
    tier: 'store',
    state: 'live',
    crateKey,
    extentOffset: 0,
    lengthBytes,
    objectCount: 1,
    leased: false,
    ...more,
  };
}

const packsOf = (lengths: readonly number[]): PackSummary[] => lengths.map((lengthBytes, i) => pack(i + 1, lengthBytes));

/** Whether each pack is `ratio` times larger than all smaller ones together. */
function isGeometric(lengths: readonly number[]): boolean {
  let smaller = 0;
  return lengths
    .toSorted((a, b) => a - b)
    .every((length) => {
      const holds = length >= RULES.ratio * smaller;
      smaller += length;
      return holds;
    });
}

describe('a merge', () => {
  test('leaves each pack at least `ratio` times larger than all smaller ones, and takes nothing when that is so', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 0, max: 50_000 }), (lengths, merged) => {
        const packs = packsOf(lengths);
        const chosen = planMerge(packs, merged, { ...RULES, packBytesMax: Number.POSITIVE_INFINITY });
        const ids = new Set(chosen.map(({ id }) => id));
        const rest = packs.filter(({ id }) => !ids.has(id)).map(({ lengthBytes }) => lengthBytes);
        const result = merged + sum(chosen);
        assert(isGeometric([...rest, ...(result > 0 ? [result] : [])]), `${chosen.length} of ${lengths}`);
        if (merged === 0 && isGeometric(lengths)) assert.equal(chosen.length, 0);
      }),
    );
  });

  test('makes no pack that is too large, and lets those be that are', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 0, max: 50_000 }), (lengths, merged) => {
        const chosen = planMerge(packsOf(lengths), merged, RULES);
        assert(merged + sum(chosen) <= RULES.packBytesMax);
        assert(chosen.every(({ lengthBytes }) => lengthBytes < RULES.packBytesMax));
      }),
    );
  });

  test('copies each byte a logarithm of times, however many packs come', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 50, maxLength: 400 }), (arrivals) => {
        let packs: PackSummary[] = [];
        let copied = 0;
        let longest = 0;
        arrivals.forEach((lengthBytes, i) => {
          packs.push(pack(i + 1, lengthBytes));
          const chosen = new Set(planMerge(packs, 0, RULES));
          if (chosen.size < 2) return;
          copied += sum([...chosen]);
          packs = [...packs.filter((one) => !chosen.has(one)), pack(10_000 + i, sum([...chosen]))];
          longest = Math.max(longest, packs.length);
        });
        const total = sum(packsOf(arrivals));
        const logarithm = Math.log2(total) + 2;
        assert(longest <= logarithm, `${longest} packs of ${total} bytes`);
        assert(copied <= total * logarithm, `${copied} bytes were copied of ${total}`);
      }),
      { numRuns: 50 },
    );
  });

  test('with `full` brings all together that fit, and nothing that is worked on', () => {
    const packs = [pack(1, 100), pack(2, 1000), pack(3, 500_000), pack(4, 1_000_000), pack(5, 600_000, { leased: true })];
    assert.deepEqual(planMerges(packs, RULES, false), []);
    assert.deepEqual(
      planMerges(packs, RULES, true).map((merge) => merge.packs.map(({ id }) => id)),
      [[1, 2, 3]],
    );
    const others = [pack(6, 10, { poolId: 2 }), pack(7, 10, { poolId: 2 }), pack(8, 10, { poolId: 2, tier: 'chunks' })];
    assert.deepEqual(
      planMerges([...packs, ...others], RULES, false).map(({ poolId, bytes, packs: chosen }) => [poolId, bytes, chosen.length]),
      [[2, 20, 2]],
    );
  });
});

describe('a sealing', () => {
  test('takes the tail, oldest first, and store packs that are small beside it', () => {
    const tail = (id: number, lengthBytes: number, more = {}): PackSummary =>
      pack(id, lengthBytes, { tier: 'tail', crateKey: null, ...more });
    const packs = [pack(1, 90), pack(2, 1000), tail(5, 30), tail(3, 30), tail(4, 30, { leased: true })];
    const ids = (chosen: readonly PackSummary[]): number[] => chosen.map(({ id }) => id);
    assert.deepEqual(ids(planSeal(packs, RULES)), [3, 5, 1]);
    assert.deepEqual(ids(planSeal([pack(1, 90)], RULES)), []);
    assert.deepEqual(ids(planSeal(packs, { ratio: 2, packBytesMax: 40 })), [3]);
    assert.deepEqual(ids(planSeal([tail(1, 50)], { ratio: 2, packBytesMax: 40 })), [1], 'one that is too large goes alone');
  });

  test('is due by size, number or age', () => {
    const tail = { poolId: 1, packs: 1, bytes: 1, ageMs: 1 };
    const rules = { bytes: 10, packs: 10, ageMs: 10 };
    const tails = [tail, { ...tail, packs: 10 }, { ...tail, bytes: 10 }, { ...tail, ageMs: 10 }];
    assert.deepEqual(tailsDue(tails, rules, false), tails.slice(1));
    assert.deepEqual(tailsDue(tails, rules, true), tails);
  });
});

describe('gathering', () => {
  const rules = { ratio: 2, crateBytes: 1000, deadPercent: 30, cratesMin: 4 };
  const crate = (key: string, liveBytes: number, bytes = liveBytes): CrateSummary => ({ key, livePacks: 1, liveBytes, bytes });
  const keys = (crates: readonly CrateSummary[]): string[] => cratesToLeave(crates, rules).map(({ key }) => key);

  test('leaves crates with too much dead space', () => {
    assert.deepEqual(keys([crate('a', 5000, 7000), crate('b', 5000, 8000), crate('c', 0, 100)]), ['b']);
  });

  test('leaves small crates once they are many, or fill a large one', () => {
    assert.deepEqual(keys(['a', 'b', 'c'].map((key) => crate(key, 10))), []);
    assert.deepEqual(keys(['a', 'b', 'c', 'd'].map((key) => crate(key, 10))), ['a', 'b', 'c', 'd']);
    assert.deepEqual(keys([crate('a', 600), crate('b', 700)]), ['a', 'b']);
    assert.deepEqual(
      keys([crate('a', 1), crate('b', 1), crate('c', 1), crate('d', 1), crate('e', 900)]),
      ['a', 'b', 'c', 'd'],
      'not one that is large beside them',
    );
    assert.deepEqual(keys([crate('a', 999), crate('b', 1000)]), [], 'one alone stays');
  });

  test('lays every pack into one load, in order of pool, and none that is small but the only one', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 1500 }))), (list) => {
        const packs = list.map(([poolId, lengthBytes], i) => pack(i + 1, lengthBytes, { poolId }));
        const gathers = planGathers(packs, 1000);
        const laid = gathers.flatMap((gather) => gather.packs);
        assert.equal(new Set(laid).size, packs.length);
        assert.equal(laid.length, packs.length);
        assert(laid.every((one, i) => i === 0 || laid[i - 1]!.poolId <= one.poolId));
        for (const gather of gathers) {
          assert.equal(gather.bytes, sum(gather.packs));
          assert(gather.bytes >= 1000 || gathers.length === 1);
        }
      }),
    );
  });
});

test('a pool that could not be worked on rests, twice as long each time, up to an hour, until it works', () => {
  let now = 0;
  const rest = new Rest(() => now);
  const restsFor = (): number => {
    rest.failed('seal', 7);
    const from = now;
    assert.deepEqual([rest.has('seal', 7), rest.has('gather', 7), rest.has('seal', 8)], [true, false, false]);
    assert.deepEqual(rest.pools('seal'), [7]);
    while (rest.has('seal', 7)) now += 30_000;
    return (now - from) / 60_000;
  };
  assert.deepEqual(Array.from({ length: 8 }, restsFor), [1, 2, 4, 8, 16, 32, 60, 60]);
  assert.deepEqual(rest.pools('seal'), []);
  rest.worked('seal', 7);
  assert.equal(restsFor(), 1);
});
