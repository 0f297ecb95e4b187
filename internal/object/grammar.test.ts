import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  encodeCommitRecord,
  encodeTagRecord,
  KIND_TREE,
  kindOfMode,
  MODE_TREE,
  MODE_TYPE_MASK,
  type ObjectFormat,
  oidLength,
  parseCommit,
  parseTag,
  readGraphRecords,
  TreeCursor,
  treeEntries,
} from './mod.ts';

const formats: fc.Arbitrary<ObjectFormat> = fc.constantFrom('sha1', 'sha256');
const rawOid = (format: ObjectFormat): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength: oidLength(format), maxLength: oidLength(format) }).map((bytes) => Buffer.from(bytes));
const badObject = { code: 'bad-object' };

test('a commit gives back the tree, parents and committer time that it was written with', () => {
  const commits = formats.chain((format) =>
    fc.record({
      format: fc.constant(format),
      tree: rawOid(format),
      parents: fc.array(rawOid(format), { maxLength: 5 }),
      seconds: fc.nat(2 ** 31),
      message: fc.string(),
      upper: fc.boolean(),
    }),
  );
  fc.assert(
    fc.property(commits, ({ format, tree, parents, seconds, message, upper }) => {
      const hex = (oid: Buffer): string => (upper ? oid.toString('hex').toUpperCase() : oid.toString('hex'));
      const lines = [`tree ${hex(tree)}`, ...parents.map((oid) => `parent ${hex(oid)}`), 'author A <a@b> 1 +0000'];
      const text = `${lines.join('\n')}\ncommitter C <c@d> ${seconds} -0130\n\n${message}`;
      const commit = parseCommit(Buffer.from(text), format);
      assert.deepEqual(commit.tree, tree);
      assert.deepEqual(commit.parents, parents);
      assert.equal(commit.committerTimeSeconds, seconds);
    }),
  );
});

const T = '1'.repeat(40);
const timeOf = (headers: string): number => parseCommit(Buffer.from(`tree ${T}\n${headers}\n\nm`), 'sha1').committerTimeSeconds;

test('the committer time of damaged old commits is read as far as it goes', () => {
  assert.equal(timeOf('author x\ncommitter A <a@b> 12 +0000'), 12);
  assert.equal(timeOf('author x\nauthor y\ncommitter A <a@b> 12 +0000'), 12);
  assert.equal(timeOf('author x\ncommitter A <a@b> <a@b> 1305038239 -0700'), 1305038239);
  assert.equal(timeOf('author x\ncommitter A <a@b>12'), 12);
  assert.equal(timeOf('author x\ncommitter A <a@b>'), 0);
  assert.equal(timeOf('author x\ncommitter A 12 +0000'), 0);
  assert.equal(timeOf('author x\ncommitter A <a@b> -12 +0000'), 0);
  assert.equal(timeOf('author x'), 0);
  assert.equal(timeOf('author x\n\ncommitter A <a@b> 12 +0000'), 0, 'a line of the message is no header');
  assert.equal(timeOf(`author x\ncommitter A <a@b> ${'9'.repeat(40)} +0000`), Number.MAX_SAFE_INTEGER);
});

test('a commit whose links cannot be read is refused with the offset', () => {
  const parse = (text: string) => () => parseCommit(Buffer.from(text), 'sha1');
  assert.throws(parse(''), badObject);
  assert.throws(parse(`tree ${T}`), badObject);
  assert.throws(parse(`tree ${T.slice(1)}\n`), badObject);
  assert.throws(parse(`tree ${T.slice(1)}g\n`), badObject);
  assert.throws(parse(`tree ${T}1\n`), badObject);
  assert.throws(parse(` tree ${T}\n`), badObject);
  assert.throws(parse(`tree ${T}\nparent ${T.slice(1)}\n`), { ...badObject, data: { offset: 46 } });
  assert.throws(parse(`tree ${T}\nparent ${T}`), badObject);
  assert.deepEqual(parse(`tree ${T}\n`)().parents, []);
  assert.throws(() => parseCommit(Buffer.from(`tree ${T}\n`), 'sha256'), badObject);
});

test('a tag gives back what it names, its kind, its name as bytes, and its time if it has one', () => {
  const text = (type: string, rest: string): Buffer => Buffer.from(`object ${T}\ntype ${type}\n${rest}`, 'latin1');
  for (const kind of ['commit', 'tree', 'blob', 'tag'] as const) {
    const tag = parseTag(text(kind, 'tag v\xe9\ntagger A <a@b> 12 +0000\n\nm'), 'sha1');
    assert.deepEqual(tag, { object: Buffer.from(T, 'hex'), kind, name: 'v\xe9', taggerTimeSeconds: 12 });
  }
  assert.deepEqual(parseTag(text('tag', 'tag old\n\nm'), 'sha1'), { object: Buffer.from(T, 'hex'), kind: 'tag', name: 'old' });
  for (const bad of [
    text('commits', 'tag v\n'),
    text('', 'tag v\n'),
    text('commit', 'tag v'),
    text('commit', 'tagger v\n'),
    Buffer.alloc(0),
  ]) {
    assert.throws(() => parseTag(bad, 'sha1'), badObject);
  }
  assert.throws(() => parseTag(Buffer.from(`object ${T}0\ntype tag\ntag v\n`), 'sha1'), badObject);
});

