import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { beforeEach, describe, test } from 'node:test';
import type pg from 'pg';
import type { Catalog } from '../catalog/mod.ts';
import { crateKey, createMemoryStore, type PackStore } from '../packstore/mod.ts';
import { useCatalog } from '../testkit/mod.ts';
import { type RetirePoint, type RetireSettings, removeOrphans, retire } from './retire.ts';

const HOUR = 3_600_000;
const TABLES = ['chunks', 'chunked_blobs', 'object_blocks', 'graph_blocks', 'tail_bytes'] as const;

interface PackRow {
  readonly tier?: 'tail' | 'store' | 'chunks';
  readonly state: string;
  readonly crate?: string | null;
  /** How long it has been in its state, and (of an intent) how long its lease still runs. */
  readonly sinceHours?: number;
  readonly leaseHours?: number | null;
}

describe('what nobody may read any more', () => {
  let catalog: Catalog;
  let client: pg.Client;
  let store: PackStore;
  let poolId: number;
  let count = 0;

  useCatalog(3, (bench) => {
    ({ catalog, client } = bench);
  });
  beforeEach(async () => {
    await client.query(
      `truncate packs, maintenance_pins, maintenance_holds, repositories, pools, ${TABLES.join(', ')} restart identity cascade`,
    );
    store = createMemoryStore();
    const repository = await catalog.createRepository({ owner: 'o', name: `r${++count}`, format: 'sha1', private: false });
    poolId = repository.poolId;
  });

  const settings = (more: Partial<RetireSettings> = {}): RetireSettings => ({
    catalog,
    store,
    readersMsMax: HOUR,
    uploadLeaseMs: 24 * HOUR,
    orphanPercentMax: 100,
    confirmed: false,
    dryRun: false,
    ...more,
  });

  async function crate(): Promise<string> {
    const key = crateKey(randomUUID());
    await store.put(key, Buffer.from('PACK'));
    await store.put(key.replace('.pack', '.idx'), Buffer.from('idx'));
    await store.put(key.replace('.pack', '.manifest'), Buffer.from('{}'));
    return key;
  }

  /** A pack with a row in every table that may have one. */
  async function pack({ tier = 'store', state, crate: key = null, sinceHours = 2, leaseHours = null }: PackRow): Promise<number> {
    const { rows } = await client.query<{ id: string }>(
      `insert into packs (pool_id, id, tier, state, crate_key, extent_length, object_count, checksum, created_at, state_since, lease_until, lease_token)
         values ($1, nextval('pack_ids'), $2, $3, $4, 4, 1, 'x', now() - make_interval(hours => $5), now() - make_interval(hours => $5),
                 now() + make_interval(hours => $6), gen_random_uuid()) returning id`,
      [poolId, tier, state, key, sinceHours, leaseHours],
    );
    const id = Number(rows[0]!.id);
    if (state === 'intent') return id;
    await client.query(`insert into object_blocks values ($1, $2, 'a', 1, 'a', '\\x01', '{1}', '{12}', '{9}')`, [poolId, id]);
    await client.query(`insert into graph_blocks values ($1, $2, 0, 'g')`, [poolId, id]);
    if (tier === 'tail') await client.query(`insert into tail_bytes values ($1, $2, 'PACK')`, [poolId, id]);
    if (tier === 'chunks')
      await client.query(`insert into chunks values ($1, sha256($2::text::bytea), $3, 12, 9)`, [poolId, id, id]);
    return id;
  }

  async function recipe(packId: number, chunkPack: number): Promise<void> {
    await client.query(
      `insert into chunked_blobs values ($1, $2, 'b', 5, 1, 's', array[$3::bigint], '{12}', '{9}', '{5}', '{1}')`,
      [poolId, packId, chunkPack],
    );
  }

  const states = async (): Promise<string[]> =>
    (await client.query<{ s: string }>(`select id || ' ' || state s from packs order by id`)).rows.map((row) => row.s);
  async function rowsOf(packId: number): Promise<number> {
    const counts = TABLES.map((table) => `(select count(*) from ${table} where pool_id = $1 and pack_id = $2)`);
    const { rows } = await client.query<{ n: string }>(`select ${counts.join(' + ')} as n`, [poolId, packId]);
    return Number(rows[0]!.n);
  }
  async function keys(): Promise<string[]> {
    const found: string[] = [];
    for await (const { key } of store.list('')) found.push(key);
    return found;
  }

  test('leaves once it has been superseded for longer than a reader may take, not before', async () => {
    const old = await pack({ state: 'superseded', crate: await crate(), sinceHours: 2 });
    const kept = await crate();
    const young = await pack({ state: 'superseded', crate: kept, sinceHours: 0 });
    const live = await pack({ state: 'live', tier: 'tail', sinceHours: 99 });
    const report = await retire(settings());
    assert.deepEqual([report.retired, report.cratesDeleted, report.packsForgotten], [1, 1, 1]);
    assert.deepEqual(await states(), [`${young} superseded`, `${live} live`]);
    assert.deepEqual(await keys(), [kept.replace('.pack', '.idx'), kept.replace('.pack', '.manifest'), kept]);
    assert.deepEqual([await rowsOf(old), await rowsOf(young), await rowsOf(live)], [0, 2, 3]);
  });

  test('of the tail and of chunks leaves with every row', async () => {
    const tail = await pack({ state: 'superseded', tier: 'tail' });
    const chunks = await pack({ state: 'superseded', tier: 'chunks', crate: await crate() });
    assert.deepEqual([await rowsOf(tail), await rowsOf(chunks)], [3, 3]);
    await retire(settings());
    assert.deepEqual([await states(), await keys(), await rowsOf(tail), await rowsOf(chunks)], [[], [], 0, 0]);
  });

  test('stays while a pin holds, and leaves when the pin has expired', async () => {
    const id = await pack({ state: 'superseded', crate: await crate() });
    await client.query(`insert into maintenance_pins values (gen_random_uuid(), 'backup', now(), now() + interval '1 hour')`);
    assert.equal((await retire(settings())).retired, 0);
    assert.deepEqual(await states(), [`${id} superseded`]);
    await client.query(`update maintenance_pins set expires_at = now() - interval '1 second'`);
    assert.equal((await retire(settings())).retired, 1);
  });

  test('waits for a pin that is being made', async () => {
    const id = await pack({ state: 'superseded', crate: await crate() });
    await client.query('begin');
    await client.query(`insert into maintenance_pins values (gen_random_uuid(), 'backup', now(), now() + interval '1 hour')`);
    const retiring = retire(settings());
    const waiting = `select 1 from pg_locks where not granted and relation = 'maintenance_pins'::regclass`;
    while ((await client.query(waiting)).rowCount === 0);
    await client.query('commit');
    assert.equal((await retiring).retired, 0);
    assert.deepEqual(await states(), [`${id} superseded`]);
  });

  test('says deleted before any row or byte of it goes; a killed process leaves work that the next one does', async () => {
    for (const point of ['marked', 'rows-deleted', 'bytes-deleted'] as RetirePoint[]) {
      const key = await crate();
      const id = await pack({ state: 'superseded', crate: key });
      const killed = settings({
        at: async (at) => {
          if (at === point) throw new Error('killed');
        },
      });
      await assert.rejects(retire(killed), /killed/);
      assert.deepEqual(await states(), [`${id} deleted`], point);
      assert.equal(await rowsOf(id), point === 'marked' ? 2 : 0, point);
      assert.equal((await keys()).includes(key), point !== 'bytes-deleted', point);
      await retire(settings());
      assert.deepEqual([await states(), await keys()], [[], []], point);
    }
  });

  test('leaves its crate to those that live in it, and takes it along with the last of them', async () => {
    const key = await crate();
    const dead = await pack({ state: 'superseded', crate: key });
    const other = await pack({ state: 'live', crate: key });
    const uploaded = await pack({ state: 'intent', crate: key, leaseHours: -1 });
    assert.equal((await retire(settings())).cratesDeleted, 0);
    assert.deepEqual(await states(), [`${dead} deleted`, `${other} live`]);
    assert.equal((await keys()).length, 3);
    assert.equal(await rowsOf(dead), 0);
    assert.ok(uploaded > other);
    await client.query(`update packs set state = 'superseded', state_since = now() - interval '2 hours' where id = $1`, [other]);
    assert.equal((await retire(settings())).cratesDeleted, 1);
    assert.deepEqual([await states(), await keys()], [[], []]);
  });

  test('does not leave a recipe that may be read without its chunks', async () => {
    const chunks = await pack({ state: 'superseded', tier: 'chunks', crate: await crate() });
    const reader = await pack({ state: 'superseded', crate: await crate(), sinceHours: 0 });
    await recipe(reader, chunks);
    await retire(settings());
    assert.deepEqual(await states(), [`${chunks} superseded`, `${reader} superseded`]);
    await client.query(`update packs set state_since = now() - interval '2 hours' where id = $1`, [reader]);
    await retire(settings());
    await retire(settings());
    assert.deepEqual([await states(), await keys()], [[], []]);
  });

  test('takes a pool along that has no repository any more', async () => {
    await pack({ state: 'superseded', tier: 'tail' });
    await client.query('delete from repositories');
    assert.deepEqual(await catalog.orphanRows(null), []);
    assert.equal((await retire(settings())).poolsForgotten, 1);
    assert.deepEqual(await catalog.pools(null), []);
  });

  test('of an upload is reaped after its lease, and whoever publishes it then has lost it', async () => {
    const key = await crate();
    const lease = randomUUID();
    const id = await catalog.reservePackId();
    await catalog.beginStorePack(poolId, id, key, lease);
    assert.equal((await retire(settings())).aborted, 0);
    await client.query(`update packs set lease_until = now() - interval '1 second'`);
    assert.equal((await retire(settings())).aborted, 1);
    assert.deepEqual([await states(), await keys()], [[], []]);
    const [repository] = await catalog.listRepositories();
    const oid = Buffer.alloc(20, 1);
    const late = catalog.publish(
      {
        repositoryId: repository!.id,
        poolId,
        atomic: false,
        commands: [{ name: 'refs/heads/main', oldOid: null, newOid: oid, peeled: null }],
        head: null,
        actor: '',
        requestId: '',
        options: [],
        sweepEpoch: null,
        pack: {
          id,
          place: { kind: 'store', lease, crateKey: key },
          lengthBytes: 4,
          objectCount: 1,
          chunkedCount: 0,
          chunkPackId: null,
          checksum: oid,
          allReached: false,
          based: false,
          hasDuplicates: false,
          tips: Buffer.alloc(0),
          blocks: [],
          graph: [],
        },
      },
      'sha1',
    );
    await assert.rejects(late, { code: 'lease-lost' });
    assert.deepEqual((await catalog.repositoryState('o', repository!.name, null))?.refs, []);
  });

  test('of an upload that is being published at that moment is left alone', async () => {
    const id = await pack({ state: 'intent', crate: await crate(), leaseHours: -1 });
    await client.query('begin');
    await client.query(`update packs set state = 'live' where id = $1`, [id]);
    assert.equal((await retire(settings())).aborted, 0);
    await client.query('commit');
    await retire(settings());
    assert.deepEqual(await states(), [`${id} live`]);
    assert.equal((await keys()).length, 3);
  });

  test('in the bucket without a pack of the catalog is removed after the time an upload may take', async () => {
    const named = await crate();
    await pack({ state: 'live', crate: named });
    const orphan = await crate();
    await store.put('snapshots/1.full', Buffer.from('not a crate'));
    assert.deepEqual((await removeOrphans(settings())).removed, []);
    assert.deepEqual((await removeOrphans(settings({ uploadLeaseMs: -HOUR, dryRun: true }))).removed.length, 3);
    assert.equal((await keys()).length, 7);
    const report = await removeOrphans(settings({ uploadLeaseMs: -HOUR }));
    assert.deepEqual(
      report.removed.map(({ key }) => key.replace(/\w+$/, 'pack')),
      [orphan, orphan, orphan],
    );
    assert.deepEqual(
      (await keys()).filter((key) => key.startsWith('crates/')).map((key) => key.replace(/\w+$/, 'pack')),
      [named, named, named],
    );
    assert.equal((await keys()).length, 4);
  });

  test('but uploaded and published while the bucket was listed is none', async () => {
    let key = '';
    const report = await removeOrphans(
      settings({
        uploadLeaseMs: -HOUR,
        at: async (point) => {
          if (point !== 'listed') return;
          key = await crate();
          await pack({ state: 'live', crate: key });
        },
      }),
    );
    assert.deepEqual([report.listed, report.removed], [0, []]);
    const again = settings({ uploadLeaseMs: -HOUR });
    // The other way round, listed after its row was read: here the row is first, as an upload's is.
    assert.deepEqual((await removeOrphans(again)).removed, []);
    assert.ok((await keys()).includes(key));
  });

  test('is quarantined while there is a hold, also one that comes at the last moment', async () => {
    const key = await crate();
    const hold = `insert into maintenance_holds (reason) values ('rebuild')`;
    const late = settings({
      uploadLeaseMs: -HOUR,
      at: async (point) => {
        if (point === 'orphan-found') await client.query(hold);
      },
    });
    assert.deepEqual((await removeOrphans(late)).removed, []);
    const report = await removeOrphans(settings({ uploadLeaseMs: -HOUR }));
    assert.deepEqual([report.removed.length, report.quarantined.length, report.why], [0, 3, 'hold']);
    assert.equal((await keys()).length, 3);
    assert.equal((await catalog.retire.holds())[0]?.reason, 'rebuild');
    assert.ok((await catalog.retire.releaseHolds(null)) > 0);
    assert.equal((await removeOrphans(settings({ uploadLeaseMs: -HOUR }))).removed.length, 3);
    assert.ok(!(await keys()).includes(key));
  });

  test('is kept when it is too large a part of the bucket: the catalog may be the wrong one', async () => {
    await crate();
    const report = await removeOrphans(settings({ uploadLeaseMs: -HOUR, orphanPercentMax: 50 }));
    assert.deepEqual([report.removed.length, report.quarantined.length, report.why], [0, 3, 'percent']);
    assert.equal(
      (await removeOrphans(settings({ uploadLeaseMs: -HOUR, orphanPercentMax: 50, confirmed: true }))).removed.length,
      3,
    );
  });
});
