import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ObjectChecker, type OidMap, STRICT_SEVERITIES, TreeCursor } from '../object/mod.ts';
import { applyDelta, createDelta, DeltaCopies, indexForDelta, readDeltaSizes } from '../packformat/mod.ts';
import { buildDelta, type DeltaOp, seededRandom } from '../testkit/mod.ts';

type Entry = readonly [mode: string, name: string, oid: Buffer];
type Random = (below: number) => number;

const NAMES = [
  'a',
  'a.b',
  'a-',
  'a0',
  'foo',
  'foo.c',
  'foo-x',
  'foo/',
  'fo',
  'b',
  'b.c',
  'zz',
  '.gitmodules',
  '.gitignore',
  'z.z',
  'aa',
];

function treeOf(entries: readonly Entry[]): Buffer {
  return Buffer.concat(entries.flatMap(([mode, name, oid]) => [Buffer.from(`${mode} ${name}\0`), oid]));
}

function entryOf(random: Random): Entry {
  const name = random(3) > 0 ? `file-${random(400)}${random(4) === 0 ? '.c' : ''}` : NAMES[random(NAMES.length)]!;
  const isTree = name.endsWith('/') || random(4) === 0;
  const mode = random(80) === 0 ? ['0100644', '40001', '160000'][random(3)]! : isTree ? '40000' : '100644';
  // Bytes of an oid that look like the start of an entry, and the null oid.
  const oid = random(100) === 0 ? Buffer.alloc(20) : Buffer.alloc(20, `${random(200)} 100644 a\0`);
  return [mode, random(60) === 0 ? '.GIT' : name.replace('/', ''), oid];
}

const key = ([mode, name]: Entry): string => (mode === '40000' ? `${name}/` : name);

/** In git's order; now and then a name stands twice, as a file and a directory, or two entries change places. */
function entriesOf(random: Random, count: number): Entry[] {
  const byKey = new Map<string, Entry>();
  for (let i = 0; i < count; i++) {
    const entry = entryOf(random);
    if (random(20) === 0 || !(byKey.has(entry[1]) || byKey.has(`${entry[1]}/`))) byKey.set(key(entry), entry);
  }
  return [...byKey.values()].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

function changed(random: Random, entries: readonly Entry[]): Entry[] {
  const next = [...entries];
  for (let n = random(4); n >= 0; n--) {
    const at = random(next.length);
    const what = random(8);
    if (what === 0) next.splice(at, 1);
    else if (what === 1) next.push(entryOf(random));
    else if (next[at] !== undefined) next[at] = [next[at][0], next[at][1], Buffer.alloc(20, random(256))];
  }
  if (random(10) > 0) next.sort((a, b) => (key(a) < key(b) ? -1 : 1));
  return next;
}

/** Copies from anywhere, of any length, and inserts. */
function wildDelta(random: Random, base: Buffer): Buffer {
  const ops: DeltaOp[] = [];
  let size = 0;
  for (let n = random(6) + 1; n > 0; n--) {
    const at = random(base.length);
    const length = 1 + random(base.length - at);
    if (random(3) > 0) ops.push({ copy: [at, length] });
    else ops.push({ insert: base.toString('latin1', at, at + Math.min(length, 100)) });
    size += 'copy' in ops.at(-1)! ? length : Math.min(length, 100);
  }
  return buildDelta(base.length, size, ops);
}

interface Looked {
  readonly problems: number;
  readonly starts: readonly number[];
  readonly links: ReadonlySet<string>;
}

function lookedAt(tree: Buffer, checker = new ObjectChecker('sha1', STRICT_SEVERITIES)): Looked {
  const problems = checker.check(2, tree).length;
  const cursor = new TreeCursor('sha1');
  const starts: number[] = [];
  const links = new Set<string>();
  cursor.reset(tree);
  while (cursor.advance()) {
    starts.push(cursor.entryStart);
    links.add(`${cursor.mode} ${cursor.oid().toString('hex')}`);
  }
  return { problems, starts: [...starts, tree.length], links };
}

function named(oids: OidMap): Set<string> {
  return new Set(Array.from({ length: oids.size }, (_, i) => oids.hex(i)));
}

test('a tree that is looked at by what is new in it is what a look at all of it finds, whatever the delta', () => {
  const copies = new DeltaCopies(64);
  const seen = { taken: 0, left: 0, sound: 0 };
  for (let seed = 1; seed < 6000; seed++) {
    const random = seededRandom(seed);
    const entries = entriesOf(random, 2 + random(60));
    const base = treeOf(entries);
    const checker = new ObjectChecker('sha1', STRICT_SEVERITIES);
    const before = lookedAt(base, checker);
    if (before.problems > 0 || base.length === 0) continue;
    const isWild = random(3) === 0;
    const delta = isWild ? wildDelta(random, base) : createDelta(indexForDelta(base), treeOf(changed(random, entries)), 1 << 20);
    if (delta === null) continue;
    const tree = applyDelta(base, delta);
    if (!copies.read(delta, readDeltaSizes(delta))) continue;
    const whole = new ObjectChecker('sha1', STRICT_SEVERITIES);
    const after = lookedAt(tree, whole);
    const links = new Set(before.links);
    const count = checker.checkChangedTree(tree, Uint32Array.from(before.starts), copies, (cursor) =>
      links.add(`${cursor.mode} ${tree.toString('hex', cursor.oidStart, cursor.oidStart + 20)}`),
    );
    if (after.problems === 0) seen.sound++;
    if (count < 0) {
      seen.left++;
      continue;
    }
    seen.taken++;
    assert.equal(after.problems, 0, `seed ${seed}: a tree with faults was taken`);
    assert.deepEqual([...checker.changedShape(count)], after.starts, `seed ${seed}`);
    for (const link of after.links) assert.ok(links.has(link), `seed ${seed}: a link was not told`);
    for (const oid of named(whole.gitmodules)) assert.ok(named(checker.gitmodules).has(oid), `seed ${seed}: a .gitmodules`);
  }
  // Else the test says nothing.
  assert.ok(seen.left > 200 && seen.taken > 0.8 * seen.sound, JSON.stringify(seen));
});

test('new directories that would each look back over thousands of names leave the tree to be checked whole', () => {
  const oid = Buffer.alloc(20, 7);
  const depth = 300;
  const files = Array.from(
    { length: 20_000 },
    (_, i): Entry => ['100644', `a${'-'.repeat(depth + 1)}${String(i).padStart(5, '0')}`, oid],
  );
  const folders = Array.from({ length: depth }, (_, i): Entry => ['40000', `a${'-'.repeat(depth - i)}`, oid]);
  const [base, tree] = [treeOf(files), treeOf([...files, ...folders])];
  const starts = files.map((_, i) => (i * base.length) / files.length);
  const copies = { count: 1, from: Uint32Array.of(0), to: Uint32Array.of(0), lengths: Uint32Array.of(base.length) };
  const checker = new ObjectChecker('sha1', STRICT_SEVERITIES);
  let looked = 0;
  const count = checker.checkChangedTree(tree, Uint32Array.from([...starts, base.length]), copies, () => void looked++);
  assert.deepEqual([count, looked], [-1, 0]);
  assert.deepEqual(checker.check(2, tree), []);
});
