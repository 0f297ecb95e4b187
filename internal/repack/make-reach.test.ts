import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BitSet, packOrder, ReachBitmaps } from '../bitmap/mod.ts';
import { git, syntheticHistory } from '../testkit/mod.ts';
import { makeReach } from './mod.ts';
import { commitsOf, oidsOf, repackOf, stepPacks } from './repack-testing.ts';

const { signal } = new AbortController();

describe('bitmaps of a repacked pack', () => {
  test('say what git says, deltas and all', async () => {
    const repository = await syntheticHistory({ commits: 400 }).into();
    const commits = await commitsOf(repository);
    const packs = await stepPacks(repository, [commits[100]!, commits[200]!, commits.at(-1)!]);
    const pack = await repackOf(packs, repository);
    const bytes = await makeReach(pack, 'sha1', signal);
    assert.ok(bytes !== null);
    const bitmaps = new ReachBitmaps(bytes, 'sha1', pack.checksum, pack.objectCount);
    const oids = oidsOf(pack.blocks);
    const { rows, positions } = packOrder(Float64Array.from(pack.blocks.flatMap((block) => [...block.offsets])));
    for (const position of [...bitmaps.commits].slice(-3)) {
      const set = new BitSet(pack.objectCount);
      assert.ok(bitmaps.addReached(set, position));
      const told = (await git(['rev-list', '--objects', '--no-object-names', oids[rows[position]!]!], { cwd: repository })).split(
        '\n',
      );
      assert.deepEqual([...set].map((n) => oids[rows[n]!]!).sort(), told.sort());
    }
    assert.ok(bitmaps.hasBitmap(positions[oids.indexOf(commits.at(-1)!)]!), 'the tip has one');
    await pack.dispose();
  });

  test('are not made for a pack that is not closed', async () => {
    const repository = await syntheticHistory({ commits: 400 }).into();
    const commits = await commitsOf(repository);
    const packs = await stepPacks(repository, [commits[2]!, commits.at(-1)!]);
    const open = await repackOf(packs.slice(1), repository);
    assert.equal(await makeReach(open, 'sha1', signal), null);
    await open.dispose();
  });

  test('are refused when the file is not what its table says', async () => {
    const repository = await syntheticHistory({ commits: 400 }).into();
    const pack = await repackOf(await stepPacks(repository, ['main']), repository);
    const blocks = pack.blocks.map((block) => ({ ...block, offsets: block.offsets.toReversed() }));
    await assert.rejects(makeReach({ ...pack, blocks }, 'sha1', signal), { code: /^(bad-bitmap|repack-unsound)$/ });
    await pack.dispose();
  });
});
