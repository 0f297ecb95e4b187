import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { KIND_BLOB, KIND_TREE } from '../object/mod.ts';
import { oidOf, treeBody } from '../testkit/mod.ts';
import { diffTree, listTree, type TreeSource } from './tree-walk.ts';

type Node = { readonly [name: string]: Node | string };

// Names that sort differently as a file and as a folder stand in one list.
const names = fc.constantFrom('a', 'a.b', 'a0', 'b', 'b-', 'c');
const nodes = fc.letrec<{ node: Node }>((tie) => ({
  node: fc.dictionary(names, fc.oneof({ maxDepth: 3 }, fc.constantFrom('1', '2', '3'), tie('node')), { maxKeys: 5 }),
})).node as fc.Arbitrary<Node>;

class Trees implements TreeSource {
  readonly #bodies = new Map<string, Buffer>();
  reads = 0;

  write(node: Node): Buffer {
    const rows = Object.entries(node).map(([name, value]) =>
      typeof value === 'string'
        ? { sort: name, row: ['100644', name, oidOf('blob', value)] as const }
        : { sort: `${name}/`, row: ['40000', name, this.write(value).toString('hex')] as const },
    );
    rows.sort((a, b) => (a.sort < b.sort ? -1 : 1));
    const body = treeBody(rows.map(({ row }) => row));
    const oid = oidOf('tree', body);
    this.#bodies.set(oid, body);
    return Buffer.from(oid, 'hex');
  }

  tree(oid: Buffer): Buffer | Promise<Buffer> {
    this.reads++;
    const body = this.#bodies.get(oid.toString('hex'))!;
    return this.reads % 3 === 0 ? Promise.resolve(body) : body;
  }

  async all(root: Buffer): Promise<Set<string>> {
    const oids = new Set<string>();
    await listTree(this, 'sha1', root, (data, at) => {
      oids.add(data.toString('hex', at, at + 20));
      return true;
    });
    return oids;
  }
}

/** Paths with what stands there, for comparing by hand. */
function paths(node: Node, prefix = ''): Map<string, string> {
  const found = new Map<string, string>();
  for (const [name, value] of Object.entries(node)) {
    found.set(`${prefix}${name}`, typeof value === 'string' ? value : JSON.stringify(value));
    if (typeof value !== 'string') for (const [path, below] of paths(value, `${prefix}${name}/`)) found.set(path, below);
  }
  return found;
}

describe('comparing trees', () => {
  test('meets a file whose oid a submodule had at the same place: nobody was sent it', async () => {
    const file = oidOf('blob', 'file');
    const bodies = ['160000', '100644'].map((mode) => treeBody([[mode, 'a', file]]));
    const [before, after] = bodies.map((body) => Buffer.from(oidOf('tree', body), 'hex'));
    const source: TreeSource = { tree: (oid) => bodies.find((body) => oidOf('tree', body) === oid.toString('hex'))! };
    const met: string[] = [];
    const onNew = (data: Buffer, at: number): boolean => met.push(data.toString('hex', at, at + 20)) > 0;
    await diffTree(after!, [before!], { source, format: 'sha1', onNew });
    assert.deepEqual(met, [file]);
  });

  test('meets everything that the old trees lack, and nothing that stands at the same place in one of them', async () => {
    await fc.assert(
      fc.asyncProperty(nodes, fc.array(nodes, { maxLength: 3 }), async (fresh, olds) => {
        const trees = new Trees();
        const root = trees.write(fresh);
        const oldRoots = olds.map((old) => trees.write(old));
        const met: string[] = [];
        const seenOld = new Set<string>();
        await diffTree(root, oldRoots, {
          source: trees,
          format: 'sha1',
          onNew(data, at, kind) {
            assert(kind === KIND_BLOB || kind === KIND_TREE);
            met.push(data.toString('hex', at, at + 20));
            return true;
          },
          onOld: (data, at) => seenOld.add(data.toString('hex', at, at + 20)),
        });
        const old = new Set<string>();
        for (const oldRoot of oldRoots) for (const oid of await trees.all(oldRoot)) old.add(oid);
        for (const oid of await trees.all(root)) assert(met.includes(oid) || old.has(oid));
        for (const oid of seenOld) assert(old.has(oid));
        const oldPaths = olds.map((node) => paths(node));
        const expected = [...paths(fresh)].filter(([path, value]) => oldPaths.every((known) => known.get(path) !== value));
        assert.equal(met.length, expected.length);
      }),
      { numRuns: 200 },
    );
  });

  test('reads only where the trees differ', async () => {
    const trees = new Trees();
    const wide: Node = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`d${i}`, { file: String(i) }]));
    const [before, after] = [trees.write(wide), trees.write({ ...wide, d7: { file: 'new' } })];
    const met: number[] = [];
    await diffTree(after, [before], { source: trees, format: 'sha1', onNew: (_data, _at, kind) => met.push(kind) > 0 });
    assert.deepEqual(met, [KIND_TREE, KIND_BLOB]);
    assert.equal(trees.reads, 4);
  });
});
