import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeOf } from '../base/mod.ts';
import { crateKey, createFsStore, sidecarKey } from '../packstore/mod.ts';
import { scratchFolder, seededBytes } from '../testkit/mod.ts';
import { type ManifestItem, type ManifestPack, type ManifestRecipe, readManifest, writeManifest } from './manifest.ts';

const KEY = crateKey('ab12cd34-0000');

const PACK: ManifestPack = {
  poolId: 7,
  packId: 2 ** 40,
  format: 'sha1',
  tier: 'store',
  origin: 'seal',
  extentOffset: 2 ** 33 + 5,
  lengthBytes: 2 ** 32 + 1,
  objectCount: 3,
  chunkedCount: 1,
  checksum: seededBytes(1, 20),
  allReached: true,
  based: false,
  hasDuplicates: true,
  tips: seededBytes(2, 40),
  inputs: [1, 2, 2 ** 39],
  pushes: [
    {
      pushId: null,
      repositoryId: 3,
      owner: 'alice',
      name: 'demo',
      private: true,
      pushedAt: new Date('2026-11-21T12:00:00.123Z'),
      updates: [
        { name: Buffer.from('refs/heads/grün\xff"\\', 'latin1').toString('latin1'), oldOid: null, newOid: seededBytes(3, 20) },
        { name: 'refs/heads/gone', oldOid: seededBytes(4, 20), newOid: null },
      ],
    },
  ],
};

function recipe(chunks: number): ManifestRecipe {
  const column = (of: (i: number) => number): Float64Array => Float64Array.from({ length: chunks }, (_, i) => of(i));
  return {
    poolId: 7,
    packId: 2 ** 40,
    oid: seededBytes(5, 20),
    recipe: {
      sizeBytes: 5 * 2 ** 30,
      adler: 0xffff_fff0,
      sha256s: seededBytes(6, 32 * chunks),
      packIds: column((i) => 100 + (i % 3)),
      offsets: column((i) => 2 ** 34 + i),
      lengths: column((i) => i),
      sizes: column((i) => 0xffff_ffff - i),
      adlers: Uint32Array.from(column((i) => 0xffff_0000 + (i % 1000))),
    },
  };
}

function freshStore() {
  return createFsStore({ root: scratchFolder('packs') });
}

async function items(store: ReturnType<typeof freshStore>, key = KEY): Promise<ManifestItem[]> {
  const found: ManifestItem[] = [];
  for await (const item of readManifest(store, key)) found.push(item);
  return found;
}

test('a manifest gives back what was written, large recipes and offsets past 2^32 too', async () => {
  const store = freshStore();
  const recipes = [recipe(0), recipe(1), recipe(40_000)];
  await writeManifest(store, KEY, [PACK, { ...PACK, packId: 9, tier: 'chunks', pushes: [] }], recipes);
  const [first, second, ...rest] = await items(store);
  assert.deepEqual(first, { kind: 'pack', pack: PACK });
  assert.deepEqual(second, { kind: 'pack', pack: { ...PACK, packId: 9, tier: 'chunks', pushes: [] } });
  assert.deepEqual(
    rest,
    recipes.map((one) => ({ kind: 'recipe', recipe: one })),
  );
});

test('a manifest that was changed, cut or put in the place of another is refused', async () => {
  const store = freshStore();
  const key = sidecarKey(KEY, 'manifest');
  await writeManifest(store, KEY, [PACK], [recipe(5)]);
  const { lengthBytes } = (await store.head(key))!;
  const whole = await store.get(key, { offset: 0, lengthBytes });
  const refusal = async (bytes: Buffer): Promise<string | undefined> => {
    await store.put(key, bytes);
    return items(store).then(() => undefined, codeOf);
  };
  assert.equal(await refusal(whole), undefined);
  for (let at = 0; at < whole.length; at += 7) {
    const changed = Buffer.from(whole);
    changed[at]! ^= 1;
    assert.equal(await refusal(changed), 'manifest-bad', `byte ${at}`);
    // Without its line end the last line still says everything.
    if (at < whole.length - 1) {
      assert.equal(await refusal(whole.subarray(0, at)), at === 0 ? 'store-missing' : 'manifest-bad', `cut at ${at}`);
    }
  }
  assert.equal(await refusal(Buffer.concat([whole, whole])), 'manifest-bad');
  const head = whole.subarray(0, whole.indexOf(10) + 1);
  const bad = ['{"end":null}', '{"recipe":{"pool":7,"pack":9,"oid":"ab","size":1,"adler":1,"chunks":"AAAA"}}'];
  for (const line of bad) assert.equal(await refusal(Buffer.concat([head, Buffer.from(`${line}\n`)])), 'manifest-bad', line);
  const other = crateKey('ab12cd34-0001');
  await store.put(sidecarKey(other, 'manifest'), whole);
  await assert.rejects(items(store, other), { code: 'manifest-bad' });
});
