import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { encodeCommitRecord, encodeTagRecord, KIND_COMMIT, KIND_TAG, KIND_TREE } from '../object/mod.ts';
import { commitRange } from './ancestry.ts';
import { CommitGraph } from './graph.ts';
import { flood, NodeSet } from './marks.ts';
import { PriorityQueue } from './priority-queue.ts';

const oidOf = (name: string): Buffer => createHash('sha1').update(name).digest();
const commitOid = (i: number): Buffer => oidOf(`commit ${i}`);

/** Commit i has parents below i: by construction no circle. */
type Shape = readonly (readonly number[])[];

const shapes: fc.Arbitrary<Shape> = fc
  .array(fc.array(fc.nat(), { maxLength: 3 }), { minLength: 1, maxLength: 60 })
  .map((rows) => rows.map((picks, i) => (i === 0 ? [] : [...new Set(picks.map((pick) => Math.max(0, i - 1 - (pick % 8))))])));

function recordOf(shape: Shape, i: number): Buffer {
  return encodeCommitRecord(commitOid(i), {
    tree: oidOf(`tree ${i}`),
    parents: shape[i]!.map(commitOid),
    committerTimeSeconds: 1000 + i,
  });
}

function graphOf(shape: Shape, packOf: (i: number) => number): CommitGraph {
  const graph = new CommitGraph('sha1');
  const packs = new Map<number, Buffer[]>();
  shape.forEach((_, i) => {
    packs.set(packOf(i), [...(packs.get(packOf(i)) ?? []), recordOf(shape, i)]);
  });
  graph.addAll([...packs].map(([packId, blocks]) => ({ packId, blocks })));
  return graph;
}

function ancestors(shape: Shape, starts: readonly number[], cut: ReadonlySet<number> = new Set()): Set<number> {
  const reached = new Set<number>();
  const stack = [...starts];
  while (stack.length > 0) {
    const i = stack.pop()!;
    if (reached.has(i)) continue;
    reached.add(i);
    if (!cut.has(i)) stack.push(...shape[i]!);
  }
  return reached;
}

const sorted = (values: Iterable<number>): number[] => [...values].sort((a, b) => a - b);

