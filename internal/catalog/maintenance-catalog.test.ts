import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import type pg from 'pg';
import { useCatalog } from '../testkit/mod.ts';
import type { Catalog } from './catalog.ts';
import { create, makeBlocks, oid, publish, tailPack } from './catalog-testing.ts';
import type { SwapOutput } from './maintenance-catalog.ts';
import type { Repository } from './types.ts';

const LEASE_MS = 60_000;

describe('leases, swaps and jobs', () => {
  let catalog: Catalog;
  let client: pg.Client;
  let names = 0;
  useCatalog(6, (bench) => {
    ({ catalog, client } = bench);
  });

  async function poolWithTails(count: number): Promise<{ repository: Repository; poolId: number; packs: number[] }> {
    const repository = await catalog.createRepository({ owner: 'o', name: `r${++names}`, format: 'sha1', private: false });
    const packs: number[] = [];
    for (let i = 0; i < count; i++) {
      const id = await catalog.reservePackId();
      await publish(catalog, repository, [create(`refs/heads/${i}`, oid(id))], { pack: tailPack(id) });
      packs.push(id);
    }
    return { repository, poolId: repository.poolId, packs };
  }

  function output(packId: number, more: Partial<SwapOutput> = {}): SwapOutput {
    return {
      packId,
      extentOffset: 7,
      lengthBytes: 100,
      checksum: oid('output'),
      objectCount: 5,
      allReached: true,
      based: true,
      hasDuplicates: false,
      tips: oid('tip'),
      tables: { kind: 'made', blocks: makeBlocks(`output ${packId}`, [5]), graph: [Buffer.from('records')] },
      chunkedOids: Buffer.alloc(0),
      ...more,
    };
  }

  async function leased(count: number): Promise<{ poolId: number; packs: number[]; token: string; out: number; key: string }> {
    const { poolId, packs } = await poolWithTails(count);
    const token = randomUUID();
    assert.equal(await catalog.maintenance.lease(poolId, packs, token, LEASE_MS), true);
    const out = await catalog.reservePackId();
    const key = `crates/aa/${randomUUID()}.pack`;
    await catalog.maintenance.beginCrate({ key, tier: 'store', origin: 'seal' }, [{ poolId, packId: out, token }], LEASE_MS);
    return { poolId, packs, token, out, key };
  }

  const swapOf = (work: { poolId: number; packs: number[]; token: string; out: number }, more = {}) => ({
    poolId: work.poolId,
    format: 'sha1' as const,
    epoch: 0,
    token: work.token,
    inputs: work.packs,
    outputs: [output(work.out)],
    reason: 'seal',
    ...more,
  });

  test('a lease is for all packs or for none, and nobody else gets one while it lasts', async () => {
    const { poolId, packs } = await poolWithTails(3);
    const { maintenance } = catalog;
    assert.equal(await maintenance.lease(poolId, packs.slice(1, 2), randomUUID(), LEASE_MS), true);
    const token = randomUUID();
    assert.equal(await maintenance.lease(poolId, packs, token, LEASE_MS), false);
    assert.equal(await maintenance.renew(poolId, token, LEASE_MS), 0);
    assert.equal(await maintenance.lease(poolId, [packs[0]!, packs[2]!], token, LEASE_MS), true);
    assert.equal(await maintenance.renew(poolId, token, LEASE_MS), 2);
    assert.equal((await maintenance.tails(poolId)).length, 0);
    await maintenance.release(poolId, token);
    assert.equal((await maintenance.tails(poolId))[0]?.packs, 2);
  });

  test('of many that lease the same packs in different orders one gets them', async () => {
    const { poolId, packs } = await poolWithTails(6);
    const tries = Array.from({ length: 8 }, (_, i) =>
      catalog.maintenance.lease(poolId, i % 2 === 0 ? packs : packs.toReversed(), randomUUID(), LEASE_MS),
    );
    assert.equal((await Promise.all(tries)).filter(Boolean).length, 1);
  });

  test('a lease that is renewed while its packs are swapped waits for that, and never the swap for it', async () => {
    const work = await leased(2);
    const waiting = async (count: number): Promise<void> => {
      for (let found = -1; found !== count; ) {
        const text = `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
        found = (await client.query(text)).rowCount!;
      }
    };
    await client.query('begin');
    // The swap has written its output's row, and waits to copy the tables.
    await client.query('lock table object_blocks in share mode');
    const swapped = catalog.maintenance.swap(swapOf(work));
    swapped.catch(() => {});
    await waiting(1);
    const renewed = catalog.maintenance.renew(work.poolId, work.token, LEASE_MS);
    renewed.catch(() => {});
    await waiting(2);
    await client.query('commit');
    await swapped;
    assert.equal(await renewed, 0);
  });

  test('a lease that ran out is taken over, and its first holder can swap nothing', async () => {
    const work = await leased(2);
    await client.query(`update packs set lease_until = now() - interval '1 second' where pool_id = $1`, [work.poolId]);
    const second = randomUUID();
    assert.equal(await catalog.maintenance.lease(work.poolId, work.packs, second, LEASE_MS), true);
    await assert.rejects(catalog.maintenance.swap(swapOf(work)), { code: 'lease-lost' });
    assert.deepEqual(
      (await catalog.packs(work.poolId, null)).map((pack) => pack.id),
      work.packs,
    );
  });

  test('a swap replaces packs at once, and readers are told what came and what went', async () => {
    const { repository, poolId, packs } = await poolWithTails(2);
    const known = await catalog.repositoryState('o', repository.name, null);
    const token = randomUUID();
    await catalog.maintenance.lease(poolId, packs, token, LEASE_MS);
    const out = await catalog.reservePackId();
    const crate = { key: `crates/aa/${randomUUID()}.pack`, tier: 'store', origin: 'seal' } as const;
    await catalog.maintenance.beginCrate(crate, [{ poolId, packId: out, token }], LEASE_MS);
    await catalog.maintenance.swap(swapOf({ poolId, packs, token, out }));

    const [pack, ...more] = await catalog.packs(poolId, null);
    assert.equal(more.length, 0);
    assert.deepEqual(
      { ...pack, tips: pack?.tips.toString('hex'), checksum: undefined },
      {
        id: out,
        tier: 'store',
        crateKey: crate.key,
        extentOffset: 7,
        lengthBytes: 100,
        objectCount: 5,
        chunkedCount: 0,
        checksum: undefined,
        allReached: true,
        based: true,
        hasDuplicates: false,
        tips: oid('tip').toString('hex'),
        searched: true,
      },
    );
    const state = await catalog.repositoryState('o', repository.name, known);
    assert.deepEqual(state?.newPacks, [out]);
    assert.deepEqual(state?.removedPacks, packs);
    // Readers that still have the old packs go on reading them.
    assert.equal((await catalog.packs(poolId, packs)).length, 2);
    assert.equal((await catalog.tailBytes(poolId, packs)).size, 2);
  });

  test('a swap fails whole when objects were condemned meanwhile', async () => {
    const work = await leased(1);
    await client.query('update pools set sweep_epoch = 1 where id = $1', [work.poolId]);
    await assert.rejects(catalog.maintenance.swap(swapOf(work)), { code: 'epoch-moved' });
    assert.equal((await catalog.blocks(work.poolId, [{ id: work.out, objectCount: 1 }])).size, 0);
    assert.deepEqual(
      (await catalog.packs(work.poolId, null)).map((pack) => pack.id),
      work.packs,
    );
  });

  test('a swap takes the recipes of chunked blobs along, and fails when one is absent', async () => {
    const work = await leased(2);
    const blob = oid('large blob');
    const add = async (packId: number): Promise<void> => {
      await client.query(
        `insert into chunked_blobs (pool_id, pack_id, oid, size, adler, sha256s, chunk_packs, offsets, lengths, sizes, adlers)
           values ($1, $2, $3, 9, 1, '\\x00', '{4}', '{2}', '{3}', '{9}', '{1}')`,
        [work.poolId, packId, blob],
      );
    };
    const swap = swapOf(work, { outputs: [output(work.out, { chunkedOids: blob })] });
    await assert.rejects(catalog.maintenance.swap(swap), { code: 'recipe-missing' });
    for (const packId of work.packs) await add(packId);
    await catalog.maintenance.swap(swap);
    const { rows } = await client.query('select oid, chunk_packs from chunked_blobs where pool_id = $1 and pack_id = $2', [
      work.poolId,
      work.out,
    ]);
    assert.deepEqual(rows, [{ oid: blob, chunk_packs: ['4'] }]);
    assert.equal((await catalog.packs(work.poolId, null))[0]?.chunkedCount, 1);
  });

  test('tables of a pack that holds the same bytes are copied in SQL', async () => {
    const work = await leased(1);
    await catalog.maintenance.swap(
      swapOf(work, { outputs: [output(work.out, { tables: { kind: 'copied', packId: work.packs[0]! } })] }),
    );
    const packs = [...work.packs, work.out].map((id) => ({ id, objectCount: 1 }));
    const blocks = await catalog.blocks(work.poolId, packs);
    assert.deepEqual(blocks.get(work.out)?.[0]?.oids, blocks.get(work.packs[0]!)?.[0]?.oids);
    const graph = await catalog.graphBlocks(work.poolId, packs);
    assert.deepEqual(graph[0]?.records, graph[1]?.records);
  });

  test('given up outputs take their crate along only when nobody else lies in it', async () => {
    const one = await leased(1);
    const other = await leased(1);
    const out = await catalog.reservePackId();
    const both = [{ poolId: other.poolId, packId: out, token: other.token }];
    await catalog.maintenance.beginCrate({ key: one.key, tier: 'store', origin: 'seal' }, both, LEASE_MS);
    let deleted = 0;
    const deleteBytes = async (): Promise<void> => {
      deleted++;
    };
    await catalog.maintenance.abortOutputs(one.key, [one], deleteBytes);
    assert.equal(deleted, 0);
    await assert.rejects(catalog.maintenance.swap(swapOf(one)), { code: 'lease-lost' });
    await catalog.maintenance.abortOutputs(one.key, [other], deleteBytes);
    assert.equal(deleted, 1);
    const { rowCount } = await client.query('select 1 from packs where crate_key = $1', [one.key]);
    assert.equal(rowCount, 0);
  });

  test('a job is queued once, taken by one, and taken over when its lease ran out', async () => {
    const { jobs } = catalog.maintenance;
    assert.deepEqual(
      await Promise.all([jobs.enqueue('k', 1), jobs.enqueue('k', 1), jobs.enqueue('k', null)]).then(
        (r) => r.filter(Boolean).length,
      ),
      2,
    );
    const taken = (await Promise.all([1, 2, 3, 4].map(() => jobs.claim('k', LEASE_MS)))).filter((job) => job !== null);
    assert.equal(taken.length, 2);
    const [job, other] = taken as [(typeof taken)[0], (typeof taken)[0]];
    assert.equal(await jobs.renew(job, LEASE_MS), true);
    await client.query(`update maintenance_jobs set lease_until = now() - interval '1 second' where id = $1`, [job.id]);
    assert.equal(await jobs.claim('k', LEASE_MS), null);
    assert.equal((await jobs.expire('k', { restMs: 1, restMsMax: 1, lostMax: 2 })).length, 1);
    const again = await jobs.claim('k', LEASE_MS);
    assert.equal(again?.id, job.id);
    assert.equal(again?.attempts, 2);
    assert.equal(await jobs.renew(job, LEASE_MS), false);
    assert.equal(await jobs.finish(job, 'late'), false);
    assert.equal(await jobs.finish(again!, { packs: 1 }), true);
    assert.equal(await jobs.enqueue('k', job.poolId), true);
    await jobs.putBack(other, { error: 'x' }, 3_600_000);
    assert.equal((await jobs.claim('k', LEASE_MS))?.poolId, job.poolId);
    assert.equal(await jobs.claim('k', LEASE_MS), null);
    assert.ok((await jobs.lastDoneMs('k'))! >= 0);
    assert.equal(await jobs.lastDoneMs('unknown'), null);
  });
});
