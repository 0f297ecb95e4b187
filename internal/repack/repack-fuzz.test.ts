import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { reachableObjects, seededRandom, syntheticHistory } from '../testkit/mod.ts';
import { DEFAULT_REPACK_SETTINGS } from './mod.ts';
import { asInput, judgedByGit, oidsOf, overlappingPacks, repackOf } from './repack-testing.ts';

describe('repack of any packs', () => {
  for (let seed = 1; seed <= 4; seed++) {
    test(`holds what it is to hold, by steps and with a predicate (${seed})`, async () => {
      const random = seededRandom(seed * 77);
      const repository = await syntheticHistory({ commits: 70, files: 12, seed }).into();
      const packs = await overlappingPacks(repository, random);
      const depth = 1 + random(12);
      const settings = { ...DEFAULT_REPACK_SETTINGS, depth, window: random(12), windowMemoryBytesMax: 1 << (10 + random(10)) };
      while (packs.length > 1) {
        const taken = packs.splice(random(packs.length), 2 + random(4));
        const result = await repackOf(taken, repository, { settings });
        const oids = [...new Set(taken.flatMap(({ blocks }) => oidsOf(blocks)))].sort();
        assert.deepEqual(oidsOf(result.blocks), oids);
        packs.push(await asInput(result, taken[0]!));
      }
      const all = await repackOf(packs, repository, { settings });
      assert.deepEqual(oidsOf(all.blocks), await reachableObjects(repository, 'main'));
      await all.dispose();
      const kept = new Set(oidsOf(all.blocks).filter(() => random(3) > 0));
      const part = await repackOf(packs, repository, {
        settings,
        keep: (oids, at) => kept.has(oids.toString('hex', at, at + 20)),
      });
      const judged = await judgedByGit(part);
      assert.deepEqual(judged.oids, [...kept].sort());
      assert.ok(judged.depth <= depth, `depth ${judged.depth} of ${depth}`);
      await part.dispose();
    });
  }
});
