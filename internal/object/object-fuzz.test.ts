import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzz, mutants, unlessRefused } from '../testkit/mod.ts';
import { assertSameVerdicts, hasOddDate, type Sample } from './fsck-testing.ts';
import {
  KIND_TREE,
  kindNumber,
  ObjectChecker,
  type ObjectFormat,
  type ObjectKind,
  parseCommit,
  parseTag,
  STRICT_SEVERITIES,
  treeEntries,
} from './mod.ts';

const IDENT = 'A U Thor <author@example.com> 1700000000 +0130';

function corpusOf(kind: ObjectKind, format: ObjectFormat): Buffer[] {
  const [a, b, c] = ['12', 'ab', 'cd'].map((digits) => digits.repeat(format === 'sha1' ? 20 : 32)) as [string, string, string];
  const text = (...lines: readonly string[]): Buffer => Buffer.from(lines.join('\n'), 'latin1');
  const tree = (...entries: readonly (readonly [string, string])[]): Buffer =>
    Buffer.concat(entries.map(([name, oid]) => Buffer.concat([Buffer.from(`${name}\0`, 'latin1'), Buffer.from(oid, 'hex')])));
  const people = [`author ${IDENT}`, `committer ${IDENT}`];
  const signature = ['gpgsig -----BEGIN PGP SIGNATURE-----', ' ', ' iQEzBAABCAAdFiEE', ' -----END PGP SIGNATURE-----'];
  if (kind === 'commit')
    return [
      text(`tree ${a}`, ...people, '', 'the message\n'),
      text(`tree ${a}`, `parent ${b}`, `parent ${c}`, ...people, 'encoding ISO-8859-1', ...signature, '', 'gr\xfc\xdfe\n'),
    ];
  if (kind === 'tag')
    return [
      text(`object ${a}`, 'type commit', 'tag v1.0', `tagger ${IDENT}`, '', 'release\n'),
      text(`object ${b}`, 'type blob', 'tag old', '', 'without a tagger\n'),
      text(`object ${b}`, 'type tag', 'tag signed', `tagger ${IDENT}`, ...signature, '', 'x\n-----BEGIN PGP SIGNATURE-----\n'),
    ];
  return [
    tree(['100644 a', a], ['40000 dir', b], ['100755 run', a], ['120000 zlink', b]),
    tree(['100644 .gitattributes', a], ['100644 .gitmodules', b], ['160000 lib', a], ['40000 src', b], ['100644 src.c', a]),
    tree(['100644 a', a], ['100644 a.b', b], ['40000 a', b], ['100644 a0', a]),
  ];
}

const WORDS = [
  ...'tree |parent |author |committer |tagger |object |type |tag |gpgsig |encoding |mergetag |\n|\n\n|\n |\0| |<|>|> |+|-'.split(
    '|',
  ),
  ...'0|9999999999999999999|commit|blob|.lock|..|@{|.git|.GIT|git~1|.gitmodules|.git\xe2\x80\x8c|.|/|\\'.split('|'),
  ...'100644 |40000 |120000 |160000 |100664 '.split('|'),
];

const objects = (kind: ObjectKind, format: ObjectFormat) =>
  fc.record({ kind: fc.constant(kind), mutant: mutants(corpusOf(kind, format), { words: WORDS }) });

const KINDS = ['commit', 'tag', 'tree'] as const;

for (const format of ['sha1', 'sha256'] as const) {
  test(`an object without an error can be read, and one that cannot be read has an error (${format})`, async (t) => {
    await fuzz(t, fc.oneof(...KINDS.map((kind) => objects(kind, format))), { runs: 4000 }, ({ kind, mutant }) => {
      const data = mutant.bytes;
      const problems = new ObjectChecker(format, STRICT_SEVERITIES).check(kindNumber(kind), data);
      const isFaulty = problems.some(({ severity }) => severity === 'error');
      const links = unlessRefused(() => {
        if (kindNumber(kind) === KIND_TREE) return [...treeEntries(data, format)].map(({ oid }) => oid);
        if (kind === 'tag') return [parseTag(data, format).object];
        const { tree, parents } = parseCommit(data, format);
        return [tree, ...parents];
      });
      assert.ok(links !== null || isFaulty, 'a link cannot be read, and nothing is said of it');
      for (const oid of links ?? []) assert.equal(oid.length, format === 'sha1' ? 20 : 32);
    });
  });
}

/** The sample with oids of its own: git takes an object for one kind only, whoever names it. */
function apart({ kind, data }: Sample, index: number): Sample {
  let text = data.toString('latin1');
  for (const digits of ['12', 'ab', 'cd']) {
    const own = createHash('sha1').update(`${digits} ${index}`).digest();
    text = text.replaceAll(digits.repeat(20), own.toString('hex'));
    text = text.replaceAll(Buffer.from(digits.repeat(20), 'hex').toString('latin1'), own.toString('latin1'));
  }
  return { kind, data: Buffer.from(text, 'latin1') };
}

/** For such a commit git says that it cannot be read, of its links; we say so when the links are proven. */
function isParentItsTree({ kind, data }: Sample): boolean {
  const [, tree] = /^tree ([0-9a-f]{40})\n/i.exec(data.toString('latin1')) ?? [];
  return kind === 'commit' && tree !== undefined && data.includes(`\nparent ${tree}`);
}

test("objects to which something was done get git's verdicts", async (t) => {
  const sample = fc
    .oneof(...KINDS.map((kind) => objects(kind, 'sha1')))
    .map(({ kind, mutant }): Sample => ({ kind, data: mutant.bytes }))
    .filter((one) => !hasOddDate(one));
  const samples = fc.array(sample, { minLength: 20, maxLength: 100, size: 'max' });
  let judged = 0;
  await fuzz(t, samples, { runs: 8, bytesMax: 1 << 26 }, async (list) => {
    const own = list.map(apart).filter((one) => !isParentItsTree(one));
    await assertSameVerdicts(own, 'sha1');
    judged += own.length;
  });
  t.diagnostic(`${judged} objects judged`);
});
