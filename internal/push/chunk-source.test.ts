import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { NewPack, Push } from '../catalog/mod.ts';
import { oidOf, seededBytes, TestPool } from '../testkit/mod.ts';
import { publishOnChunks } from './chunk-source.ts';

const BLOB = seededBytes(4, 60_000);
const LEASE = '00000000-0000-4000-8000-000000000001';
let pool: TestPool;
let repositoryId: number;

before(async () => {
  pool = await TestPool.start();
  repositoryId = (await pool.catalog.findRepository('o', 'r'))!.id;
});
after(() => pool?.close());

/** A push of a blob all of whose chunks are where `recipe` says. */
async function pushOf(name: string, recipe: NonNullable<NewPack['chunked']>[number]['recipe']): Promise<Push> {
  const { catalog, poolId } = pool;
  const id = await catalog.reservePackId();
  const crateKey = `crates/00/0000000${id}.pack`;
  await catalog.beginStorePack(poolId, id, crateKey, LEASE);
  const oid = Buffer.from(oidOf('blob', BLOB), 'hex');
  const one = (value: number): Float64Array => Float64Array.of(value);
  return {
    repositoryId,
    poolId,
    atomic: false,
    commands: [{ name, oldOid: null, newOid: oid, peeled: null }],
    head: null,
    actor: '',
    requestId: '',
    options: [],
    sweepEpoch: null,
    pack: {
      id,
      place: { kind: 'store', lease: LEASE, crateKey },
      lengthBytes: 32,
      objectCount: 1,
      chunkedCount: 1,
      chunkPackId: null,
      chunked: [{ oid, recipe }],
      checksum: Buffer.alloc(20),
      allReached: false,
      based: false,
      hasDuplicates: true,
      tips: Buffer.alloc(0),
      blocks: [{ oids: oid, kinds: Uint8Array.of(3), sizes: one(BLOB.length), offsets: one(-1), lengths: one(1) }],
      graph: [],
    },
  };
}

test('a push whose chunks have moved since it found them is published on where they are now, and not at all on what is gone', async () => {
  const { catalog, poolId } = pool;
  const stored = await pool.put('store', [], { chunked: [BLOB] });
  const [first] = await catalog.chunks.recipes(poolId, [{ packId: stored.id, oid: Buffer.from(oidOf('blob', BLOB), 'hex') }]);
  const found = (): typeof first => structuredClone(first!);
  const recipe = { ...found()!.recipe, sha256s: Buffer.from(first!.recipe.sha256s) };
  const push = await pushOf('refs/x/moved', recipe);
  const from = recipe.packIds[0]!;

  const epoch = (await catalog.maintenance.poolState(poolId))!.epoch;
  const token = '00000000-0000-4000-8000-000000000002';
  const output = await catalog.reservePackId();
  assert.ok(await catalog.maintenance.lease(poolId, [from], token, 60_000));
  await catalog.maintenance.beginCrate(
    { key: 'crates/00/00000000.pack', tier: 'chunks', origin: 'chunks' },
    [{ poolId, packId: output, token }],
    60_000,
  );
  const used = await catalog.chunkMoves.used(poolId, [from]);
  const chunks = used.map((chunk) => ({ ...chunk, to: { offset: chunk.offset + 1000, lengthBytes: chunk.lengthBytes } }));
  await catalog.chunkMoves.move({ poolId, epoch, token, inputs: [from], output, chunks });

  assert.deepEqual(await publishOnChunks(catalog, push, 'sha1'), ['ok']);
  const [now] = await catalog.chunks.recipes(poolId, [{ packId: push.pack!.id, oid: first!.oid }]);
  assert.deepEqual([...new Set(now!.recipe.packIds)], [output]);
  assert.deepEqual(
    [...now!.recipe.offsets],
    [...first!.recipe.offsets].map((offset) => offset + 1000),
  );

  const late = await pushOf('refs/x/late', { ...found()!.recipe, sha256s: Buffer.from(first!.recipe.sha256s) });
  await catalog.kysely.deleteFrom('chunks').where('pool_id', '=', poolId).execute();
  await assert.rejects(publishOnChunks(catalog, late, 'sha1'), { code: 'chunks-moved' });
  assert.equal((await catalog.packs(poolId, [late.pack!.id])).length, 0);
});
