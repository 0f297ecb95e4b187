import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { inflateSync } from 'node:zlib';
import type { Pack } from '../catalog/mod.ts';
import { wireEntryTail } from '../chunking/mod.ts';
import { withCounters } from '../packstore/mod.ts';
import { buildDelta, entry, oidOf, refDelta, seededBytes, TestPool } from '../testkit/mod.ts';
import { allChunks, type ChunkedLocation, isChunked } from './chunked-blobs.ts';
import { ObjectReader } from './object-reader.ts';
import { PackBytes } from './pack-bytes.ts';
import { PoolIndex } from './pool-index.ts';

/** Compressible and not, and edited in the middle: three versions. */
const BLOB = Buffer.concat([Buffer.from('line of text, again and again\n'.repeat(9000)), seededBytes(1, 500_000)]);
const EDITED = Buffer.concat([BLOB.subarray(0, 300_000), Buffer.from('an edit'), BLOB.subarray(300_000)]);

describe('a chunked blob', () => {
  let pool: TestPool;
  let pack: Pack;
  before(async () => {
    pool = await TestPool.start();
    pack = await pool.put('store', [], { chunked: [BLOB, EDITED] });
  });
  after(() => pool?.close());

  /** A fresh reader that counts what it takes from the store. */
  async function open(...more: readonly Pack[]) {
    const index = new PoolIndex(pool.catalog, pool.poolId, 'sha1');
    for (const one of [pack, ...more]) index.add(one);
    const read = { requests: 0, bytes: 0 };
    const store = withCounters(pool.store, (operation, bytes) => {
      if (operation !== 'get') return;
      read.requests++;
      read.bytes += bytes;
    });
    const reader = new ObjectReader(new PackBytes(pool.catalog, store, 1 << 20), index);
    const find = async (body: Buffer | string): Promise<ChunkedLocation> => {
      const [location] = await index.find(Buffer.from(oidOf('blob', body), 'hex'));
      return location as ChunkedLocation;
    };
    return { reader, chunked: reader.chunked, find, read };
  }
  async function gathered(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
    const parts: Buffer[] = [];
    for await (const piece of pieces) parts.push(piece);
    return Buffer.concat(parts);
  }

  test('is found, and read whole up to a bound', async () => {
    const { reader, chunked, find } = await open();
    const location = await find(BLOB);
    assert.ok(isChunked(location));
    assert.equal(location.sizeBytes, BLOB.length);
    assert.deepEqual(await reader.read(location), { kind: 3, data: BLOB });
    await assert.rejects(chunked.whole(location, BLOB.length - 1), { code: 'object-too-large' });
  });

  test('is read in ranges by the chunks that these lie in', async () => {
    const { chunked, find, read } = await open();
    const recipe = await chunked.recipe(await find(EDITED));
    const ends = [0, 1, 12_345, 299_999, 300_003, 700_000, EDITED.length - 1, EDITED.length, EDITED.length + 10];
    for (const from of ends) {
      for (const to of ends) {
        assert.ok(
          (await gathered(chunked.range(recipe, from, to))).equals(EDITED.subarray(from, Math.max(from, to))),
          `${from} ${to}`,
        );
      }
    }
    read.requests = read.bytes = 0;
    await gathered(chunked.range(recipe, 600_000, 610_000));
    assert.equal(read.requests, 1);
    assert.ok(read.bytes < 10_000 + 2 * 16_384, `${read.bytes} bytes were read for 10000`);
  });

  test('gives its entry by a few reads, which are its stored bytes', async () => {
    const { chunked, find, read } = await open();
    const location = await find(BLOB);
    const recipe = await chunked.recipe(location);
    const segments = await gathered(chunked.segments(recipe, allChunks(recipe)));
    assert.ok(inflateSync(Buffer.concat([Buffer.from([0x78, 0x01]), segments, wireEntryTail(recipe.adler)])).equals(BLOB));
    assert.ok(read.requests <= 2, `${read.requests} requests for ${recipe.sizes.length} chunks`);
    const all = await chunked.recipes([await find(EDITED), location]);
    assert.deepEqual(
      all.map(({ sizeBytes }) => sizeBytes),
      [EDITED.length, BLOB.length],
    );
  });

  test('in which chunks come again takes each from one read', async () => {
    const sparse = Buffer.concat([seededBytes(21, 30_000), Buffer.alloc(3_000_000), seededBytes(21, 30_000)]);
    const other = await pool.put('store', [{ oid: oidOf('blob', 'y'), kind: 3, sizeBytes: 1, bytes: entry('blob', 'y') }], {
      chunked: [sparse],
    });
    const { chunked, find, read } = await open(other);
    const recipe = await chunked.recipe(await find(sparse));
    assert.ok(recipe.sizes.length > 100);
    read.requests = 0;
    assert.ok((await gathered(chunked.plain(recipe, allChunks(recipe)))).equals(sparse));
    assert.ok(read.requests <= 2, `${read.requests} requests for ${recipe.sizes.length} chunks`);
  });

  test('is the base of a delta that names it', async () => {
    const result = Buffer.concat([BLOB.subarray(0, 100), Buffer.from('!')]);
    const bytes = refDelta(oidOf('blob', BLOB), buildDelta(BLOB.length, 101, [{ copy: [0, 100] }, { insert: '!' }]));
    const thin = await pool.put('tail', [{ oid: oidOf('blob', result), kind: 3, sizeBytes: 101, bytes }]);
    const { reader, find } = await open(thin);
    assert.deepEqual(await reader.read(await find(result)), { kind: 3, data: result });
  });

  test('with a damaged chunk says which', async () => {
    const damaged = seededBytes(7, 100_000);
    const other = await pool.put('store', [{ oid: oidOf('blob', 'x'), kind: 3, sizeBytes: 1, bytes: entry('blob', 'x') }], {
      chunked: [damaged],
    });
    const { chunked, find } = await open(other);
    const recipe = await chunked.recipe(await find(damaged));
    const [chunkPack] = await pool.catalog.chunks.packs(pool.poolId, [recipe.packIds[0]!]);
    const stored = Buffer.from(await pool.store.get(chunkPack!.crateKey, { offset: 0, lengthBytes: chunkPack!.lengthBytes }));
    stored[recipe.offsets[2]! + 50]! ^= 1;
    await pool.store.put(chunkPack!.crateKey, stored);
    await assert.rejects(gathered(chunked.range(recipe, 0, damaged.length)), { code: 'chunk-corrupt' });
  });
});
