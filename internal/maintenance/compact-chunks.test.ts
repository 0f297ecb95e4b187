import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FastImport, git, makeRepository, seededBytes } from '../testkit/mod.ts';
import { compactChunks, planChunkMerges } from './compact-chunks.ts';
import { Yard } from './rewrite-testing.ts';

const FLAGS = ['--chunking-threshold', '256KiB', '--chunking-min', '4KiB', '--chunking-avg', '16KiB', '--chunking-max', '64KiB'];
const SIGNAL = new AbortController().signal;

describe('packs of chunks', () => {
  let yard: Yard;
  before(async () => {
    yard = await Yard.start([...FLAGS, '--maintenance-enabled', 'false']);
  });
  after(() => yard?.close());

  /** A repository of some versions of an asset, each pushed on its own. */
  async function assets(name: string, versions: number): Promise<string> {
    const local = await makeRepository();
    let asset = seededBytes(name.length, 700_000);
    for (let v = 0; v < versions; v++) {
      const at = 50_000 + v * 100_000;
      asset = Buffer.concat([asset.subarray(0, at), Buffer.from(`edit ${v}`), asset.subarray(at)]);
      const importer = new FastImport(1_760_000_000 + v);
      importer.commit('refs/heads/main', { 'asset.bin': asset }, { parents: v === 0 ? [] : ['refs/heads/main'] });
      await importer.into(local);
      await git(['push', '-q', yard.url(name), 'main'], { cwd: local });
    }
    return local;
  }
  async function chunkPacks(name: string): Promise<number[]> {
    return (await yard.catalog.chunks.packs(await yard.poolOf(name), null)).map((pack) => pack.id);
  }
  async function keys(): Promise<string[]> {
    const found: string[] = [];
    for await (const { key } of yard.store.list('')) found.push(key);
    return found;
  }

  test('become one, and everything that names chunks follows', async () => {
    const local = await assets('one', 5);
    await yard.assertClones('one', local);
    const pool = await yard.poolOf('one');
    assert.equal((await chunkPacks('one')).length, 5);
    const [merge, ...more] = await planChunkMerges(yard.settings, pool, true);
    assert.deepEqual([merge!.packIds, more], [await chunkPacks('one'), []]);
    const report = await compactChunks(yard.settings, [merge!], SIGNAL);
    assert.deepEqual([report.merged, report.mergedInto, report.left, report.failed], [5, 1, 0, 0]);
    assert.equal((await chunkPacks('one')).length, 1);
    // The server has recipes of before: it must not go on with them once the old packs are gone.
    await yard.query(`delete from packs where pool_id = $1 and tier = 'chunks' and state = 'superseded'`, [pool]);
    await yard.assertClones('one', local);
    assert.deepEqual(await planChunkMerges(yard.settings, pool, true), []);
    const again = await makeRepository();
    const importer = new FastImport(1_770_000_000);
    importer.commit('refs/heads/again', { copy: Buffer.concat([seededBytes(3, 700_000), Buffer.from('end')]) });
    await importer.into(again);
    await git(['push', '-q', yard.url('one'), 'again'], { cwd: again });
    const sizes = (await yard.catalog.chunks.packs(pool, null)).map((pack) => pack.lengthBytes);
    assert.ok(Math.min(...sizes) < 200_000, `${sizes} bytes for what the pool had but for its end`);
  });

  test('lose what no recipe names, and are sound afterwards', async () => {
    const local = await assets('dead', 2);
    const pool = await yard.poolOf('dead');
    const [first] = await chunkPacks('dead');
    await yard.query(`insert into chunks select $1, sha256('nobody'), $2, 18, 100`, [pool, first]);
    const used = await yard.catalog.chunkMoves.usedBytes(pool);
    const packs = await yard.catalog.chunks.packs(pool, null);
    for (const pack of packs) assert.ok(used.get(pack.id)! < pack.lengthBytes && used.get(pack.id)! > pack.lengthBytes * 0.9);
    const report = await compactChunks(yard.settings, await planChunkMerges(yard.settings, pool, true), SIGNAL);
    assert.equal(report.failed, 0);
    assert.deepEqual([...(await yard.catalog.chunks.find(pool, Buffer.from(await sha('nobody'), 'hex'))).packIds], [0]);
    await yard.assertClones('dead', local);
    assert.deepEqual(
      (await yard.problems()).filter((line) => !line.startsWith('orphan')),
      [],
    );
  });

  test('are no fault of a check that goes on while they are merged', async (context) => {
    await assets('checked', 3);
    const pool = await yard.poolOf('checked');
    const { chunks } = yard.catalog;
    const packs = chunks.packs.bind(chunks);
    let merged = 0;
    context.mock.method(chunks, 'packs', async (...asked: Parameters<typeof packs>) => {
      const known = await packs(...asked);
      if (asked[0] === pool && merged === 0)
        ({ merged } = await compactChunks(yard.settings, await planChunkMerges(yard.settings, pool, true), SIGNAL));
      return known;
    });
    assert.deepEqual(
      (await yard.problems()).filter((line) => !line.startsWith('orphan')),
      [],
    );
    assert.equal(merged, 3);
  });

  async function sha(text: string): Promise<string> {
    const [row] = await yard.query<{ sha: string }>(`select encode(sha256($1::bytea), 'hex') sha`, [text]);
    return row!.sha;
  }

  test('stay when a push uses a chunk meanwhile that was not moved, and nothing is left over', async () => {
    const local = await assets('race', 3);
    const pool = await yard.poolOf('race');
    const saved = await yard.query(
      `create temporary table saved_recipes as select * from chunked_blobs where pool_id = ${pool} limit 1`,
    );
    assert.deepEqual(saved, []);
    await yard.query('delete from chunked_blobs b using saved_recipes s where b.pool_id = s.pool_id and b.pack_id = s.pack_id');
    const [before, stored] = [await chunkPacks('race'), await keys()];
    const at = async (point: string): Promise<void> => {
      if (point === 'uploaded') await yard.query('insert into chunked_blobs select * from saved_recipes');
    };
    const merges = await planChunkMerges(yard.settings, pool, true);
    const report = await compactChunks({ ...yard.settings, at }, merges, SIGNAL);
    assert.deepEqual([report.merged, report.left, report.failed], [0, 1, 0]);
    assert.deepEqual(await chunkPacks('race'), before);
    assert.deepEqual(await keys(), stored);
    await yard.assertClones('race', local);
  });

  test('of which one is damaged stay, and the report says so', async () => {
    await assets('broken', 2);
    const pool = await yard.poolOf('broken');
    const before = await chunkPacks('broken');
    await yard.query('update chunked_blobs set sha256s = set_byte(sha256s, 3, 255 - get_byte(sha256s, 3)) where pool_id = $1', [
      pool,
    ]);
    const report = await compactChunks(yard.settings, await planChunkMerges(yard.settings, pool, true), SIGNAL);
    assert.deepEqual([report.merged, report.failed], [0, 1]);
    assert.deepEqual(await chunkPacks('broken'), before);
    const leased = await yard.query('select 1 from packs where pool_id = $1 and lease_token is not null', [pool]);
    assert.deepEqual(leased, []);
  });

  test('are merged geometrically when nobody asks for more', async () => {
    await assets('steps', 4);
    const pool = await yard.poolOf('steps');
    const sizes = new Map((await yard.catalog.chunkMoves.sizes(pool)).map((pack) => [pack.id, pack.lengthBytes]));
    const [first, ...later] = await chunkPacks('steps');
    const [merge] = await planChunkMerges(yard.settings, pool, false);
    assert.deepEqual(merge!.packIds, later, `the first has ${sizes.get(first!)} bytes`);
  });
});
