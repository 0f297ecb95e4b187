import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, test } from 'node:test';
import {
  buildDelta,
  buildPack,
  entry,
  FastImport,
  git,
  reachableObjects,
  refDelta,
  syntheticHistory,
  tryGit,
} from '../testkit/mod.ts';
import { DEFAULT_REPACK_SETTINGS } from './mod.ts';
import { commitsOf, judgedByGit, oidsOf, repackOf, stepPacks, testPack, thinPack } from './repack-testing.ts';

describe('repack', () => {
  test('makes one sound pack of many thin ones, with every object once', async () => {
    const repository = await syntheticHistory({ commits: 60 }).into();
    const packs = await stepPacks(repository, await commitsOf(repository));
    const result = await repackOf(packs, repository);
    const { oids, depth } = await judgedByGit(result);
    assert.deepEqual(oids, await reachableObjects(repository, 'main'));
    assert.deepEqual(oidsOf(result.blocks), oids);
    assert.ok(depth <= 50);
    assert.equal(result.objectCount, oids.length);
    assert.deepEqual(result.facts.allReached, true);
    assert.equal(result.facts.based, true);
    assert.equal(result.facts.tips.toString('hex'), (await commitsOf(repository)).at(-1));
    await result.dispose();
    assert.equal(existsSync(result.path), false);
  });

  test('takes objects from outside for thin deltas, and does not store them', async () => {
    const repository = await syntheticHistory({ commits: 40 }).into();
    const commits = await commitsOf(repository);
    const packs = (await stepPacks(repository, commits)).slice(20);
    const result = await repackOf(packs, repository);
    const { oids } = await judgedByGit(result);
    assert.deepEqual(oids, [...new Set(packs.flatMap(({ blocks }) => oidsOf(blocks)))].sort());
    await assert.rejects(repackOf(packs, repository, { readObject: async () => null }), { code: 'repack-unsound' });
  });

  test('refuses packs whose bytes are not those of their checksums or indexes', async () => {
    const repository = await syntheticHistory({ commits: 5 }).into();
    const [whole] = [await testPack(await thinPack(repository, ['main']), repository)];
    const bytes = Buffer.from(whole.bytes);
    bytes[bytes.length >>> 1]! ^= 1;
    await assert.rejects(repackOf([{ ...whole, bytes }], repository), { code: 'repack-unsound' });
    await assert.rejects(repackOf([{ ...whole, bytes: bytes.subarray(0, -1) }], repository), { code: 'repack-unsound' });
    const short = whole.blocks.map((block, i) =>
      i > 0 ? block : { ...block, kinds: block.kinds.subarray(1), oids: block.oids.subarray(20) },
    );
    await assert.rejects(repackOf([{ ...whole, blocks: short }], repository), { code: 'repack-unsound' });
  });

  test('of copies that are deltas of each other one stays a delta', async () => {
    const text = Array.from({ length: 400 }, (_, i) => `line ${i}\n`).join('');
    const importer = new FastImport();
    importer.commit('refs/heads/main', { a: text });
    importer.commit('refs/heads/main', { a: `${text}more\n` });
    const repository = await importer.into();
    const [first, second] = await commitsOf(repository);
    // Each thin pack has its blob as a delta of the other's.
    const forwards = await testPack(await thinPack(repository, [second!, `^${first}`]), repository);
    const backwards = await testPack(await circularPack(repository, first!, second!), repository);
    const base = await testPack(await thinPack(repository, [first!]), repository);
    for (const packs of [
      [base, forwards, backwards],
      [forwards, backwards, base],
      [backwards, base, forwards],
    ]) {
      const result = await repackOf(packs, repository);
      const { oids, depth } = await judgedByGit(result);
      assert.deepEqual(oids, await reachableObjects(repository, 'main'));
      assert.equal(depth, 1);
      await result.dispose();
    }
  });

  test('finds deltas for what comes whole: as small as a full repack by git, in chains as short', async () => {
    const repository = await syntheticHistory({ commits: 250, files: 60 }).into();
    const whole = await testPack(await thinPack(repository, ['main'], '--window=0'), repository);
    const steps = await stepPacks(
      repository,
      (await commitsOf(repository)).filter((_, i, all) => i % 10 === 0 || i === all.length - 1),
    );
    const best = await thinPack(repository, ['main'], '--window=10', '--depth=50', '--no-reuse-delta', '--no-reuse-object');
    for (const packs of [[whole], steps]) {
      const result = await repackOf(packs, repository);
      const { oids, depth } = await judgedByGit(result);
      assert.deepEqual(oids, await reachableObjects(repository, 'main'));
      assert.ok(depth > 1 && depth <= 50, `depth ${depth}`);
      assert.ok(result.lengthBytes <= 1.1 * best.length, `${result.lengthBytes} bytes, git has ${best.length}`);
      await result.dispose();
    }
  });

  test('long chains of thin pushes become trees that are not too deep', async () => {
    const importer = new FastImport();
    const lines = Array.from({ length: 300 }, (_, i) => `line ${i}\n`);
    for (let i = 0; i < 60; i++) {
      lines.splice(i * 3, 1, `changed ${i}\n`);
      importer.commit('refs/heads/main', { a: lines.join('') });
    }
    const repository = await importer.into();
    const packs = await stepPacks(repository, await commitsOf(repository));
    const inputBytes = packs.reduce((sum, { bytes }) => sum + bytes.length, 0);
    for (const depth of [4, 20]) {
      const result = await repackOf(packs, repository, { settings: { ...DEFAULT_REPACK_SETTINGS, depth } });
      const judged = await judgedByGit(result);
      assert.ok(judged.depth > 1 && judged.depth <= depth, `depth ${judged.depth}`);
      assert.ok(result.lengthBytes < inputBytes, `${result.lengthBytes} of ${inputBytes} bytes`);
      await result.dispose();
    }
  });

  test('drops what is not to be kept, also where kept objects were deltas of it', async () => {
    const repository = await syntheticHistory({ commits: 40 }).into();
    const commits = await commitsOf(repository);
    const all = await testPack(await thinPack(repository, ['main'], '--window=50'), repository);
    const kept = new Set(await reachableObjects(repository, 'main', `^${commits[20]}`));
    const result = await repackOf([all], repository, { keep: (oids, at) => kept.has(oids.toString('hex', at, at + 20)) });
    const { oids } = await judgedByGit(result);
    assert.deepEqual(oids, [...kept].sort());
    await result.dispose();
  });

  test('a pack of nothing is a pack', async () => {
    const repository = await syntheticHistory({ commits: 3 }).into();
    const all = await testPack(await thinPack(repository, ['main']), repository);
    const result = await repackOf([all], repository, { keep: () => false });
    assert.equal(result.objectCount, 0);
    assert.equal(result.lengthBytes, 32);
    assert.deepEqual(result.blocks, []);
    assert.deepEqual(result.facts, { allReached: true, based: true, tips: Buffer.alloc(0) });
    await result.dispose();
  });

  test('speaks SHA-256', async () => {
    const repository = await syntheticHistory({ commits: 30 }).into(undefined, 'sha256');
    const packs = await stepPacks(repository, await commitsOf(repository), 'sha256');
    const result = await repackOf(packs, repository, { format: 'sha256' });
    const { oids } = await judgedByGit(result, 'sha256');
    assert.deepEqual(oids, await reachableObjects(repository, 'main'));
    assert.deepEqual(oidsOf(result.blocks, 32), oids);
  });
});

/** The older of two commits as a thin pack whose blob is a delta of the newer one's. */
async function circularPack(repository: string, first: string, second: string): Promise<Buffer> {
  const blob = await git(['rev-parse', `${first}:a`], { cwd: repository });
  const newer = await git(['rev-parse', `${second}:a`], { cwd: repository });
  const sizeOf = async (oid: string): Promise<number> => Number(await git(['cat-file', '-s', oid], { cwd: repository }));
  const size = await sizeOf(blob);
  const delta = buildDelta(await sizeOf(newer), size, [{ copy: [0, size] }]);
  const tree = (await tryGit(['cat-file', 'tree', `${first}^{tree}`], { cwd: repository })).stdout;
  const commit = (await tryGit(['cat-file', 'commit', first], { cwd: repository })).stdout;
  return buildPack([entry('commit', commit), entry('tree', tree), refDelta(newer, delta)]);
}
