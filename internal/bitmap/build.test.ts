import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { KIND_TREE } from '../object/mod.ts';
import { commitBody, FastImport, git, makeRepository, syntheticHistory, treeBody } from '../testkit/mod.ts';
import { packOf, type TestPack, tangledHistory } from './bitmap-testing.ts';
import { BitSet } from './bitset.ts';
import { buildReach, checkReach } from './build.ts';
import { ReachBitmaps } from './reach-file.ts';

function bitmapsOf(pack: TestPack, bytes = buildReach(pack)): ReachBitmaps {
  assert.ok(bytes !== null, 'the pack is closed');
  return new ReachBitmaps(bytes, pack.format, pack.checksum, pack.kinds.length);
}

function reachedFrom(pack: TestPack, bitmaps: ReachBitmaps, position: number): string[] {
  const set = new BitSet(pack.kinds.length);
  assert.equal(bitmaps.addReached(set, position), true);
  return [...set].map((n) => pack.byPlace[n]!).sort();
}

async function comparedWithGit(cwd: string, pack: TestPack, every: number): Promise<number> {
  const bitmaps = bitmapsOf(pack);
  let compared = 0;
  for (const [i, position] of bitmaps.commits.entries()) {
    if (i % every !== 0) continue;
    const hex = pack.byPlace[position]!;
    const told = (await git(['rev-list', '--objects', '--no-object-names', hex], { cwd })).trim().split('\n').sort();
    assert.deepEqual(reachedFrom(pack, bitmaps, position), told, hex);
    compared++;
  }
  return compared;
}

describe('bitmaps of a pack', () => {
  for (const seed of [1, 2, 3]) {
    test(`say what git says of tangled history ${seed}`, async () => {
      const cwd = await tangledHistory(seed, 60);
      const pack = await packOf(cwd);
      assert.ok((await comparedWithGit(cwd, pack, 2)) > 5);
    });
  }

  test('say what git says of modes that nobody writes', async () => {
    const cwd = await makeRepository();
    const put = (kind: string, input: Buffer) => git(['hash-object', '-w', '--literally', '--stdin', '-t', kind], { cwd, input });
    let tip: string | undefined;
    for (const text of ['first', 'second']) {
      const blob = await put('blob', Buffer.from(text));
      const modes = [`1${'100644'.padStart(30, '0')}`, '60000', '100640', '10000'];
      const entries = modes.map((mode, i) => [mode, `${i}`, i % 2 === 1 ? '12'.repeat(20) : blob] as const);
      tip = await put('commit', commitBody(await put('tree', treeBody(entries)), tip === undefined ? [] : [tip]));
    }
    await git(['update-ref', 'refs/heads/main', tip!], { cwd });
    assert.ok((await comparedWithGit(cwd, await packOf(cwd), 1)) > 0);
  });

  test('say what git says in a SHA-256 repository', async () => {
    const cwd = await tangledHistory(4, 40, 'sha256');
    assert.ok((await comparedWithGit(cwd, await packOf(cwd, { format: 'sha256' }), 3)) > 3);
  });

  test('are near every commit of a long history', async () => {
    const cwd = await syntheticHistory({ commits: 700, tagEvery: 0 }).into();
    const pack = await packOf(cwd);
    const bitmaps = bitmapsOf(pack);
    assert.ok(bitmaps.commits.length >= 6 && bitmaps.commits.length < 70, `${bitmaps.commits.length} bitmaps`);
    assert.ok((await comparedWithGit(cwd, pack, 3)) > 1);
    const order = (await git(['rev-list', '--first-parent', 'HEAD'], { cwd })).trim().split('\n');
    const has = order.map((hex) => bitmaps.hasBitmap(pack.byPlace.indexOf(hex)));
    for (let gap = 0, i = 0; i < has.length - 100; i++) {
      gap = has[i] ? 0 : gap + 1;
      assert.ok(gap < 100, `no bitmap for ${gap} commits`);
    }
  });

  test('know the kinds of objects', async () => {
    const pack = await packOf(await tangledHistory(5, 20));
    const bitmaps = bitmapsOf(pack);
    for (const kind of [1, 2, 3, 4]) {
      const told = [...bitmaps.ofKind(kind)].map((position) => pack.byPlace[position]!).sort();
      assert.deepEqual(
        told,
        pack.hexes.filter((_, row) => pack.kinds[row] === kind),
      );
    }
  });

  test('are the same for the same pack, and pass their check', async () => {
    const pack = await packOf(await tangledHistory(6, 50));
    const bytes = buildReach(pack)!;
    assert.ok(bytes.equals(buildReach({ ...pack, graph: [Buffer.concat(pack.graph.toReversed())] })!));
    assert.equal(checkReach(pack, bitmapsOf(pack, bytes)), null);
  });

  test('do not pass their check when they tell of another history', async () => {
    const cwd = await tangledHistory(7, 30);
    const pack = await packOf(cwd);
    // The same objects, but a commit with another parent's history: what is built from it must not pass.
    const graph = Buffer.concat(pack.graph);
    const other = { ...pack, readTree: (row: number) => (pack.kinds[row] === KIND_TREE ? Buffer.alloc(0) : pack.readTree(row)) };
    const wrong = bitmapsOf(pack, buildReach({ ...other, graph: [graph] }));
    assert.match(checkReach(pack, wrong) ?? '', /reaches something else/);
  });
});