describe('a commit graph', () => {
  test('gives each commit a generation above its parents, whatever the order of the packs', () => {
    fc.assert(
      fc.property(shapes, fc.array(fc.nat(4), { minLength: 60, maxLength: 60 }), (shape, packs) => {
        const graph = graphOf(shape, (i) => packs[i]!);
        shape.forEach((parents, i) => {
          const node = graph.find(commitOid(i));
          assert(graph.isCommit(node));
          const generations = parents.map((parent) => graph.generation(graph.find(commitOid(parent))));
          assert.equal(graph.generation(node), Math.max(0, ...generations) + 1);
          assert.deepEqual(
            parents.map((_, at) => graph.hex(graph.parent(node, at))),
            parents.map((parent) => commitOid(parent).toString('hex')),
          );
          assert.deepEqual(Buffer.from(graph.target(node)), oidOf(`tree ${i}`));
          assert.equal(graph.packOf(node), packs[i]);
        });
      }),
      { numRuns: 60 },
    );
  });

  test('does not show what is linked to but not there', () => {
    const graph = new CommitGraph('sha1');
    graph.add(1, [encodeCommitRecord(commitOid(1), { tree: oidOf('t'), parents: [commitOid(0)], committerTimeSeconds: 5 })]);
    assert.equal(graph.find(commitOid(0)), -1);
    assert.equal(graph.find(oidOf('t')), -1);
    assert.equal(commitRange(graph, [graph.find(commitOid(1))], []).commits.length, 1);
  });

  test('goes on without packs whose place others take, as if it had been made anew', () => {
    const packs = fc.array(fc.nat(4), { minLength: 60, maxLength: 60 });
    fc.assert(
      fc.property(shapes, packs, fc.uniqueArray(fc.nat(4), { maxLength: 3 }), (shape, packOf, replaced) => {
        const before = graphOf(shape, (i) => packOf[i]!);
        const merged = (i: number): number => (replaced.includes(packOf[i]!) ? 9 : packOf[i]!);
        const graph = before.without(new Set(replaced))!;
        const records = shape.flatMap((_, i) => (merged(i) === 9 ? [recordOf(shape, i)] : []));
        assert.equal(graph.isWhole, records.length === 0);
        for (const [i] of shape.entries()) assert.equal(graph.find(commitOid(i)) < 0, merged(i) === 9);
        graph.addAll([{ packId: 9, blocks: records }]);
        assert(graph.isWhole);
        const fresh = graphOf(shape, merged);
        shape.forEach((parents, i) => {
          const [node, other] = [graph.find(commitOid(i)), fresh.find(commitOid(i))];
          assert.equal(node, before.find(commitOid(i)), 'nodes keep their numbers');
          assert.equal(graph.generation(node), fresh.generation(other));
          assert.equal(graph.packOf(node), fresh.packOf(other));
          assert.equal(graph.commitsOf(graph.packOf(node)), fresh.commitsOf(fresh.packOf(other)));
          assert.deepEqual(
            parents.map((_, at) => graph.hex(graph.parent(node, at))),
            parents.map((_, at) => fresh.hex(fresh.parent(other, at))),
          );
          assert.equal(before.packOf(node), packOf[i], 'the old one stays as it was');
        });
      }),
      { numRuns: 60 },
    );
  });

  test('takes no room for nodes that it has when other packs take the place of theirs', () => {
    const shape = Array.from({ length: 1000 }, (_, i) => (i === 0 ? [] : [i - 1]));
    const before = graphOf(shape, () => 1);
    const after = before.without(new Set([1]))!;
    after.add(2, [Buffer.concat(shape.map((_, i) => recordOf(shape, i)))]);
    assert.ok(after.isWhole);
    // What grows is the list of parents alone.
    assert.ok(after.bytes - before.bytes <= 4 * 1024, `${before.bytes} bytes became ${after.bytes}`);
  });

  test('is made anew when much was replaced', () => {
    let graph: CommitGraph | null = graphOf([[], [0], [1], [2]], () => 0);
    for (let i = 1; i < 1000 && graph !== null; i++) {
      graph = graph.without(new Set([i - 1]));
      graph?.add(i, [Buffer.concat([0, 1, 2, 3].map((at) => recordOf([[], [0], [1], [2]], at)))]);
    }
    assert.equal(graph, null);
  });

  test('counts a commit for the first pack that brings it', () => {
    const graph = new CommitGraph('sha1');
    const shape = [[], [0]];
    graph.add(7, [recordOf(shape, 0)]);
    graph.add(3, [Buffer.concat([recordOf(shape, 0), recordOf(shape, 1)])]);
    assert.deepEqual([graph.commitsOf(7), graph.commitsOf(3), graph.commitsOf(99)], [1, 1, 0]);
    assert.equal(graph.packOf(graph.find(commitOid(0))), 7);
  });

  test('peels tags of tags, down to what is no tag', () => {
    const graph = new CommitGraph('sha1');
    const [outer, inner, ofTree] = [oidOf('outer'), oidOf('inner'), oidOf('of tree')];
    graph.add(1, [recordOf([[]], 0), encodeTagRecord(outer, inner, KIND_TAG)]);
    assert.equal(graph.peel(graph.find(outer)), null);
    graph.add(2, [encodeTagRecord(inner, commitOid(0), KIND_COMMIT), encodeTagRecord(ofTree, oidOf('t'), KIND_TREE)]);
    assert.deepEqual(graph.peel(graph.find(outer)), { kind: KIND_COMMIT, oid: commitOid(0) });
    assert.deepEqual(graph.peel(graph.find(ofTree)), { kind: KIND_TREE, oid: oidOf('t') });
    const reached = new NodeSet();
    flood(graph, reached, graph.find(outer));
    assert(reached.has(graph.find(inner)) && reached.has(graph.find(commitOid(0))) && !reached.has(graph.find(ofTree)));
  });
});

