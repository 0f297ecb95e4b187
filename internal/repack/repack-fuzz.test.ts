import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { reachableObjects, seededRandom, syntheticHistory } from '../testkit/mod.ts';
import { DEFAULT_REPACK_SETTINGS } from './mod.ts';
import { asInput, commitsOf, judgedByGit, oidsOf, repackOf, type TestPack, testPack, thinPack } from './repack-testing.ts';

/** Packs that overlap: thin and whole ones of random stretches of history, some repacked already. */
async function overlappingPacks(repository: string, random: (below: number) => number): Promise<TestPack[]> {
  const commits = await commitsOf(repository);
  const packs: TestPack[] = [];
  for (let from = -1; from < commits.length - 1; ) {
    const to = Math.min(commits.length - 1, from + 1 + random(12));
    // Now and then from an earlier commit on, so that objects stand in several packs, as deltas of different bases.
    const known = from < 0 || random(5) === 0 ? [] : [`^${commits[Math.max(0, from - random(4))]}`];
    packs.push(
      await testPack(
        await thinPack(repository, [commits[to]!, ...known], `--window=${random(3) * 20}`, '--no-reuse-delta'),
        repository,
      ),
    );
    from = to;
  }
  return packs;
}

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