describe('a pack that is not closed', () => {
  test('has no bitmaps when a blob, a tree or a parent is elsewhere', async () => {
    const cwd = await tangledHistory(8, 12);
    const whole = await packOf(cwd);
    for (const kind of [1, 2, 3]) {
      const hex = whole.hexes[whole.kinds.indexOf(kind)]!;
      const inside = (await git(['rev-list', '--objects', '--no-object-names', '--branches'], { cwd })).split('\n').includes(hex);
      assert.ok(inside);
      assert.equal(buildReach(await packOf(cwd, { without: (candidate) => candidate === hex })), null, `kind ${kind}`);
    }
  });

  test('has none either when only newer history is in it', async () => {
    const cwd = await syntheticHistory({ commits: 10, tagEvery: 0 }).into();
    assert.equal(buildReach(await packOf(cwd, { revisions: ['HEAD', '^HEAD~3'] })), null);
  });
});

describe('a history that brings back too much', () => {
  test('is given up, in time', async () => {
    const stream = new FastImport();
    const files = Object.fromEntries(Array.from({ length: 600 }, (_, i) => [`f${i}`, `${i}\n`]));
    // Each commit brings the whole tree anew: it has no parent.
    for (let i = 0; i < 12; i++)
      stream.commit(`refs/heads/o${i}`, { ...files, [`own${i}`]: `${i}\n` }, { parents: [], clean: true });
    const cwd = await stream.into();
    const pack = await packOf(cwd);
    assert.ok(buildReach(pack, { newsFree: 10_000 }) !== null);
    assert.equal(buildReach(pack, { newsFree: 0 }), null);
  });
});

describe('stored bitmaps', () => {
  test('are refused when a byte of them is another, or when they are of another pack', async () => {
    const pack = await packOf(await tangledHistory(9, 15));
    const bytes = buildReach(pack)!;
    const count = pack.kinds.length;
    const refused = (changed: Buffer, checksum = pack.checksum, objects = count): void => {
      assert.throws(() => new ReachBitmaps(changed, 'sha1', checksum, objects), { code: 'bad-bitmap' });
    };
    for (let at = 0; at < bytes.length; at += 7) {
      const changed = Buffer.from(bytes);
      changed[at]! ^= 1;
      refused(changed);
      refused(bytes.subarray(0, at));
    }
    refused(bytes, Buffer.alloc(20));
    refused(bytes, pack.checksum, count + 1);
  });

  test('are refused when what they say cannot be, though their hash is right', async () => {
    const pack = await packOf(await tangledHistory(10, 15));
    const bytes = buildReach(pack)!;
    let refusals = 0;
    for (let at = 32; at < bytes.length - 20; at++) {
      const changed = Buffer.from(bytes);
      changed[at]! ^= 0xff;
      createHash('sha1')
        .update(changed.subarray(0, -20))
        .digest()
        .copy(changed, changed.length - 20);
      try {
        const bitmaps = new ReachBitmaps(changed, 'sha1', pack.checksum, pack.kinds.length);
        const set = new BitSet(pack.kinds.length);
        for (const position of bitmaps.commits) bitmaps.addReached(set, position);
        assert.ok(set.next(0) <= set.length);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'bad-bitmap');
        refusals++;
      }
    }
    assert.ok(refusals > 20);
  });
});
