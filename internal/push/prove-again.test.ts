import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  buildDelta,
  buildPack,
  commitBody,
  entry,
  FastImport,
  git,
  oidOf,
  refDelta,
  startTestDatabase,
  type TestDatabase,
  treeBody,
  tryGit,
  ZERO_OID,
} from '../testkit/mod.ts';
import { PushBench } from './push-testing.ts';

const MAIN = 'refs/heads/main';
const SIDE = 'refs/heads/side';
const NEXT = 'refs/heads/next';

const TEXT = Array.from({ length: 300 }, (_, i) => `line ${i}\n`).join('');

describe('a push whose pool is swept between its proof and its commit', () => {
  let database: TestDatabase;
  let bench: PushBench;
  let local: string;
  let count = 0;
  let name = '';
  const oids: Record<string, string> = {};

  before(async () => {
    database = await startTestDatabase();
    bench = new PushBench(database.url);
    await bench.client.connect();
    const importer = new FastImport();
    const root = importer.commit(MAIN, { a: 'a\n' });
    const side = importer.commit(SIDE, { b: TEXT }, { parents: [root] });
    importer.commit(NEXT, { b: `${TEXT}more\n` }, { parents: [side] });
    local = await importer.into();
    for (const ref of ['main', 'side', 'next']) oids[ref] = await git(['rev-parse', ref], { cwd: local });
  });
  after(async () => {
    await bench?.close();
    await database?.stop();
  });

  async function packOf(revisions: string): Promise<Buffer> {
    const { stdout } = await tryGit(['pack-objects', '--thin', '--stdout', '--revs', '--quiet', '--delta-base-offset'], {
      cwd: local,
      input: revisions,
    });
    return stdout;
  }

  /** A repository with main and side. */
  async function filled(): Promise<void> {
    name = `o/r${++count}`;
    const updates = [
      [ZERO_OID, oids.main!, MAIN],
      [ZERO_OID, oids.side!, SIDE],
    ] as const;
    assert.deepEqual(await bench.push(name, updates, await packOf('main\nside\n')), ['unpack ok', `ok ${MAIN}`, `ok ${SIDE}`]);
  }

  const moveEpoch = async (): Promise<void> => {
    await bench.client.query('update pools set sweep_epoch = sweep_epoch + 1');
  };
  /** What a sweep may do that runs with no retention: a ref goes, and then what only it reached. */
  const condemnSide = async (): Promise<void> => {
    await bench.push(name, [[oids.side!, ZERO_OID, SIDE]], Buffer.alloc(0));
    await moveEpoch();
  };
  function once(work: () => Promise<void>): () => Promise<void> {
    let done = false;
    return async () => {
      if (done) return;
      done = true;
      await work();
    };
  }

  test('is proven anew and taken when what it links to is still reached', async () => {
    await filled();
    const pack = await packOf('next\n^side\n');
    let tries = 0;
    const beforePublish = async (): Promise<void> => {
      if (++tries < 3) await moveEpoch();
    };
    const lines = await bench.push(name, [[ZERO_OID, oids.next!, NEXT]], pack, { beforePublish });
    assert.deepEqual([lines, tries], [['unpack ok', `ok ${NEXT}`], 3]);
  });

  test('is refused as git does when it links to what is gone; the client sends it when it tries again', async () => {
    await filled();
    const pack = await packOf('next\n^side\n');
    const lines = await bench.push(name, [[ZERO_OID, oids.next!, NEXT]], pack, { beforePublish: once(condemnSide) });
    assert.deepEqual(lines, ['unpack ok', `ng ${NEXT} missing necessary objects`]);
    const { rows } = await bench.client.query(
      `select 1 from refs where name = '${NEXT}' and pool_id = (select max(id) from pools)`,
    );
    assert.deepEqual(rows, []);
    const again = await bench.push(name, [[ZERO_OID, oids.next!, NEXT]], await packOf('next\n^main\n'));
    assert.deepEqual(again, ['unpack ok', `ok ${NEXT}`]);
  });

  test('is refused when a base of its deltas is gone, and no pack stays behind', async () => {
    await filled();
    const blob = `${TEXT}thin`;
    const delta = buildDelta(TEXT.length, blob.length, [{ copy: [0, TEXT.length] }, { insert: 'thin' }]);
    const tree = treeBody([['100644', 'b', oidOf('blob', blob)]]);
    const commit = commitBody(oidOf('tree', tree), [oids.main!]);
    const pack = buildPack([entry('commit', commit), entry('tree', tree), refDelta(oidOf('blob', TEXT), delta)]);
    const other = 'refs/heads/other';
    await bench.push(name, [[ZERO_OID, oids.main!, other]], await packOf(''));
    const updates = [
      [ZERO_OID, oidOf('commit', commit), NEXT],
      [oids.main!, ZERO_OID, other],
    ] as const;
    let before = await bench.client.query('select id from packs order by id');
    for (const tailBytesMax of [1 << 20, 0]) {
      const lines = await bench.push(name, updates, pack, { tailBytesMax, beforePublish: once(condemnSide) });
      assert.deepEqual(lines, ['unpack ok', `ng ${NEXT} missing necessary objects`, `ng ${other} missing necessary objects`]);
      assert.deepEqual((await bench.client.query('select id from packs order by id')).rows, before.rows);
      await bench.push(name, [[ZERO_OID, oids.side!, SIDE]], await packOf('side\n^main\n'));
      before = await bench.client.query('select id from packs order by id');
    }
  });

  test('without a pack is refused when the object that it names is gone', async () => {
    await filled();
    const updates = [[ZERO_OID, oids.side!, NEXT]] as const;
    const lines = await bench.push(name, updates, await packOf(''), { beforePublish: once(condemnSide) });
    assert.deepEqual(lines, ['unpack ok', `ng ${NEXT} missing necessary objects`]);
    await filled();
    assert.deepEqual(
      await bench.push(name, [[ZERO_OID, oids.side!, NEXT]], await packOf(''), { beforePublish: once(moveEpoch) }),
      ['unpack ok', `ok ${NEXT}`],
    );
  });

  test('is refused in the end when something is condemned each time', async () => {
    await filled();
    const pack = await packOf('next\n^side\n');
    const lines = await bench.push(name, [[ZERO_OID, oids.next!, NEXT]], pack, { beforePublish: moveEpoch });
    assert.deepEqual(lines, ['unpack ok', `ng ${NEXT} failed to update ref`]);
  });

  test('fails when its repository was deleted meanwhile, and another has its name', async () => {
    await filled();
    const pack = await packOf('next\n^side\n');
    const replace = once(async () => {
      await bench.client.query(`update repositories set deleted_at = now() where name = '${name.slice(2)}'`);
      await bench.catalog.createRepository({ owner: 'o', name: name.slice(2), format: 'sha1', private: false });
      await moveEpoch();
    });
    await assert.rejects(bench.push(name, [[ZERO_OID, oids.next!, NEXT]], pack, { beforePublish: replace }), {
      code: 'repository-not-found',
    });
  });
});
