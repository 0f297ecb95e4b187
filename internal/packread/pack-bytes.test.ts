import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Catalog } from '../catalog/mod.ts';
import { createMemoryStore, type PackStore } from '../packstore/mod.ts';
import { seededBytes } from '../testkit/mod.ts';
import { DiskCache } from './disk-cache.ts';
import { PackBytes, type PackExtent } from './pack-bytes.ts';

const MIB = 1 << 20;
const LENGTH_BYTES = 5 * MIB + 7;

/** A pack in a store that counts what is read of it, too large for its reader's cache. */
async function largePack(disk?: DiskCache): Promise<{
  bytes: PackBytes;
  pack: PackExtent;
  stored: Buffer;
  reads: string[];
  fails: (of: (offset: number) => boolean) => void;
}> {
  const inner = createMemoryStore();
  const reads: string[] = [];
  let isDamaged = (_offset: number): boolean => false;
  const get: PackStore['get'] = (key, options) => {
    reads.push(`${options.offset}+${options.lengthBytes}`);
    return isDamaged(options.offset) ? Promise.reject(new Error('damaged')) : inner.get(key, options);
  };
  const store = new Proxy(inner, { get: (target, name) => (name === 'get' ? get : Reflect.get(target, name)) });
  const stored = seededBytes(1, LENGTH_BYTES);
  const pack: PackExtent = { id: 1, tier: 'store', crateKey: 'crates/00/1.pack', extentOffset: 0, lengthBytes: LENGTH_BYTES };
  await inner.put(pack.crateKey!, stored);
  const fails = (of: typeof isDamaged): void => {
    isDamaged = of;
  };
  return { bytes: new PackBytes({} as Catalog, store, 4 * MIB, { disk }), pack, stored, reads, fails };
}

test('long reads of a pack that is too large for the cache are shared, and not cached; short ones are cached', async () => {
  const { bytes, pack, stored, reads } = await largePack();
  const long = () => bytes.read(1, pack, 5, 2 * MIB);
  for (const read of await Promise.all([long(), long(), long()])) assert(read.equals(stored.subarray(5, 5 + 2 * MIB)));
  assert.deepEqual(reads, [`5+${2 * MIB}`]);
  assert.equal(bytes.cache.bytes, 0);
  await bytes.read(1, pack, 6, 2 * MIB);
  assert.deepEqual(reads.splice(0), [`5+${2 * MIB}`, `6+${2 * MIB}`]);
  assert((await bytes.read(1, pack, 10, 20)).equals(stored.subarray(10, 30)));
  assert.deepEqual(reads.splice(0), [`0+${MIB}`]);
  await bytes.read(1, pack, 11, 20);
  assert.deepEqual(reads, []);
});

test('what is to be forgotten is read again, long and short', async () => {
  const { bytes, pack, reads } = await largePack();
  for (let i = 0; i < 2; i++) {
    await bytes.read(1, pack, 0, 2 * MIB);
    await bytes.read(1, pack, 0, 20);
    assert.deepEqual(reads.splice(0), [`0+${2 * MIB}`, `0+${MIB}`]);
    bytes.forget(pack);
  }
});

test('with a disk the store is asked once, for whole blocks as far as the pack goes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'packhouse-pack-bytes-'));
  const disk = await DiskCache.open({ folder, bytesMax: 64 * MIB });
  try {
    const { bytes, pack, stored, reads } = await largePack(disk);
    assert((await bytes.read(1, pack, MIB + 5, 2 * MIB)).equals(stored.subarray(MIB + 5, 3 * MIB + 5)));
    assert.deepEqual(reads.splice(0), [`${MIB}+${2 * MIB + MIB / 2}`]);
    const tail = LENGTH_BYTES - 3 * MIB;
    assert((await bytes.read(1, pack, 3 * MIB, tail)).equals(stored.subarray(3 * MIB)));
    assert.deepEqual(reads.splice(0), [`${3 * MIB}+${tail}`]);
    await disk.settled();
    // Other pieces of the same: long and passed on, short and kept in memory.
    assert((await bytes.read(1, pack, MIB, 3 * MIB + 9)).equals(stored.subarray(MIB, 4 * MIB + 9)));
    assert((await bytes.read(1, pack, 5 * MIB, 7)).equals(stored.subarray(5 * MIB)));
    assert.deepEqual(reads, []);
    const before = await bytes.read(1, pack, MIB, 3 * MIB);
    assert(before.buffer.byteLength === 3 * MIB, 'nothing more is held than what was asked for');
    const chunk = await bytes.read(1, { ...pack, tier: 'chunks' }, 2 * MIB + 100, 40_000);
    assert(chunk.equals(stored.subarray(2 * MIB + 100, 2 * MIB + 40_100)));
    assert(chunk.buffer.byteLength < 2 * chunk.length);
    await assert.rejects(bytes.read(1, pack, 5 * MIB, MIB), { code: 'store-short' });
    reads.length = 0;
    bytes.forget(pack);
    assert((await bytes.read(1, pack, 5 * MIB, 7)).equals(stored.subarray(5 * MIB)));
    assert.deepEqual(reads, [`${5 * MIB}+7`]);
  } finally {
    await disk.close();
    rmSync(folder, { recursive: true });
  }
});

test('what cannot be read is no harm to what lies beside it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'packhouse-pack-bytes-'));
  const disk = await DiskCache.open({ folder, bytesMax: 64 * MIB });
  try {
    const { bytes, pack, stored, reads, fails } = await largePack(disk);
    fails((offset) => offset % MIB === 0);
    assert((await bytes.read(1, pack, MIB + 5, 2 * MIB)).equals(stored.subarray(MIB + 5, 3 * MIB + 5)));
    assert.deepEqual(reads.splice(0), [`${MIB}+${2 * MIB + MIB / 2}`, `${MIB + 5}+${2 * MIB}`]);
    await assert.rejects(bytes.read(1, pack, MIB, 2 * MIB), /damaged/);
    assert.equal(reads.length, 1);
  } finally {
    await disk.close();
    rmSync(folder, { recursive: true });
  }
});
