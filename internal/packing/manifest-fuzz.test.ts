import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { crateKey, createMemoryStore, sidecarKey } from '../packstore/mod.ts';
import { fuzz, mutants, nullWhenRefused, seededBytes } from '../testkit/mod.ts';
import { type ManifestItem, type ManifestPack, readManifest, writeManifest } from './manifest.ts';

test('a manifest is refused or read to its end', async (t) => {
  const key = crateKey('ab12cd34-0000');
  const at = sidecarKey(key, 'manifest');
  const pack: ManifestPack = {
    poolId: 7,
    packId: 2 ** 40,
    format: 'sha1',
    tier: 'store',
    origin: 'seal',
    extentOffset: 2 ** 33,
    lengthBytes: 2 ** 32,
    objectCount: 3,
    chunkedCount: 1,
    checksum: seededBytes(1, 20),
    allReached: true,
    based: false,
    hasDuplicates: true,
    tips: seededBytes(2, 40),
    inputs: [1, 2],
    pushes: [
      {
        pushId: 4,
        repositoryId: 3,
        owner: 'alice',
        name: 'demo',
        private: true,
        pushedAt: new Date(1_700_000_000_000),
        updates: [{ name: 'refs/heads/main', oldOid: null, newOid: seededBytes(3, 20) }],
      },
    ],
  };
  const numbers = Float64Array.of(1, 2);
  const recipe = {
    sizeBytes: 9,
    adler: 1,
    sha256s: seededBytes(6, 64),
    packIds: numbers,
    offsets: numbers,
    lengths: numbers,
    sizes: numbers,
    adlers: Uint32Array.of(1, 2),
  };
  const store = createMemoryStore();
  await writeManifest(store, key, [pack], [{ poolId: 7, packId: 2 ** 40, oid: seededBytes(5, 20), recipe }]);
  const good = await store.get(at, { offset: 0, lengthBytes: (await store.head(at))!.lengthBytes });
  const finish = (bytes: Buffer): Buffer => {
    const end = bytes.lastIndexOf('{"end":');
    if (end < 0) return bytes;
    const before = bytes.subarray(0, end);
    const counted = {
      lines: before.toString('latin1').split('\n').length - 1,
      sha256: createHash('sha256').update(before).digest('hex'),
    };
    return Buffer.concat([before, Buffer.from(`${JSON.stringify({ end: counted })}\n`)]);
  };
  const words = [
    'null',
    '[]',
    '{}',
    '""',
    '-1',
    '1e400',
    '"recipe":',
    '"pack":',
    '"end":',
    '{"end":null}\n',
    '\n',
    '"__proto__":',
  ];
  const input = fc.oneof(mutants([good], { words }), mutants([good], { words, finish }));
  await fuzz(t, input, { runs: 1500 }, async ({ bytes }) => {
    await store.put(at, bytes);
    const items: ManifestItem[] = [];
    const read = async (): Promise<void> => {
      for await (const item of readManifest(store, key)) items.push(item);
    };
    await read().catch(nullWhenRefused);
    for (const item of items)
      if (item.kind === 'recipe') assert.equal(item.recipe.recipe.sha256s.length, item.recipe.recipe.sizes.length * 32);
  });
});
