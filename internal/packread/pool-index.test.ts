import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Pack } from '../catalog/mod.ts';
import { entry, oidOf, type StoredEntry, TestPool } from '../testkit/mod.ts';
import { PoolIndex } from './pool-index.ts';

const bodyOf = (i: number): string => `object ${i}\n`;
const oidAt = (i: number): string => oidOf('blob', bodyOf(i));
const row = (i: number): StoredEntry => ({
  oid: oidAt(i),
  kind: 3,
  sizeBytes: bodyOf(i).length,
  bytes: entry('blob', bodyOf(i)),
});
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);
const oids = (...numbers: number[]): Buffer => Buffer.concat(numbers.map((i) => Buffer.from(oidAt(i), 'hex')));

describe('the object index of a pool', () => {
  let pool: TestPool;
  let big: Pack;
  let copy: Pack;
  let tail: Pack;
  let youngTail: Pack;

  before(async () => {
    pool = await TestPool.start();
    tail = await pool.put('tail', range(0, 20).map(row));
    big = await pool.put('store', range(100, 1100).map(row), { rowsPerBlock: 20 });
    copy = await pool.put('store', range(1000, 1200).map(row), { rowsPerBlock: 20, hasDuplicates: true });
    youngTail = await pool.put('tail', [...range(15, 30), ...range(1190, 1195)].map(row), { hasDuplicates: true });
  });
  after(() => pool?.close());

  function fresh(packs: readonly Pack[] = [big, copy, tail, youngTail]): PoolIndex {
    const index = new PoolIndex(pool.catalog, pool.poolId, 'sha1');
    for (const pack of packs) index.add(pack);
    return index;
  }

  const holders = (i: number): number[] =>
    [tail, big, copy, youngTail]
      .filter((pack) =>
        pack === tail
          ? i < 20
          : pack === big
            ? i >= 100 && i < 1100
            : pack === copy
              ? i >= 1000 && i < 1200
              : (i >= 15 && i < 30) || (i >= 1190 && i < 1195),
      )
      .map((pack) => pack.id);

  test('finds what is there, in whatever order it is asked, and loads only the blocks that are needed', async () => {
    const index = fresh();
    assert.equal(index.peek(oids(500), 0), undefined);
    let statements = pool.catalog.statements;
    const [found] = await index.find(oids(500));
    assert.deepEqual([found?.pack.id, found?.sizeBytes, found?.kind], [big.id, bodyOf(500).length, 3]);
    assert(index.bytes < 400 * 46, 'the whole index was loaded');
    statements = pool.catalog.statements;
    assert.equal(index.peek(oids(500), 0)?.offset, found?.offset);
    for (const numbers of [range(0, 40), range(90, 110), [700, 5, 2000, 1195, 17], range(0, 1300)]) {
      const locations = await index.find(oids(...numbers));
      numbers.forEach((i, at) => {
        const location = locations[at];
        const where = holders(i);
        assert(location ? where.includes(location.pack.id) : where.length === 0, `${i} is found where it is`);
        assert.deepEqual(index.peek(oids(i), 0), location);
      });
    }
    statements = pool.catalog.statements;
    await index.find(oids(...range(0, 1300)));
    assert.equal(pool.catalog.statements, statements, 'what was loaded is asked for again');
  });

  test('gives the copy of the oldest tail pack, whatever the order in which packs become known', async () => {
    for (const order of [
      [tail, youngTail],
      [youngTail, tail],
    ]) {
      const [found] = await fresh([...order, big, copy]).find(oids(17));
      assert.equal(found?.pack.id, tail.id);
    }
  });

  test('looks into some packs only when asked about those', async () => {
    const index = fresh();
    const only = (pack: Pack) => (candidate: Pack) => candidate.id === pack.id;
    for (const pack of [tail, big, copy, youngTail]) {
      const numbers = [3, 17, 25, 150, 1050, 1150, 1192, 5000];
      const found = await index.among(oids(...numbers), only(pack));
      numbers.forEach((i, at) => {
        assert.equal(found[at]?.pack.id, holders(i).includes(pack.id) ? pack.id : undefined, `${i} in ${pack.id}`);
      });
    }
  });

  test('offers every copy as a base, the own one first', async () => {
    const index = fresh();
    assert.equal(index.peekBases(youngTail, oids(1192), 0), undefined);
    await index.loadForBase(oids(1192));
    assert.deepEqual(
      index.peekBases(youngTail, oids(1192), 0)?.map(({ pack }) => pack.id),
      [youngTail.id, copy.id],
    );
    await index.loadForBase(oids(17));
    assert.deepEqual(
      index.peekBases(youngTail, oids(17), 0)?.map(({ pack }) => pack.id),
      [youngTail.id, tail.id],
    );
  });

  test('tells packs that share objects from packs that do not, even when no push has noticed', async () => {
    const unaware = (pack: Pack): Pack => ({ ...pack, hasDuplicates: false });
    assert.equal(await fresh([tail, big]).mayShare([tail, big]), false);
    assert.equal(await fresh([tail, big, copy]).mayShare([tail, copy]), true, 'a push said so');
    for (const pair of [
      [tail, unaware(youngTail)],
      [unaware(youngTail), unaware(copy)],
      [big, unaware(copy)],
      [unaware(copy), big],
    ]) {
      assert.equal(await fresh(pair).mayShare(pair), true);
    }
    const index = fresh([tail, big, unaware(youngTail)]);
    const answers = await Promise.all([
      index.mayShare([tail]),
      index.mayShare([tail, big, ...[unaware(youngTail)]]),
      index.mayShare([big]),
    ]);
    assert.deepEqual(answers, [false, true, false]);
    const before = pool.catalog.statements;
    await index.mayShare([tail, big]);
    assert.equal(pool.catalog.statements, before, 'packs are compared once');
  });

  test('enumerates a pack that was loaded whole', async () => {
    const index = fresh();
    await index.find(oids(500));
    await index.loadWhole([big, tail]);
    const listed = index.blocksOf(big).reduce((sum, block) => sum + block.kinds.length, 0);
    assert.deepEqual([listed, index.blocksOf(tail)[0]?.kinds.length], [1000, 20]);
  });
});
