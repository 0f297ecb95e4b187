import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { DEFAULT_SEVERITIES } from '../object/mod.ts';
import {
  buildDelta,
  buildPack,
  commitBody,
  type DeltaOp,
  entry,
  ofsDelta,
  oidOf,
  scratchFolder,
  seededBytes,
  treeBody,
} from '../testkit/mod.ts';
import { CUT_SIZES, gitIndex } from './chunked-testing.ts';
import { DEFAULT_PACK_LIMITS, type PackLimits, type VerifiedPack } from './mod.ts';
import { DeltaResolver } from './resolve.ts';
import { type HelperResult, ResolveHelper } from './resolve-helper.ts';
import { PackWork } from './work.ts';

const WAIT_MS_MAX = 120_000;

/** A pack whose deltas stand at their bases' sides, or on top of each other. */
class PackOfDeltas {
  readonly #entries: Buffer[] = [];
  #end = 12;

  add(bytes: Buffer): number {
    this.#entries.push(bytes);
    const at = this.#end;
    this.#end += bytes.length;
    return at;
  }

  /** `data` with `count` deltas: each changes what the last one has made by its operations. */
  tree(
    type: 'blob' | 'tree' | 'commit',
    data: Buffer,
    count: number,
    change: (i: number, size: number) => readonly [size: number, ops: DeltaOp[]],
  ): void {
    let at = this.add(entry(type, data));
    let size = data.length;
    for (let i = 0; i < count; i++) {
      const [next, ops] = change(i, size);
      const base = at;
      at = this.add(ofsDelta(this.#end - base, buildDelta(size, next, ops)));
      size = next;
    }
  }

  bytes(): Buffer {
    return buildPack(this.#entries);
  }
}

/** More than 5,000 entries, half of them deltas: on blobs, trees and commits, with blobs to be cut and some things that are told of. */
function packOfDeltas({ last = [] }: { last?: readonly DeltaOp[] } = {}): Buffer {
  const pack = new PackOfDeltas();
  const append = (text: string) => (_: number, size: number) =>
    [size + text.length, [{ copy: [0, size] }, { insert: text }]] as [number, DeltaOp[]];
  // Cut as it comes, with deltas on it; then one that only a delta makes large enough.
  pack.tree('blob', seededBytes(1, 150_000), 3, append('more'));
  pack.tree('blob', seededBytes(2, 60_000), 2, (_, size) => [2 * size, [{ copy: [0, size] }, { copy: [0, size] }]]);
  for (let i = 0; i < 30; i++) pack.tree('blob', seededBytes(100 + i, 40_000), 60, append(`line of ${i}\n`));
  const oid = oidOf('blob', 'a');
  for (let i = 0; i < 30; i++) {
    const items = Array.from({ length: 40 }, (_, item) => ['100644', `f${100 + item}`, oidOf('blob', `${i} ${item}`)] as const);
    // Each before what is there, where its name belongs.
    pack.tree('tree', treeBody([['100644', 'd', oid], ...items]), 30, (n, size) => {
      const name = n === 29 ? '.gitmodules' : `a${200 - n}`;
      const added = treeBody([['100644', name, oidOf('blob', `new ${i % 10} ${n}`)]]);
      return [size + added.length, [{ raw: [added.length, ...added] }, { copy: [0, size] }]];
    });
  }
  for (let i = 0; i < 4; i++) pack.tree('commit', commitBody(oidOf('tree', ''), [], `no ${i}\n`), 20, append('more\n'));
  for (let i = 0; i < 2600; i++) pack.add(entry('blob', `filler ${i}\n`));
  pack.add(entry('blob', 'a'));
  if (last.length > 0) pack.tree('blob', seededBytes(9, 1000), 1, () => [1000, [...last]]);
  return pack.bytes();
}

/** Stays from pack to pack, as it does in a worker. */
const helper = new ResolveHelper();

/** What is verified of a pack, with or without a second thread; with one, only the first tree of this one is its own. */
function verified(
  bytes: Buffer,
  mayHaveHelp: boolean,
  limits: Partial<PackLimits> = {},
): { pack: VerifiedPack; chunked: string[] } {
  const path = join(scratchFolder('spool'), 'pack');
  writeFileSync(path, bytes);
  const work = new PackWork(
    { path },
    {
      format: 'sha1',
      limits: { ...DEFAULT_PACK_LIMITS, ...limits },
      severities: DEFAULT_SEVERITIES,
      detectCollisions: true,
      chunking: CUT_SIZES,
    },
    (sha256s) => {
      const count = sha256s.length / 32;
      return { packIds: new Float64Array(count), offsets: new Float64Array(count), lengths: new Float64Array(count) };
    },
    mayHaveHelp ? helper : null,
  );
  try {
    assert.equal(work.advance(bytes.length >>> 1, false), false);
    assert.equal(work.advance(bytes.length, true), true);
    for (;;) {
      work.resolve();
      assert.equal(work.nextBase(), null);
      const finished = work.finish();
      if (finished.kind === 'verified')
        return { pack: finished.pack, chunked: finished.chunked.map(({ oid }) => oid.toString('hex')).sort() };
    }
  } finally {
    helper.release();
    work.close();
  }
}

/** The helper comes to everything but the first tree that this thread takes; what it says of it. */
function leaveAllToHelper(context: TestContext): HelperResult[] {
  const results: HelperResult[] = [];
  let left = (): boolean => false;
  const { begin, wait } = ResolveHelper.prototype;
  context.mock.method(ResolveHelper.prototype, 'begin', function (this: ResolveHelper, job: Parameters<typeof begin>[0]) {
    left = () => Atomics.load(job.roots.taken, 0) < job.roots.indexes.length;
    begin.call(this, job);
  });
  context.mock.method(ResolveHelper.prototype, 'wait', function (this: ResolveHelper) {
    const result = wait.call(this);
    results.push(result);
    return result;
  });
  const { resolveTree } = DeltaResolver.prototype;
  context.mock.method(DeltaResolver.prototype, 'resolveTree', function (this: DeltaResolver, root: number) {
    const deadline = performance.now() + WAIT_MS_MAX;
    while (left() && performance.now() < deadline) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    return resolveTree.call(this, root);
  });
  return results;
}

describe('two threads at the deltas of a pack', () => {
  const hexes = (oids: Buffer): string[] => oids.toString('hex').match(/.{40}/g) ?? [];
  /** What is gathered has no order. */
  const comparable = ({ pack: { graph, dotFiles, frontier, ...pack }, chunked }: ReturnType<typeof verified>) => ({
    ...pack,
    chunked,
    graphBytes: Buffer.concat(graph).length,
    frontier: hexes(frontier.oids)
      .map((oid, i) => `${oid} ${frontier.kinds[i]}`)
      .sort(),
    gitmodules: hexes(dotFiles.gitmodules).sort(),
  });

  test('find what one finds, with blobs that only one of them can cut', async (context) => {
    const bytes = packOfDeltas();
    const alone = verified(bytes, false);
    assert.equal(alone.chunked.length, 6);
    assert.equal(alone.pack.dotFiles.gitmodules.length, 10 * 20);
    assert.deepEqual(comparable(verified(bytes, true)), comparable(alone));
    const results = leaveAllToHelper(context);
    assert.deepEqual(comparable(verified(bytes, true)), comparable(alone));
    assert(results[0]!.deltas > 2500, 'the other one has resolved them');
    assert.equal(results[0]!.left.length, 1);
    assert((await gitIndex(bytes)).length > 0, 'git takes the pack');
  });

  test('refuse what one refuses, in its words', (context) => {
    const results = leaveAllToHelper(context);
    const bytes = packOfDeltas({ last: [{ copy: [900, 1000] }] });
    const refusal = (mayHaveHelp: boolean): unknown => {
      try {
        return verified(bytes, mayHaveHelp);
      } catch (error) {
        return error;
      }
    };
    const alone = refusal(false) as Error;
    assert.match(alone.message, /^delta at offset \d+: /);
    assert.equal((refusal(true) as Error).message, alone.message);
    assert.equal(results.length, 0, 'it was the other one that found it');
  });

  test('count together what a pack makes', (context) => {
    const results = leaveAllToHelper(context);
    const limits = { madeBytesFree: 16 << 20, madeBytesPerPackByte: 0 };
    for (const mayHaveHelp of [false, true])
      assert.throws(() => verified(packOfDeltas(), mayHaveHelp, limits), /makes more than 16777216 bytes/);
    assert.equal(results.length, 0);
  });
});
