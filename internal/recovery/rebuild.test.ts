import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createToken } from '../auth/mod.ts';
import { git } from '../testkit/mod.ts';
import { Farm, rowsOf } from './recovery-testing.ts';
import { writeSnapshot } from './snapshot.ts';

describe('a catalog that was lost', () => {
  let farm: Farm;
  before(async () => {
    farm = await Farm.start();
  });
  after(async () => {
    await farm?.close();
  });

  test('comes back from the store: names, refs, log, tokens, tails, packs, large blobs', async () => {
    await farm.commit('o/small', 100);
    await farm.push('o/small');
    await farm.commit('o/small', 200);
    const small = await farm.source('o/small');
    await git(['tag', '-a', '-m', 'one', 'v1'], { cwd: small });
    await git(['branch', 'other'], { cwd: small });
    await farm.push('o/small');
    await farm.commit('o/big', 100_000);
    await farm.commit('o/big', 2_000_000, 'large');
    await farm.push('o/big');
    await farm.server.packhouse('repo', 'visibility', 'o/big', 'private');
    await createToken(farm.catalog.kysely, { name: 'one', scopes: ['read'], owner: null, repository: null, expiresAt: null });
    const full = await writeSnapshot(farm);
    assert.equal(full.kind === 'written' && full.full, true);
    assert.deepEqual(await writeSnapshot(farm), { kind: 'unchanged', push: full.kind === 'written' ? full.push : -1 });

    // What changes after it: a forced push, a deleted branch, a new repository, a deleted one, a renamed one.
    await git(['reset', '-q', '--hard', 'HEAD~1'], { cwd: small });
    await farm.commit('o/small', 50);
    await farm.push('o/small');
    await git(['branch', '-D', '-q', 'other'], { cwd: small });
    await farm.push('o/small', ':refs/heads/other');
    await farm.commit('o/new', 30_000);
    await farm.push('o/new');
    await farm.commit('o/gone', 10);
    await farm.push('o/gone');
    await farm.server.packhouse('repo', 'delete', 'o/gone');
    await farm.commit('o/big', 2_000_000, 'large');
    await farm.push('o/big');
    const increment = await writeSnapshot(farm);
    assert.equal(increment.kind === 'written' && !increment.full, true);

    const { report, url } = await farm.rebuilt();
    assert.deepEqual(report.lost, []);
    assert.deepEqual(report.problems, []);
    assert.deepEqual(report.newerCrates, []);
    assert.equal(report.snapshot?.push, increment.kind === 'written' ? increment.push : -1);
    const [was, is] = [await farm.told(farm.url), await farm.told(url)];
    for (const part of Object.keys(was)) assert.deepEqual(is[part], was[part], part);
    const server = await farm.serverOn(url);
    for (const name of ['o/small', 'o/big', 'o/new']) await farm.assertClones(server, name);
    assert.match((await server.packhouse('fsck')).stdout, /^0 problems/);
    assert.deepEqual(await rowsOf(url, 'select reason from maintenance_holds'), [{ reason: 'rebuild' }]);
    // Its own numbers are far from those that were given out after the snapshot.
    const [ids] = await rowsOf<{ push: string }>(url, `select nextval('push_ids') as push`);
    assert(Number(ids!.push) > (report.snapshot?.push ?? 0) + 1000);
  });
});
