import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Fault, FaultRule } from '../../../internal/packstore/mod.ts';
import { FaultPushes, figuresLine, noFigures } from './fault-pushes-testing.ts';
import { FaultyHouse } from './faulty-house-testing.ts';

const KINDS = ['fail', 'lost-answer'] as const satisfies readonly Fault['kind'][];
/** More calls of the store than a round makes. */
const CALLS_MAX = 200;
/** So often a push is tried again before it counts as failed. */
const TRIES_MAX = 8;
const isShort = process.env.TORTURE_SECONDS === undefined;
const SEED = Number(process.env.TORTURE_SEED ?? 1);

/** Damages that nobody is to notice: bits that turn, and answers that end early. */
const DAMAGES: readonly FaultRule[] = [
  { operation: 'get', when: { kind: 'random', probability: 0.06 }, fault: { kind: 'flip' } },
  { operation: 'get', when: { kind: 'random', probability: 0.04 }, fault: { kind: 'truncate', lengthBytes: 100 } },
];

/** About one call in twenty, after all tries of a client of the store. */
const ONE_IN_TWENTY: readonly FaultRule[] = [
  { operation: 'any', when: { kind: 'random', probability: 0.015 }, fault: { kind: 'fail' } },
  { operation: 'any', when: { kind: 'random', probability: 0.015 }, fault: { kind: 'lost-answer' } },
  { operation: 'put', when: { kind: 'random', probability: 0.02 }, fault: { kind: 'break-source', afterBytes: 1000 } },
  { operation: 'any', when: { kind: 'random', probability: 0.02 }, fault: { kind: 'delay', milliseconds: 100 } },
  { operation: 'get', when: { kind: 'random', probability: 0.02 }, fault: { kind: 'flip' } },
  { operation: 'get', when: { kind: 'random', probability: 0.02 }, fault: { kind: 'truncate', lengthBytes: 100 } },
];

describe(`a store (seed ${SEED})`, () => {
  let house: FaultyHouse;
  before(async () => {
    house = await FaultyHouse.start({ seed: SEED });
  });
  after(() => house?.close());

  const open = (name: string): Promise<FaultPushes> => FaultPushes.open(`faults/${name}`, house.url, house.databaseUrl);

  /** A push, a fetch, sealing and a sweep, in which the n-th call comes to grief; whether there were so many. */
  async function strike(n: number, kind: (typeof KINDS)[number], figures: ReturnType<typeof noFigures>): Promise<boolean> {
    const fault: Fault = { kind };
    const pushes = await open(`${kind}-${n}`);
    house.setFaults({ operation: 'any', when: { kind: 'nth', n }, fault }, ...DAMAGES);
    await pushes.struck('large', figures, () => {}, TRIES_MAX);
    await pushes.struck('small', figures, () => {}, TRIES_MAX);
    await pushes.cloned();
    await house.maintain(await pushes.poolId(), ['seal', 'sweep']);
    house.setFaults();
    assert.equal(await pushes.cloned(house.calm.url), 0);
    await pushes.close();
    return house.faults.injected.some((injected) => injected.fault === fault);
  }

  test('whose n-th call fails, or is done without an answer, for every n, loses nothing and serves no wrong byte', async (t) => {
    const figures = noFigures();
    // The long form lets each call fail in each way; the short one every fourth, in turns.
    for (const kinds of isShort ? [KINDS] : KINDS.map((kind) => [kind]))
      for (let i = 0, struck = true; struck; i++) {
        const n = isShort ? 1 + 4 * i : 1 + i;
        assert(n < CALLS_MAX, 'a round ends');
        struck = await strike(n, kinds[i % kinds.length]!, figures);
      }
    t.diagnostic(figuresLine(figures));
    t.diagnostic(house.injected());
    assert(figures.refused > 0, 'faults were felt');
  });

  test('that turns a bit of any read of a clone serves no wrong byte', async () => {
    const pushes = await open('flips');
    await pushes.push('large');
    await pushes.push('stored');
    let clones = 0;
    for (let n = 1; ; n++) {
      const before = house.faults.injected.length;
      house.setFaults({ operation: 'get', when: { kind: 'nth', n }, fault: { kind: 'flip' } });
      assert.equal(await pushes.cloned(), 0);
      if (house.faults.injected.length === before) break;
      clones++;
    }
    await pushes.close();
    assert(clones >= 3, `${clones} reads`);
  });

  test('that fails in one call of twenty takes nearly every push by retry, and serves no wrong byte', async (t) => {
    const figures = noFigures();
    const rounds = isShort ? 8 : 200;
    const before = house.faults.injected.length;
    house.setFaults(...ONE_IN_TWENTY);
    const repositories = await Promise.all(['one', 'two'].map(open));
    const work = repositories.map(async (pushes) => {
      for (let i = 0; i < rounds; i++) {
        await pushes.struck(i % 3 === 0 ? 'large' : 'small', figures, () => {}, TRIES_MAX);
        if (i % 4 === 3) await pushes.cloned(house.url, TRIES_MAX);
      }
    });
    let going = true;
    const maintenance = (async () => {
      while (going) await house.maintain(null, ['seal', 'compact', 'sweep', 'retire']);
    })();
    try {
      await Promise.all(work);
    } finally {
      going = false;
      await maintenance;
    }
    house.setFaults();
    for (const pushes of repositories) {
      assert.equal(await pushes.cloned(house.calm.url), 0);
      await pushes.close();
    }
    t.diagnostic(`${figuresLine(figures)}, rounds of maintenance stopped ${house.stopped}`);
    t.diagnostic(house.injected());
    assert(house.faults.injected.length > before);
  });

  test('leaves nothing behind after the grace and a sweep', () => house.assertNothingLeft());
});
