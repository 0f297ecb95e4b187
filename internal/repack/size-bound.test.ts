import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { ENTRY_REF_DELTA, emptyEntryHeader, readEntryHeader } from '../packformat/mod.ts';
import { FastImport, git, seededBytes, seededRandom, syntheticHistory } from '../testkit/mod.ts';
import { DEFAULT_REPACK_SETTINGS } from './mod.ts';
import {
  asInput,
  commitsOf,
  judgedByGit,
  objectReader,
  oidsOf,
  overlappingPacks,
  repackOf,
  stepPacks,
  type TestPack,
  testPack,
  thinPack,
} from './repack-testing.ts';

/** The bytes of the packs, and whole entries of the objects whose bases none of them has. */
async function bytesAllowed(packs: readonly TestPack[], repository: string): Promise<number> {
  const held = new Set(packs.flatMap(({ blocks }) => oidsOf(blocks)));
  const read = objectReader(repository);
  const header = emptyEntryHeader();
  let sum = 0;
  for (const { bytes, blocks } of packs) {
    sum += bytes.length;
    for (const { oids, offsets } of blocks) {
      for (const [row, offset] of offsets.entries()) {
        readEntryHeader(bytes, offset, bytes.length, 20, header);
        if (header.type !== ENTRY_REF_DELTA || held.has(bytes.toString('hex', header.baseAt, header.baseAt + 20))) continue;
        const { data } = (await read(oids.subarray(row * 20, row * 20 + 20)))!;
        sum += deflateSync(data).length + 5;
      }
    }
  }
  return sum;
}

describe('the size of a repacked pack', () => {
  for (const seed of [2, 3, 5, 6]) {
    test(`is never above what came, whatever window and depth (${seed})`, async (t) => {
      const random = seededRandom(seed * 91);
      const repository = await syntheticHistory({ commits: 40, files: 5, seed }).into();
      const commits = await commitsOf(repository);
      // Where packs overlap there is much to save; where each tells only what is new there is little.
      const packs = seed > 3 ? await stepPacks(repository, commits) : await overlappingPacks(repository, random);
      // Without the first packs the others lack bases.
      for (const taken of [packs, packs.slice(random(packs.length - 2))]) {
        const settings = { ...DEFAULT_REPACK_SETTINGS, depth: 1 + random(8), window: random(4) * random(4) };
        const result = await repackOf(taken, repository, { settings });
        const allowed = await bytesAllowed(taken, repository);
        t.diagnostic(`${result.lengthBytes} of ${allowed} bytes, window ${settings.window}, depth ${settings.depth}`);
        assert.ok(result.lengthBytes <= allowed, `${result.lengthBytes} of ${allowed} bytes`);
        const again = await repackOf([await asInput(result, taken[0]!)], repository, { settings });
        assert.ok(again.lengthBytes <= result.lengthBytes, `${again.lengthBytes} of ${result.lengthBytes} bytes the second time`);
        await again.dispose();
      }
    });
  }

  test('deltas stay as they came, also deeper than the limit, where a search makes more of them', async () => {
    // Each version has something new in a place of its own: the delta to the one before is small, any further one has more.
    const importer = new FastImport();
    const lines = seededBytes(5, 8_000).toString('hex').match(/.{40}/g)!;
    for (let i = 0; i < 40; i++) {
      lines.splice((i * 131) % lines.length, 1, seededBytes(100 + i, 300).toString('base64'));
      importer.commit('refs/heads/main', { a: lines.join('\n') });
    }
    const repository = await importer.into();
    const packs = await stepPacks(repository, await commitsOf(repository));
    const inputBytes = packs.reduce((sum, { bytes }) => sum + bytes.length, 0);
    for (const window of [0, 2, 10]) {
      const result = await repackOf(packs, repository, { settings: { ...DEFAULT_REPACK_SETTINGS, window, depth: 5 } });
      assert.ok(result.lengthBytes <= inputBytes, `${result.lengthBytes} of ${inputBytes} bytes`);
      assert.ok((await judgedByGit(result)).depth > 5);
      await result.dispose();
    }
  });

  test('a pack with nothing to win keeps the order that it had, where another would make distances longer', async () => {
    // Pairs of files that are alike. Git lays a delta beside its base where the tip is tagged; by path the two are far apart.
    const files: Record<string, string> = {};
    for (let i = 0; i < 60; i++) {
      const text = seededBytes(i, 1_500).toString('base64');
      files[`a/x${i}`] = text;
      files[`b/x${i}`] = `${text}more`;
    }
    const importer = new FastImport();
    importer.commit('refs/heads/main', files);
    const repository = await importer.into();
    await git(['tag', 'tip', 'main'], { cwd: repository });
    const all = await testPack(await thinPack(repository, ['main'], '--window=5', '--depth=1'), repository);
    const result = await repackOf([all], repository, { settings: { ...DEFAULT_REPACK_SETTINGS, window: 0 } });
    assert.ok(result.lengthBytes <= all.bytes.length, `${result.lengthBytes} of ${all.bytes.length} bytes`);
    await result.dispose();
  });
});
