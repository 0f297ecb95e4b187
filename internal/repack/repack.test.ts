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
  seededBytes,
  syntheticHistory,
  tryGit,
} from '../testkit/mod.ts';
import { DEFAULT_REPACK_SETTINGS } from './mod.ts';
import {
  asInput,
  commitsOf,
  judgedByGit,
  oidsOf,
  repackOf,
  stepPacks,
  type TestPack,
  testPack,
  thinPack,
} from './repack-testing.ts';

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

  test('versions of a file that were sealed apart share one whole copy when they are merged', async () => {
    const text = seededBytes(3, 60_000).toString('hex').match(/.{60}/g)!;
    const importer = new FastImport();
    for (let i = 0; i < 80; i++) {
      text.splice((i * 37) % text.length, i % 2, ...Array.from({ length: (i + 1) % 3 }, () => `version ${i}`));
      importer.commit('refs/heads/main', { a: text.join('\n') });
    }
    const repository = await importer.into();
    const packs = await stepPacks(repository, await commitsOf(repository));
    const settings = { ...DEFAULT_REPACK_SETTINGS, depth: 30 };
    let merged: TestPack | null = null;
    for (let i = 0; i < packs.length; i += 16) {
      const sealed = await asInput(await repackOf(packs.slice(i, i + 16), repository, { settings }), packs[i]!);
      merged = merged === null ? sealed : await asInput(await repackOf([merged, sealed], repository, { settings }), sealed);
    }
    const last = await repackOf([merged!], repository, { settings });
    assert.ok((await judgedByGit(last)).depth <= 30);
    // One whole version takes more than half of that.
    assert.ok(last.lengthBytes < 1.5 * packs[0]!.bytes.length, `${last.lengthBytes} bytes`);
    await last.dispose();
  });

  test('chunked blobs pass through as rows without an entry, and count as held', async () => {
    const importer = new FastImport();
    importer.commit('refs/heads/main', { a: 'small', big: 'pretend that this is long' });
    const repository = await importer.into();
    const small = await testPack(await thinPack(repository, ['main'], '--filter=blob:limit=10'), repository);
    const big = Buffer.from(await git(['rev-parse', 'main:big'], { cwd: repository }), 'hex');
    const columns = {
      kinds: Uint8Array.of(3),
      sizes: Float64Array.of(25),
      offsets: Float64Array.of(-1),
      lengths: Float64Array.of(33),
    };
    const rows = (oid: Buffer) => ({ ...small, blocks: [...small.blocks, { oids: oid, ...columns }] });
    const result = await repackOf([rows(big)], repository);
    const all = [...oidsOf(small.blocks), big.toString('hex')].sort();
    assert.deepEqual(oidsOf(result.blocks), all);
    assert.equal(result.objectCount, 4);
    assert.ok(result.chunkedOids.equals(big));
    const at = all.indexOf(big.toString('hex'));
    assert.deepEqual([result.blocks[0]!.offsets[at], result.blocks[0]!.lengths[at], result.blocks[0]!.sizes[at]], [-1, 33, 25]);
    assert.deepEqual([result.facts.based, result.facts.allReached], [true, true]);
    assert.equal((await judgedByGit(result)).oids.length, 3);
    await result.dispose();

    const stray = await repackOf([rows(Buffer.alloc(20, 7))], repository);
    assert.deepEqual(
      [stray.facts.based, stray.facts.allReached],
      [false, false],
      'a blob that nothing links to, one that nothing holds',
    );
    await stray.dispose();
    const dropped = await repackOf([rows(big)], repository, { keep: (oids, i) => !oids.subarray(i, i + 20).equals(big) });
    assert.equal(dropped.chunkedOids.length, 0);
    assert.equal(dropped.objectCount, 3);
    await dropped.dispose();
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