test('a long chain of tags is followed once, whoever asks', () => {
  const graph = new CommitGraph('sha1');
  const length = 20_000;
  const name = (i: number): Buffer => oidOf(`tag ${i}`);
  const chain = Array.from({ length }, (_, i) =>
    i === 0 ? encodeTagRecord(name(0), commitOid(0), KIND_COMMIT) : encodeTagRecord(name(i), name(i - 1), KIND_TAG),
  );
  graph.add(1, [recordOf([[]], 0), ...chain]);
  const nodes = Array.from({ length }, (_, i) => graph.find(name(i)));
  const find = graph.find.bind(graph);
  let looks = 0;
  graph.find = (oid, at) => {
    looks++;
    return find(oid, at);
  };
  for (const node of nodes.reverse()) assert.deepEqual(graph.peel(node), { kind: KIND_COMMIT, oid: commitOid(0) });
  assert(looks < 3 * length, `${looks} looks at ${length} tags`);
});

describe('a range of commits', () => {
  const picks = fc.array(fc.nat(), { maxLength: 4 });

  test('is what the wants reach without what the haves reach, children first', () => {
    fc.assert(
      fc.property(shapes, picks, picks, (shape, wantPicks, havePicks) => {
        const graph = graphOf(shape, () => 1);
        const [wants, haves] = [wantPicks, havePicks].map((list) => list.map((pick) => pick % shape.length)) as [
          number[],
          number[],
        ];
        const node = (i: number): number => graph.find(commitOid(i));
        const range = commitRange(graph, wants.map(node), haves.map(node));
        const had = ancestors(shape, haves);
        const expected = sorted([...ancestors(shape, wants)].filter((i) => !had.has(i)));
        assert.deepEqual(sorted(range.commits), sorted(expected.map(node)));
        const place = new Map(range.commits.map((at, i) => [at, i]));
        for (const i of expected) {
          assert(range.isSent.has(node(i)));
          for (const parent of shape[i]!) {
            if (had.has(parent))
              assert(range.isHad.has(node(parent)) && !range.isSent.has(node(parent)), 'a border parent is known to be had');
            else assert(place.get(node(parent))! > place.get(node(i))!);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  test('ends below cuts, on both sides', () => {
    fc.assert(
      fc.property(shapes, picks, picks, picks, (shape, wantPicks, havePicks, cutPicks) => {
        const graph = graphOf(shape, () => 1);
        const all = [wantPicks, havePicks, cutPicks].map((list) => list.map((pick) => pick % shape.length));
        const [wants, haves, cuts] = all as [number[], number[], number[]];
        const node = (i: number): number => graph.find(commitOid(i));
        const cutNodes = new Set(cuts.map(node));
        const cut = (at: number): boolean => cutNodes.has(at);
        const range = commitRange(graph, wants.map(node), haves.map(node), { cut, hadCut: cut });
        const had = ancestors(shape, haves, new Set(cuts));
        const expected = [...ancestors(shape, wants, new Set(cuts))].filter((i) => !had.has(i));
        assert.deepEqual(sorted(range.commits), sorted(expected.map(node)));
      }),
      { numRuns: 300 },
    );
  });
});

test('a priority queue gives the largest key first', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.nat(20), fc.constant(-1)), { maxLength: 200 }), (steps) => {
      const queue = new PriorityQueue();
      const keys: number[] = [];
      steps.forEach((key, i) => {
        if (key >= 0) {
          queue.push(i, key);
          keys.push(key);
        } else if (keys.length > 0) {
          const largest = Math.max(...keys);
          assert.equal(steps[queue.pop()], largest);
          keys.splice(keys.indexOf(largest), 1);
        }
        assert.equal(queue.size, keys.length);
      });
    }),
  );
});