const treeModes = fc.constantFrom('40000', '100644', '100755', '120000', '160000', '100664', '040000');

test('a tree gives back the entries that it was written with', () => {
  const name = fc.uint8Array({ minLength: 1, maxLength: 12 }).map((bytes) => Buffer.from(bytes.map((byte) => byte || 1)));
  const trees = formats.chain((format) =>
    fc.tuple(fc.constant(format), fc.array(fc.record({ mode: treeModes, name, oid: rawOid(format) }), { maxLength: 20 })),
  );
  const cursors = { sha1: new TreeCursor('sha1'), sha256: new TreeCursor('sha256') };
  fc.assert(
    fc.property(trees, ([format, entries]) => {
      const data = Buffer.concat(entries.flatMap(({ mode, name, oid }) => [Buffer.from(`${mode} `), name, Buffer.alloc(1), oid]));
      const expected = entries.map(({ mode, name, oid }) => ({ mode: Number.parseInt(mode, 8), name, oid }));
      assert.deepEqual([...treeEntries(data, format)], expected);
      const cursor = cursors[format];
      cursor.reset(data);
      for (const { mode, name, oid } of expected) {
        assert.ok(cursor.next());
        assert.equal(cursor.mode, mode);
        assert.deepEqual(data.subarray(cursor.nameStart, cursor.nameEnd), name);
        assert.deepEqual(data.subarray(cursor.oidStart, cursor.oidStart + cursor.oidBytes), oid);
      }
      assert.equal(cursor.next(), false);
      assert.equal(cursor.malformed, undefined);
    }),
  );
});

test('a cursor on any bytes ends, stays inside them, and says what it could not read', () => {
  const cursor = new TreeCursor('sha1');
  const entry = Buffer.concat([Buffer.from('100644 a\0'), Buffer.alloc(20, 9)]);
  const bytes = fc
    .tuple(fc.uint8Array({ maxLength: 60 }), fc.boolean())
    .map(([tail, start]) => Buffer.concat([start ? entry : Buffer.alloc(0), tail]));
  fc.assert(
    fc.property(bytes, (data) => {
      cursor.reset(data);
      let end = 0;
      while (cursor.advance()) {
        assert.equal(cursor.entryStart, end);
        end = cursor.oidStart + cursor.oidBytes;
        assert.ok(end <= data.length);
      }
      assert.equal(cursor.malformed === undefined, end === data.length);
      assert.equal(cursor.advance(), false);
      if (cursor.malformed !== undefined) assert.throws(() => cursor.next(), { ...badObject, data: { offset: end } });
    }),
  );
});

test('mode digits past sixteen bits do not change what an entry is', () => {
  const oid = Buffer.alloc(20, 1);
  const [tree, link] = [
    ...treeEntries(Buffer.concat([Buffer.from('1040000 a\0'), oid, Buffer.from('7777777160000 b\0'), oid]), 'sha1'),
  ];
  assert.equal(tree!.mode & MODE_TYPE_MASK, MODE_TREE);
  assert.equal(kindOfMode(link!.mode), 0);
});

test('graph records give back the links of commits and tags', () => {
  const oid = (fill: number): Buffer => Buffer.alloc(32, fill);
  const records = Buffer.concat([
    encodeCommitRecord(oid(1), { tree: oid(2), parents: [oid(3), oid(4)], committerTimeSeconds: 2 ** 40 }),
    encodeTagRecord(oid(5), oid(6), KIND_TREE),
    encodeCommitRecord(oid(7), { tree: oid(8), parents: [], committerTimeSeconds: Number.MAX_SAFE_INTEGER }),
  ]);
  const seen: unknown[] = [];
  readGraphRecords(records, 'sha256', {
    commit: (data, oidAt, treeAt, seconds, parentsAt, count) =>
      seen.push([data[oidAt], data[treeAt], seconds, data[parentsAt + 32 * (count - 1)], count]),
    tag: (data, oidAt, kind, targetAt) => seen.push([data[oidAt], kind, data[targetAt]]),
  });
  assert.deepEqual(seen.slice(0, 2), [
    [1, 2, 2 ** 40, 4, 2],
    [5, KIND_TREE, 6],
  ]);
  assert.deepEqual((seen[2] as unknown[]).slice(0, 3), [7, 8, 2 ** 48 - 1]);
});
