import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { startTestDatabase, type TestDatabase } from '../testkit/mod.ts';
import { type Catalog, openCatalog } from './catalog.ts';
import { create, makeBlocks, oid, publish, remove, tailPack, update } from './catalog-testing.ts';
import type { ObjectBlock, Repository } from './types.ts';

const [A, B, C] = [oid('a'), oid('b'), oid('c')];
const MAIN = 'refs/heads/main';
const LEASE = '6a1f0e9c-0000-4000-8000-000000000001';

describe('a push that is published', () => {
  let database: TestDatabase;
  let catalog: Catalog;
  let repository: Repository;
  let count = 0;

  before(async () => {
    database = await startTestDatabase();
    catalog = openCatalog({ url: database.url, poolMax: 4 });
  });
  after(async () => {
    await catalog?.close();
    await database?.stop();
  });
  beforeEach(async () => {
    repository = await catalog.createRepository({ owner: 'o', name: `r${++count}`, format: 'sha1', private: false });
  });

  async function refs(): Promise<Record<string, string>> {
    const state = await catalog.repositoryState('o', repository.name, null);
    return Object.fromEntries(state!.refs.map((ref) => [ref.name, ref.oid!.toString('hex')]));
  }
  async function rows(table: string): Promise<number> {
    const { rows: found } = await query(`select count(*)::integer as n from ${table} where pool_id = ${repository.poolId}`);
    return (found[0] as { n: number }).n;
  }
  function query(text: string): Promise<{ rows: object[] }> {
    return catalog.kysely.executeQuery({ sql: text, parameters: [] } as never);
  }
  async function log(): Promise<string[]> {
    const { rows: found } = await query(
      `select ref, old_oid, new_oid from v_pushes where repository = 'o/${repository.name}' and ref is not null order by push_id, ref`,
    );
    return (found as { ref: string; old_oid: string | null; new_oid: string | null }[]).map(
      ({ ref, old_oid, new_oid }) => `${ref} ${old_oid?.slice(0, 4) ?? '-'} ${new_oid?.slice(0, 4) ?? '-'}`,
    );
  }
  const short = (value: Buffer): string => value.toString('hex', 0, 2);

  test('creates, moves and deletes refs, and logs each change', async () => {
    assert.deepEqual(await publish(catalog, repository, [create(MAIN, A)]), ['ok']);
    assert.deepEqual(await publish(catalog, repository, [update(MAIN, A, B)]), ['ok']);
    assert.deepEqual(await refs(), { [MAIN]: B.toString('hex') });
    assert.deepEqual(await publish(catalog, repository, [remove(MAIN, B)]), ['ok']);
    assert.deepEqual(await refs(), {});
    assert.deepEqual(await log(), [`${MAIN} - ${short(A)}`, `${MAIN} ${short(A)} ${short(B)}`, `${MAIN} ${short(B)} -`]);
  });

  test('moves and deletes a ref only from the value that the client knows', async () => {
    await publish(catalog, repository, [create(MAIN, A)]);
    const commands = [update(MAIN, B, C), remove(MAIN, B), update('refs/heads/none', A, B), remove('refs/heads/none', A)];
    assert.deepEqual(await publish(catalog, repository, commands), ['stale', 'stale', 'stale', 'stale']);
    assert.deepEqual(await refs(), { [MAIN]: A.toString('hex') });
    assert.equal((await log()).length, 1);
  });

  test('does not create what exists', async () => {
    await publish(catalog, repository, [create(MAIN, A)]);
    assert.deepEqual(await publish(catalog, repository, [create(MAIN, B)]), ['exists']);
    assert.deepEqual(await refs(), { [MAIN]: A.toString('hex') });
  });

  test('deletes whatever is there when the client names no value, and nothing when nothing is there', async () => {
    await publish(catalog, repository, [create(MAIN, A)]);
    assert.deepEqual(await publish(catalog, repository, [remove(MAIN, null)]), ['ok']);
    assert.deepEqual(await publish(catalog, repository, [remove(MAIN, null)]), ['ok']);
    assert.deepEqual(await log(), [`${MAIN} - ${short(A)}`, `${MAIN} ${short(A)} -`]);
    assert.equal(await rows('pushes'), 2, 'a push that changed nothing is not logged');
  });

  const conflicts: readonly (readonly [has: string, wants: string, status: 'ok' | 'conflict'])[] = [
    ['refs/heads/a', 'refs/heads/a/b', 'conflict'],
    ['refs/heads/a', 'refs/heads/a/b/c/d', 'conflict'],
    ['refs/heads/a/b', 'refs/heads/a', 'conflict'],
    ['refs/heads/a/b/c/d', 'refs/heads/a', 'conflict'],
    ['refs/heads/a/b/c/d', 'refs/heads/a/b/c', 'conflict'],
    ['refs/heads/a/\xff', 'refs/heads/a', 'conflict'],
    ['refs/heads/\xe9', 'refs/heads/\xe9/x', 'conflict'],
    ['refs/heads/a-b', 'refs/heads/a', 'ok'],
    ['refs/heads/a.b', 'refs/heads/a', 'ok'],
    ['refs/heads/a0', 'refs/heads/a', 'ok'],
    ['refs/heads/a', 'refs/heads/ab/c', 'ok'],
    ['refs/heads/a/b', 'refs/heads/a/c', 'ok'],
    ['refs/heads/a', 'refs/tags/a/b', 'ok'],
  ];
  for (const [has, wants, status] of conflicts) {
    test(`with ${JSON.stringify(has)} there, creating ${JSON.stringify(wants)} is ${status}`, async () => {
      assert.deepEqual(await publish(catalog, repository, [create(has, A)]), ['ok']);
      assert.deepEqual(await publish(catalog, repository, [create(wants, B)]), [status]);
      assert.equal(wants in (await refs()), status === 'ok');
    });
    test(`${JSON.stringify(has)} and ${JSON.stringify(wants)} in one push: the second is ${status}`, async () => {
      assert.deepEqual(await publish(catalog, repository, [create(has, A), create(wants, B)]), ['ok', status]);
    });
  }

  test('a name may take the place of a folder that the same push empties', async () => {
    await publish(catalog, repository, [create('refs/heads/a', A)]);
    const commands = [remove('refs/heads/a', A), create('refs/heads/a/b', B)];
    assert.deepEqual(await publish(catalog, repository, commands), ['ok', 'ok']);
    assert.deepEqual(Object.keys(await refs()), ['refs/heads/a/b']);
  });

  test('conflicts in another repository of the pool are none', async () => {
    const other = await catalog.createRepository({ owner: 'o', name: `r${++count}`, format: 'sha1', private: false });
    await query(`update repositories set pool_id = ${repository.poolId} where id = ${other.id}`);
    const shared = { ...other, poolId: repository.poolId };
    await publish(catalog, repository, [create('refs/heads/a', A)]);
    assert.deepEqual(await publish(catalog, shared, [create('refs/heads/a', B), create('refs/heads/a/b', B)]), [
      'ok',
      'conflict',
    ]);
    assert.deepEqual(await refs(), { 'refs/heads/a': A.toString('hex') });
  });

  for (const blocks of [undefined, makeBlocks('two', [2, 2])]) {
    test(`an atomic push happens whole or leaves nothing: pack of ${blocks?.length ?? 1} block`, async () => {
      await publish(catalog, repository, [create(MAIN, A)]);
      const more = blocks === undefined ? {} : { blocks };
      const pack = tailPack(await catalog.reservePackId(), more);
      const commands = [create('refs/heads/x', B), update(MAIN, B, C), create('refs/heads/y', C)];
      assert.deepEqual(await publish(catalog, repository, commands, { atomic: true, pack }), ['ok', 'stale', 'ok']);
      assert.deepEqual(await refs(), { [MAIN]: A.toString('hex') });
      for (const table of ['packs', 'tail_bytes', 'object_blocks', 'graph_blocks']) assert.equal(await rows(table), 0, table);
      assert.equal(await rows('pushes'), 1);
      const good = [create('refs/heads/x', B), update(MAIN, A, C)];
      assert.deepEqual(await publish(catalog, repository, good, { atomic: true, pack }), ['ok', 'ok']);
      assert.equal((await catalog.packs(repository.poolId, null)).length, 1);
    });

    test(`a push of which nothing happened leaves no pack: pack of ${blocks?.length ?? 1} block`, async () => {
      const pack = tailPack(await catalog.reservePackId(), blocks === undefined ? {} : { blocks });
      assert.deepEqual(await publish(catalog, repository, [update(MAIN, A, B)], { pack }), ['stale']);
      for (const table of ['packs', 'tail_bytes', 'object_blocks', 'graph_blocks', 'pushes'])
        assert.equal(await rows(table), 0, table);
    });
  }

  test('a pack comes with the push even when its refs stay as they are', async () => {
    await publish(catalog, repository, [create(MAIN, A)]);
    const pack = tailPack(await catalog.reservePackId());
    assert.deepEqual(await publish(catalog, repository, [update(MAIN, A, A)], { pack }), ['ok']);
    assert.equal((await catalog.packs(repository.poolId, null))[0]?.id, pack.id);
    assert.equal((await log()).length, 1);
  });

  test('of two commands for one name the first wins', async () => {
    assert.deepEqual(await publish(catalog, repository, [create(MAIN, A), create(MAIN, B)]), ['ok', 'exists']);
    assert.deepEqual(await refs(), { [MAIN]: A.toString('hex') });
    assert.deepEqual(await publish(catalog, repository, [update(MAIN, A, B), update(MAIN, A, C)]), ['ok', 'stale']);
    assert.deepEqual(await refs(), { [MAIN]: B.toString('hex') });
    // One ref changes once in a push: a chain is a caller's mistake, and changes nothing.
    await assert.rejects(publish(catalog, repository, [update(MAIN, B, A), update(MAIN, A, C)]), { code: '23505' });
    assert.deepEqual(await refs(), { [MAIN]: B.toString('hex') });
  });

  test('partial success does not claim that all of the pack is reached', async () => {
    await publish(catalog, repository, [create(MAIN, A)]);
    const partial = tailPack(await catalog.reservePackId());
    assert.deepEqual(await publish(catalog, repository, [create('refs/heads/x', B), create(MAIN, C)], { pack: partial }), [
      'ok',
      'exists',
    ]);
    const whole = tailPack(await catalog.reservePackId());
    assert.deepEqual(await publish(catalog, repository, [create('refs/heads/y', B)], { pack: whole }), ['ok']);
    const lease = LEASE;
    const stored = tailPack(await catalog.reservePackId(), {
      place: { kind: 'store', lease, crateKey: 'crates/aa/aaaaaaaa.pack' },
    });
    await catalog.beginStorePack(repository.poolId, stored.id, 'crates/aa/aaaaaaaa.pack', lease);
    assert.deepEqual(await publish(catalog, repository, [create('refs/heads/z', B), create(MAIN, C)], { pack: stored }), [
      'ok',
      'exists',
    ]);
    const packs = await catalog.packs(repository.poolId, null);
    assert.deepEqual(
      packs.map((pack) => [pack.id, pack.allReached]),
      [
        [partial.id, false],
        [whole.id, true],
        [stored.id, false],
      ],
    );
  });

  test('nothing is published in a repository that was deleted', async () => {
    await catalog.deleteRepository(repository.id);
    const pack = tailPack(await catalog.reservePackId());
    await assert.rejects(publish(catalog, repository, [create(MAIN, A)], { pack }), { code: 'repository-not-found' });
    for (const table of ['refs', 'packs', 'tail_bytes', 'pushes']) assert.equal(await rows(table), 0, table);
  });

  describe('of a store pack', () => {
    const key = 'crates/bb/bbbbbbbb.pack';

    async function begin(blocks: readonly ObjectBlock[] = makeBlocks('store', [4])) {
      const id = await catalog.reservePackId();
      await catalog.beginStorePack(repository.poolId, id, key, LEASE);
      return tailPack(id, { place: { kind: 'store', lease: LEASE, crateKey: key }, blocks, lengthBytes: 2 ** 40, graph: [] });
    }

    test('is visible only once it is published', async () => {
      const pack = await begin();
      assert.deepEqual(await catalog.packs(repository.poolId, null), []);
      assert.deepEqual(await publish(catalog, repository, [create(MAIN, A)], { pack }), ['ok']);
      const [live] = await catalog.packs(repository.poolId, null);
      assert.deepEqual(
        [live?.id, live?.tier, live?.crateKey, live?.extentOffset, live?.lengthBytes, live?.objectCount, live?.checksum],
        [pack.id, 'store', key, 0, 2 ** 40, 4, pack.checksum],
      );
    });

    test('is refused when its lease was lost, whole', async () => {
      const pack = await begin();
      let deleted = 0;
      await catalog.abortStorePack(repository.poolId, pack.id, async () => {
        const { rows: found } = await query(`select state from packs where id = ${pack.id}`);
        assert.deepEqual(found, [{ state: 'aborting' }], 'nobody can publish it any more when its bytes go');
        deleted++;
      });
      assert.equal(deleted, 1);
      assert.equal(await rows('packs'), 0);
      await assert.rejects(publish(catalog, repository, [create(MAIN, A)], { pack }), { code: 'lease-lost' });
      for (const table of ['refs', 'pushes', 'object_blocks']) assert.equal(await rows(table), 0, table);
    });

    test('is refused to the holder of another lease', async () => {
      const pack = await begin();
      const place = { kind: 'store', lease: LEASE.replace(/1$/, '2'), crateKey: key } as const;
      await assert.rejects(publish(catalog, repository, [create(MAIN, A)], { pack: { ...pack, place } }), { code: 'lease-lost' });
      assert.deepEqual(await catalog.packs(repository.poolId, null), []);
    });

    test('cannot be taken back once it is live, and stays marked when its bytes cannot be deleted', async () => {
      const live = await begin();
      await publish(catalog, repository, [create(MAIN, A)], { pack: live });
      await catalog.abortStorePack(repository.poolId, live.id, () => assert.fail('the bytes of a live pack'));
      const kept = await begin();
      const failing = catalog.abortStorePack(repository.poolId, kept.id, () => Promise.reject(new Error('no store')));
      await assert.rejects(failing, /no store/);
      const { rows: found } = await query(`select state from packs where id = ${kept.id}`);
      assert.deepEqual(found, [{ state: 'aborting' }]);
      assert.deepEqual(
        (await catalog.packs(repository.poolId, null)).map((pack) => pack.id),
        [live.id],
      );
    });
  });

  test('brings every block of a large pack by COPY as it was given', async () => {
    const blocks = makeBlocks('large', [1000, 1000, 345]);
    const graph = [Buffer.from([1, 0, 92, 10, 9]), Buffer.alloc(0), Buffer.from('\\x00\t\n', 'latin1')];
    const pack = tailPack(await catalog.reservePackId(), { blocks, graph });
    await publish(catalog, repository, [create(MAIN, A)], { pack });
    // By a statement, and copied out as of a pack of many objects.
    for (const objectCount of [1, 1_000_000]) {
      const indexed = [{ id: pack.id, objectCount }];
      const read = (await catalog.blocks(repository.poolId, indexed)).get(pack.id)!;
      assert.equal(read.length, 3);
      read.forEach((block, i) => {
        for (const column of ['oids', 'sizes', 'offsets', 'lengths'] as const)
          assert.deepEqual(block[column], blocks[i]![column], column);
        assert.deepEqual([...block.kinds], [...blocks[i]!.kinds]);
      });
      assert.deepEqual(
        (await catalog.graphBlocks(repository.poolId, indexed)).map((block) => block.records),
        graph,
      );
    }
    const directory = (await catalog.blockDirectory(repository.poolId, [pack.id])).get(pack.id)!;
    assert.deepEqual(directory, Buffer.concat(blocks.map((block) => block.oids.subarray(0, 20))));
    const [second] = await catalog.blocksAt(repository.poolId, [{ packId: pack.id, firstOid: directory.subarray(20, 40) }]);
    assert.deepEqual(second?.block.oids, blocks[1]!.oids);
    assert.deepEqual((await catalog.tailBytes(repository.poolId, [pack.id])).get(pack.id), Buffer.from(`PACK tail ${pack.id}`));
    assert.deepEqual(await catalog.misshapenBlocks(repository.poolId, pack.id, 'sha1'), []);
  });

  test('a one-block tail pack takes one statement', async () => {
    const pack = tailPack(await catalog.reservePackId());
    const before = catalog.statements;
    await publish(catalog, repository, [create(MAIN, A)], { pack });
    assert.equal(catalog.statements - before, 1);
  });

  test('sets HEAD for good, once', async () => {
    const head = async () => (await catalog.findRepository('o', repository.name))?.head;
    await publish(catalog, repository, [create(MAIN, A)], { head: MAIN });
    assert.equal(await head(), MAIN);
    await publish(catalog, repository, [create('refs/heads/master', A)], { head: 'refs/heads/master' });
    assert.equal(await head(), MAIN);
    await catalog.setHead(repository.id, null);
    await publish(catalog, repository, [create(MAIN, A)], { head: 'refs/heads/x' });
    assert.equal(await head(), null, 'a push of which nothing happened settles nothing');
  });

  test('keeps names of any bytes, what a tag names, who pushed and with which options', async () => {
    const name = 'refs/tags/\x80\xff\'"\\{}$1';
    const options = ['a "b", c\\', '', '{x,NULL}', 'é'];
    await publish(catalog, repository, [create(name, A, B)], { actor: 'ci "x"', requestId: 'r-1', options });
    const [ref] = (await catalog.repositoryState('o', repository.name, null))!.refs;
    assert.deepEqual([ref?.name, ref?.oid, ref !== undefined && 'peeled' in ref ? ref.peeled : null], [name, A, B]);
    const { rows: found } = await query(
      `select actor, request_id, options from v_pushes where repository = 'o/${repository.name}'`,
    );
    assert.deepEqual(found, [{ actor: 'ci "x"', request_id: 'r-1', options }]);
  });

  test('of refs that lost a value the log gives the values, newest first, of this repository alone', async () => {
    await publish(catalog, repository, [create(MAIN, A)]);
    await publish(catalog, repository, [update(MAIN, A, B)]);
    await publish(catalog, repository, [update(MAIN, B, C)]);
    const tips = (seconds: number | null, limit: number) => catalog.loggedTips(repository.poolId, repository.id, seconds, limit);
    assert.deepEqual(await tips(3600, 10), [B, A]);
    assert.deepEqual(await tips(3600, 1), [B]);
    assert.deepEqual(await catalog.loggedTips(repository.poolId, repository.id + 1000, 3600, 10), []);
    await query(`update pushes set pushed_at = now() - interval '2 hours' where pool_id = ${repository.poolId}`);
    assert.deepEqual(await tips(3600, 10), []);
    assert.deepEqual(await tips(3 * 3600, 10), [B, A]);
    await query(`insert into pool_sweeps values (${repository.poolId}, now(), now() - interval '1 hour', 0, 0)`);
    assert.deepEqual(await tips(3 * 3600, 10), [], 'a sweep has not counted them');
    assert.deepEqual(await tips(null, 10), [B, A], 'what it has ever had');
  });
});
