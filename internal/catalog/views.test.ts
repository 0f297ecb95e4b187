import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { kindName, type ObjectFormat, oidLength } from '../object/mod.ts';
import { startTestDatabase, type TestDatabase } from '../testkit/mod.ts';
import { type Catalog, openCatalog } from './catalog.ts';
import { create, makeBlocks, oid, publish, tailPack } from './catalog-testing.ts';
import type { NewPack, ObjectBlock, Repository } from './types.ts';

interface Row {
  readonly oid: string;
  readonly kind: string;
  readonly size: number;
  readonly offset: number;
  readonly length: number;
}

function rowsOf(blocks: readonly ObjectBlock[], width: number): Row[] {
  return blocks.flatMap((block) =>
    [...block.kinds].map((kind, i) => ({
      oid: block.oids.toString('hex', i * width, (i + 1) * width),
      kind: kindName(kind),
      size: block.sizes[i]!,
      offset: block.offsets[i]!,
      length: block.lengths[i]!,
    })),
  );
}

describe('for people in psql', () => {
  let database: TestDatabase;
  let catalog: Catalog;
  let client: pg.Client;
  const repositories = new Map<ObjectFormat, Repository>();
  const blocks = new Map<ObjectFormat, readonly ObjectBlock[]>();
  let tail: NewPack;
  let store: NewPack;
  const key = 'crates/ab/abcdef01.pack';

  before(async () => {
    database = await startTestDatabase();
    catalog = openCatalog({ url: database.url, poolMax: 2 });
    client = new pg.Client({ connectionString: database.url });
    await client.connect();
    for (const format of ['sha1', 'sha256'] as const) {
      const repository = await catalog.createRepository({ owner: 'o', name: format, format, private: format === 'sha256' });
      repositories.set(format, repository);
      const width = oidLength(format);
      blocks.set(format, makeBlocks(`store ${format}`, [50, 50, 7], width));
      const lease = '6a1f0e9c-0000-4000-8000-000000000001';
      const made = tailPack(await catalog.reservePackId(), {
        place: { kind: 'store', lease, crateKey: format === 'sha1' ? key : 'crates/cd/cdef0123.pack' },
        blocks: blocks.get(format)!,
      });
      await catalog.beginStorePack(repository.poolId, made.id, format === 'sha1' ? key : 'crates/cd/cdef0123.pack', lease);
      await publish(catalog, repository, [create('refs/heads/main', oid(1, width))], { pack: made, actor: 'ann' });
      if (format === 'sha1') store = made;
    }
    tail = tailPack(await catalog.reservePackId());
    const tag = create('refs/tags/v\xff', oid(2), oid(1));
    await publish(catalog, repositories.get('sha1')!, [tag], { pack: tail });
  });
  after(async () => {
    await client?.end();
    await catalog?.close();
    await database?.stop();
  });

  async function query(sql: string, values: readonly unknown[] = []): Promise<Record<string, unknown>[]> {
    return (await client.query(sql, [...values])).rows;
  }
  const numbers = (row: Record<string, unknown>): Row =>
    ({
      oid: row.oid,
      kind: row.kind,
      size: Number(row.size),
      offset: Number(row.pack_offset),
      length: Number(row.pack_length),
    }) as Row;

  for (const format of ['sha1', 'sha256'] as const) {
    test(`v_objects shows every object in plain rows: ${format}`, async () => {
      const pool = repositories.get(format)!.poolId;
      const found = await query('select * from v_objects where pool_id = $1 order by pack_id, oid', [pool]);
      const extra = format === 'sha1' ? rowsOf(tail.blocks, 20) : [];
      assert.deepEqual(found.map(numbers), [...rowsOf(blocks.get(format)!, oidLength(format)), ...extra]);
    });

    test(`object_locate finds each object, and nothing else: ${format}`, async () => {
      const width = oidLength(format);
      for (const row of rowsOf(blocks.get(format)!, width)) {
        const [found, ...more] = await query('select $2::text as oid, * from object_locate($1, $2)', [`o/${format}`, row.oid]);
        assert.deepEqual(numbers(found!), row);
        assert.deepEqual([found?.tier, more.length], ['store', 0]);
      }
      for (const absent of ['00'.repeat(width), 'ff'.repeat(width), oid('absent', width).toString('hex')]) {
        assert.deepEqual(await query('select * from object_locate($1, $2)', [`o/${format}`, absent]), []);
      }
    });
  }

  test("object_locate says where the bytes are, looks in the repository's own pool, and in live packs only", async () => {
    const [first] = rowsOf(store.blocks, 20);
    const locate = (repository: string) => query('select * from object_locate($1, $2)', [repository, first?.oid]);
    const [found] = await locate('o/sha1');
    assert.deepEqual([found?.crate_key, Number(found?.extent_offset), Number(found?.pack_id)], [key, 0, store.id]);
    assert.deepEqual(await locate('o/none'), []);
    await query(`update packs set state = 'superseded' where id = $1`, [store.id]);
    assert.deepEqual(await locate('o/sha1'), []);
    assert.deepEqual(await query('select * from v_objects where pack_id = $1', [store.id]), []);
    await query(`update packs set state = 'live' where id = $1`, [store.id]);
    const [inTail] = await query('select * from object_locate($1, $2)', ['o/sha1', rowsOf(tail.blocks, 20)[0]?.oid]);
    assert.deepEqual([inTail?.tier, inTail?.crate_key], ['tail', null]);
  });

  test('an object that two packs hold is located twice', async () => {
    const again = tailPack(await catalog.reservePackId(), { blocks: tail.blocks });
    await publish(catalog, repositories.get('sha1')!, [create('refs/heads/again', oid(1))], { pack: again });
    const found = await query('select pack_id from object_locate($1, $2)', ['o/sha1', rowsOf(tail.blocks, 20)[0]?.oid]);
    assert.deepEqual(found.map((row) => Number(row.pack_id)).sort(), [tail.id, again.id].sort());
  });

  test('v_packs has what it takes to cut a pack out of the bucket', async () => {
    const [row] = await query('select * from v_packs where pack_id = $1', [store.id]);
    const { repository, tier, state, crate_key, checksum, all_reached, based } = row!;
    assert.deepEqual(
      { repository, tier, state, crate_key, checksum, all_reached, based },
      {
        repository: 'o/sha1',
        tier: 'store',
        state: 'live',
        crate_key: key,
        checksum: store.checksum.toString('hex'),
        all_reached: true,
        based: true,
      },
    );
    assert.deepEqual([row!.extent_offset, row!.extent_length, row!.object_count].map(Number), [0, store.lengthBytes, 107]);
  });

  test('v_refs, v_pushes and v_repositories read as text, bytes that are no text included', async () => {
    assert.deepEqual(
      await query(`select name, oid, peeled from v_refs where repository = 'o/sha1' and name like 'refs/tags/%'`),
      [{ name: 'refs/tags/v\\377', oid: oid(2).toString('hex'), peeled: oid(1).toString('hex') }],
    );
    const [first] = await query(
      `select ref, old_oid, new_oid, actor, pack_id from v_pushes where repository = 'o/sha1' order by push_id`,
    );
    assert.deepEqual(first, {
      ref: 'refs/heads/main',
      old_oid: null,
      new_oid: oid(1).toString('hex'),
      actor: 'ann',
      pack_id: String(store.id),
    });
    assert.deepEqual(await query('select repository, object_format, head, private from v_repositories order by id'), [
      { repository: 'o/sha1', object_format: 'sha1', head: 'refs/heads/main', private: false },
      { repository: 'o/sha256', object_format: 'sha256', head: 'refs/heads/main', private: true },
    ]);
  });

  test("a deleted repository's refs are not shown, its packs stay", async () => {
    const { id, poolId } = repositories.get('sha256')!;
    await catalog.deleteRepository(id);
    assert.deepEqual(await query(`select * from v_refs where repository = 'o/sha256'`), []);
    assert.equal((await query('select * from v_packs where pool_id = $1', [poolId])).length, 1);
  });
});
