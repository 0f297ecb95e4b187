import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeCommitRecord, encodeTagRecord, KIND_COMMIT, KIND_TAG } from '../object/mod.ts';
import { CommitGraph } from '../reach/mod.ts';
import { oidOf } from '../testkit/mod.ts';
import { isReady } from './negotiate.ts';
import { addTagChain } from './select.ts';

const oid = (i: number): Buffer => Buffer.from(oidOf('blob', `commit ${i}`), 'hex');

test('enough is common when every want descends from a common commit or a parent of one', () => {
  const rows = fc.array(fc.array(fc.nat(5), { maxLength: 3 }), { minLength: 1, maxLength: 30 });
  const picks = fc.array(fc.nat(), { maxLength: 4 });
  fc.assert(
    fc.property(rows, picks, picks, (shape, wantPicks, havePicks) => {
      const parents = shape.map((steps, i) => (i === 0 ? [] : [...new Set(steps.map((step) => Math.max(0, i - 1 - step)))]));
      const graph = new CommitGraph('sha1');
      // Dates go with the order of commits, so that no descendant of a common commit is older than it.
      const records = parents.map((list, i) =>
        encodeCommitRecord(oid(i), { tree: oid(1000), parents: list.map(oid), committerTimeSeconds: 100 + i }),
      );
      graph.add(1, records);
      const [wants, haves] = [wantPicks, havePicks].map((list) => list.map((pick) => pick % shape.length)) as [
        number[],
        number[],
      ];
      const common = new Set(haves);
      const marked = new Set([...haves, ...haves.flatMap((have) => parents[have]!)]);
      const oldest = Math.min(...haves);
      const descends = (i: number): boolean =>
        marked.has(i) || parents[i]!.some((parent) => marked.has(parent) || (parent >= oldest && descends(parent)));
      const descendsAtAll = (i: number): boolean => marked.has(i) || parents[i]!.some(descendsAtAll);
      const node = (i: number): number => graph.find(oid(i));
      const ready = isReady(graph, wants.map(node), [-1, ...haves.map(node)]);
      // What one want has shown helps the next: a yes may come where git, which looks at each alone, would stop at a date.
      if (common.size > 0 && wants.every(descends)) assert.equal(ready, true);
      if (common.size === 0 || !wants.every(descendsAtAll)) assert.equal(ready, false);
    }),
    { numRuns: 300 },
  );
});

test('a hundred thousand wants are judged in one pass', () => {
  const graph = new CommitGraph('sha1');
  const length = 20_000;
  const records = Array.from({ length }, (_, i) =>
    encodeCommitRecord(oid(i), { tree: oid(-1), parents: i === 0 ? [] : [oid(i - 1)], committerTimeSeconds: i }),
  );
  graph.add(1, records);
  const parentCount = graph.parentCount.bind(graph);
  let looks = 0;
  graph.parentCount = (node) => {
    looks++;
    return parentCount(node);
  };
  const wants = Array.from({ length: 100_000 }, (_, i) => graph.find(oid(length - 1 - (i % 1000))));
  assert.equal(isReady(graph, wants, [graph.find(oid(5))]), true);
  assert(looks < 10 * length, `${looks} looks at ${length} commits`);
});

test('tags that lead to one long chain of tags cost its length once', () => {
  const graph = new CommitGraph('sha1');
  const length = 150_000;
  const records = Array.from({ length }, (_, i) => encodeTagRecord(oid(i), oid(i - 1), i === 0 ? KIND_COMMIT : KIND_TAG));
  graph.add(1, [Buffer.concat(records)]);
  const target = graph.target.bind(graph);
  let looks = 0;
  graph.target = (node) => {
    looks++;
    return target(node);
  };
  const tags = new Set<number>();
  for (let i = length - 1000; i < length; i++) addTagChain(graph, graph.find(oid(i)), tags);
  assert.equal(tags.size, length);
  assert(looks < 2 * length, `${looks} looks at ${length} tags`);
});
