import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import type pg from 'pg';
import type { ChunkRecipe } from '../chunking/mod.ts';
import { useCatalog } from '../testkit/mod.ts';
import type { Catalog } from './catalog.ts';
import { create, oid, publish, tailPack } from './catalog-testing.ts';
import { copyRecipes } from './chunk-catalog.ts';
import type { NewPack, Repository } from './types.ts';

const LEASE = '6a1f0e9c-0000-4000-8000-000000000002';
const sha = (label: string): Buffer => oid(`chunk ${label}`, 32);

/** A recipe of chunks named `labels`; those with a pack id were found, the others are new. */
function recipeOf(labels: readonly string[], packIds: readonly number[] = labels.map(() => 0)): ChunkRecipe {
  const numbers = (from: number): Float64Array => Float64Array.from(labels, (_, i) => from + i);
  return {
    sizeBytes: 2 ** 33,
    adler: 2 ** 32 - 1,
    sha256s: Buffer.concat(labels.map(sha)),
    packIds: Float64Array.from(packIds),
    offsets: numbers(2 ** 34),
    lengths: numbers(100),
    sizes: numbers(200),
    adlers: Uint32Array.from(labels, (_, i) => 2 ** 32 - 1 - i),
  };
}

describe('chunked blobs in the catalog', () => {
  let catalog: Catalog;
  let client: pg.Client;
  let repository: Repository;
  let count = 0;

  useCatalog(4, (bench) => {
    ({ catalog, client } = bench);
  });
  beforeEach(async () => {
    repository = await catalog.createRepository({ owner: 'o', name: `c${++count}`, format: 'sha1', private: false });
  });

  /** Publishes a store pack whose blobs are chunked; its id and that of its chunk pack. */
  async function put(chunked: NonNullable<NewPack['chunked']>): Promise<{ id: number; chunkPackId: number; statuses: string[] }> {
    const { poolId } = repository;
    const [id, chunkPackId] = [await catalog.reservePackId(), await catalog.reservePackId()];
    await catalog.chunks.beginPack(poolId, chunkPackId, `crates/00/chunks-${chunkPackId}.pack`, LEASE);
    await catalog.chunks.setUploaded(poolId, chunkPackId, LEASE, { lengthBytes: 77, objectCount: 2, checksum: oid('sum') });
    await catalog.beginStorePack(poolId, id, `crates/00/store-${id}.pack`, LEASE);
    const place = { kind: 'store', lease: LEASE, crateKey: `crates/00/store-${id}.pack` } as const;
    const pack = tailPack(id, { place, chunkedCount: chunked.length, chunkPackId, chunked });
    return {
      id,
      chunkPackId,
      statuses: await publish(catalog, repository, [create(`refs/heads/b${id}`, oid(`${id}`))], { pack }),
    };
  }

  test('are found by hash once they are published, and give back what was put', async () => {
    const blob = { oid: oid('blob'), recipe: recipeOf(['a', 'b', 'a']) };
    const { id, chunkPackId } = await put([blob]);
    const found = await catalog.chunks.find(repository.poolId, Buffer.concat([sha('b'), sha('none'), sha('a')]));
    assert.deepEqual([...found.packIds], [chunkPackId, 0, chunkPackId]);
    assert.deepEqual([...found.offsets], [2 ** 34 + 1, 0, 2 ** 34]);
    assert.deepEqual([...found.lengths], [101, 0, 100]);
    const [stored] = await catalog.chunks.recipes(repository.poolId, [
      { packId: id, oid: blob.oid },
      { packId: id, oid: oid('other') },
    ]);
    const packIds = Float64Array.from([chunkPackId, chunkPackId, chunkPackId]);
    assert.deepEqual(stored, { packId: id, oid: blob.oid, recipe: { ...blob.recipe, packIds } });
    assert.deepEqual(await catalog.chunks.blobsOf(repository.poolId, id), [{ oid: blob.oid, sizeBytes: 2 ** 33 }]);
    const [pack] = await catalog.packs(repository.poolId, null);
    assert.equal(pack!.chunkedCount, 1);
    assert.deepEqual(
      (await catalog.chunks.packs(repository.poolId, null)).map(({ id: packId, lengthBytes }) => [packId, lengthBytes]),
      [[chunkPackId, 77]],
    );
  });

  test('that two pushes bring at once are noted once, and never of another pool', async () => {
    const first = await put([{ oid: oid('one'), recipe: recipeOf(['x', 'y']) }]);
    await put([{ oid: oid('two'), recipe: recipeOf(['y', 'z']) }]);
    const found = await catalog.chunks.find(repository.poolId, sha('y'));
    assert.deepEqual([...found.packIds], [first.chunkPackId]);
    const other = await catalog.createRepository({ owner: 'o', name: `c${count}-other`, format: 'sha1', private: false });
    assert.deepEqual([...(await catalog.chunks.find(other.poolId, sha('y'))).packIds], [0]);
  });

  test('are noted after whoever moves chunks of the pool, and never wait for him in a circle', async () => {
    const { poolId } = repository;
    await client.query('begin');
    await client.query('select pg_advisory_xact_lock(1347, $1::integer)', [poolId]);
    const pushed = put([{ oid: oid('one'), recipe: recipeOf(['moved']) }]);
    pushed.catch(() => {});
    for (let waits = 0; waits === 0; ) {
      const text = `select 1 from pg_locks where locktype = 'advisory' and classid = 1347 and objid = $1 and not granted`;
      waits = (await client.query(text, [poolId])).rowCount!;
    }
    const insert = 'insert into chunks (pool_id, sha256, pack_id, pack_offset, pack_length) values ($1, $2, 9, 12, 100)';
    await client.query(insert, [poolId, sha('moved')]);
    await client.query('commit');
    assert.deepEqual((await pushed).statuses, ['ok']);
  });

  test('are not published on chunks whose pack was replaced meanwhile', async () => {
    const first = await put([{ oid: oid('one'), recipe: recipeOf(['x']) }]);
    const reuse = { oid: oid('two'), recipe: recipeOf(['x', 'new'], [first.chunkPackId, 0]) };
    await client.query(`update packs set state = 'superseded' where id = $1`, [first.chunkPackId]);
    await assert.rejects(put([reuse]), { code: 'chunks-moved' });
    assert.deepEqual([...(await catalog.chunks.find(repository.poolId, sha('new'))).packIds], [0]);
    await client.query(`update packs set state = 'live' where id = $1`, [first.chunkPackId]);
    assert.deepEqual((await put([reuse])).statuses, ['ok']);
  });

  test('go to a pack that takes the place of others, and one without a recipe stops that', async () => {
    const first = await put([{ oid: oid('one'), recipe: recipeOf(['x']) }]);
    const second = await put([
      { oid: oid('one'), recipe: recipeOf(['x'], [first.chunkPackId]) },
      { oid: oid('two'), recipe: recipeOf(['y']) },
    ]);
    const into = await catalog.reservePackId();
    const copy = (oids: Buffer[]): Promise<void> =>
      copyRecipes(client as unknown as pg.PoolClient, repository.poolId, [first.id, second.id], into, oids);
    await assert.rejects(copy([oid('one'), oid('absent')]), { code: 'recipe-missing' });
    await client.query('delete from chunked_blobs where pack_id = $1', [into]);
    await copy([oid('one'), oid('two')]);
    const stored = await catalog.chunks.recipes(repository.poolId, [{ packId: into, oid: oid('one') }]);
    assert.deepEqual([...stored[0]!.recipe.packIds], [first.chunkPackId]);
    assert.equal((await catalog.chunks.blobsOf(repository.poolId, into)).length, 2);
  });
});
