import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FastImport, seededBytes } from '../testkit/mod.ts';
import { repackOf, type TestPack, testPack, thinPack } from './repack-testing.ts';

test('what a search has left whole is tried against other packs only', async () => {
  const importer = new FastImport();
  const text = seededBytes(4, 3_000).toString('base64');
  importer.commit('refs/heads/main', { a: `${text}one`, b: 'b' });
  importer.commit('refs/heads/main', { a: `${text}two`, b: 'b' });
  importer.commit('refs/heads/main', { a: `${text}three` });
  const repository = await importer.into();
  const old = await testPack(await thinPack(repository, ['main~1'], '--window=0'), repository);
  const next = await testPack(await thinPack(repository, ['main', '^main~1'], '--window=0'), repository);
  const deltasOf = async (...packs: TestPack[]): Promise<number> => {
    const result = await repackOf(packs, repository);
    await result.dispose();
    return result.statistics.newDeltas;
  };
  const searched: TestPack = { ...old, pack: { ...old.pack, searched: true } };
  assert.ok((await deltasOf(old)) > 0);
  assert.equal(await deltasOf(searched), 0);
  assert.ok((await deltasOf(searched, next)) > 0);
});
