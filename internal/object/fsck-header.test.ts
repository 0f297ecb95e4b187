import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assertSameVerdicts, hasOddDate, type Sample, SEED } from './fsck-testing.ts';
import { type ObjectFormat, type ObjectKind, oidLength } from './mod.ts';

const A = '1'.repeat(64);
const B = '2'.repeat(64);
const IDENT = 'A U Thor <author@example.com> 1112911993 -0700';

function commitText(format: ObjectFormat, change: (lines: string[]) => string[] = (lines) => lines): Buffer {
  const oid = A.slice(0, oidLength(format) * 2);
  const parent = B.slice(0, oidLength(format) * 2);
  const lines = [
    `tree ${oid}`,
    `parent ${parent}`,
    `parent ${parent}`,
    `author ${IDENT}`,
    `committer ${IDENT}`,
    '',
    'message',
    '',
  ];
  return Buffer.from(change(lines).join('\n'), 'latin1');
}

function tagText(format: ObjectFormat, change: (lines: string[]) => string[] = (lines) => lines): Buffer {
  const oid = B.slice(0, oidLength(format) * 2);
  const lines = [`object ${oid}`, 'type commit', 'tag v1.0', `tagger ${IDENT}`, '', 'message', ''];
  return Buffer.from(change(lines).join('\n'), 'latin1');
}

/** Identity lines, good and bad. */
const IDENTS = [
  IDENT,
  'A U Thor <> 0 +0000',
  ' <> 1 +0000',
  '<a@b> 1 +0000',
  'name 1 +0000',
  'na>me <a@b> 1 +0000',
  'name<a@b> 1 +0000',
  'name <a@b',
  'name <a<b> 1 +0000',
  'name <a@b>1 +0000',
  'name <a@b>',
  'name <a@b> ',
  'name <a@b> <a@b> 1305038239 -0700',
  'name <a@b> 01 +0000',
  'name <a@b> 00 +0000',
  'name <a@b> 0 +0000',
  'name <a@b> 9223372036854775807 +0000',
  'name <a@b> 9223372036854775808 +0000',
  'name <a@b> 18446744073709551615 +0000',
  'name <a@b> 99999999999999999999999 +0000',
  'name <a@b> 12x +0000',
  'name <a@b> x +0000',
  'name <a@b> 12+0000',
  'name <a@b> 12 0000',
  'name <a@b> 12 +051800',
  'name <a@b> 12 +000',
  'name <a@b> 12 -7000',
  'name <a@b> 12 +0000 ',
  'name <a@b> 12  +0000',
  'name <a@b>  12 +0000',
  'n\xe4m\xe9 <\xff@\xfe> 12 +0000',
];

const COMMIT_CHANGES: readonly ((lines: string[]) => string[])[] = [
  (lines) => lines,
  (lines) => lines.slice(0, 5),
  (lines) => [...lines.slice(0, 5), ''],
  (lines) => [...lines.slice(0, 5), '', ''],
  (lines) => lines.slice(1),
  (lines) => ['tree 123', ...lines.slice(1)],
  (lines) => [`${lines[0]}0`, ...lines.slice(1)],
  (lines) => [lines[0]!.toUpperCase().replace('TREE', 'tree'), ...lines.slice(1)],
  (lines) => [lines[0]!, 'parent 123', ...lines.slice(2)],
  (lines) => [lines[0]!, `${lines[1]} `, ...lines.slice(2)],
  (lines) => [lines[0]!, ...lines.slice(3)],
  (lines) => [...lines.slice(0, 3), ...lines.slice(4)],
  (lines) => [...lines.slice(0, 4), ...lines.slice(5)],
  (lines) => [...lines.slice(0, 4), lines[3]!, ...lines.slice(4)],
  (lines) => [...lines.slice(0, 3), 'x-header 1', ...lines.slice(3)],
  (lines) => [...lines.slice(0, 5), 'encoding ISO-8859-1', 'gpgsig -----BEGIN', ' abc', ' ', ' -----END', ...lines.slice(5)],
  (lines) => [...lines.slice(0, 5), 'x\0y', ...lines.slice(5)],
  (lines) => [...lines, 'x\0y'],
  (lines) => ['', ...lines],
  () => ['tree'],
];

const TAG_CHANGES: readonly ((lines: string[]) => string[])[] = [
  (lines) => lines,
  (lines) => lines.slice(0, 4),
  (lines) => [...lines.slice(0, 4), ''],
  (lines) => lines.slice(1),
  (lines) => ['object 12', ...lines.slice(1)],
  (lines) => [lines[0]!, ...lines.slice(2)],
  (lines) => [lines[0]!, 'type frobnicate', ...lines.slice(2)],
  (lines) => [lines[0]!, 'type commits', ...lines.slice(2)],
  (lines) => [...lines.slice(0, 2), ...lines.slice(3)],
  (lines) => [...lines.slice(0, 3), ...lines.slice(4)],
  (lines) => [...lines.slice(0, 4), 'x-header 1', ...lines.slice(4)],
  (lines) => [...lines.slice(0, 2), 'tag ', ...lines.slice(3)],
  ...[
    'a b',
    'a..b',
    'a.lock',
    'a/b.lock/c',
    '.a',
    'a/.b',
    'a//b',
    '/a',
    'a/',
    'a.',
    '@',
    'a@{b',
    '-a',
    'a~b',
    'a\\b',
    '\xe9',
    'a*',
    'a\x7fb',
    'x/.',
  ].map((name) => (lines: string[]) => [...lines.slice(0, 2), `tag ${name}`, ...lines.slice(3)]),
];

for (const format of ['sha1', 'sha256'] as const) {
  test(`commits and tags get git's verdicts (${format})`, async () => {
    const samples: Sample[] = [{ kind: 'commit', data: Buffer.alloc(0) }];
    for (const change of COMMIT_CHANGES) samples.push({ kind: 'commit', data: commitText(format, change) });
    for (const change of TAG_CHANGES) samples.push({ kind: 'tag', data: tagText(format, change) });
    for (const ident of IDENTS) {
      samples.push({ kind: 'commit', data: commitText(format, (lines) => lines.with(3, `author ${ident}`)) });
      samples.push({ kind: 'commit', data: commitText(format, (lines) => lines.with(4, `committer ${ident}`)) });
      samples.push({ kind: 'tag', data: tagText(format, (lines) => lines.with(3, `tagger ${ident}`)) });
    }
    const ours = await assertSameVerdicts(samples, format);
    assert.ok(ours.size > 80, `${ours.size} of ${samples.length} objects had problems`);
  });
}

/** Bytes that mean something to one of the grammars. */
const PIECES = [
  '<',
  '>',
  ' ',
  '\n',
  '\n\n',
  '\0',
  '0',
  '9',
  '+',
  '-',
  'a',
  'tree ',
  'parent ',
  'author ',
  'committer ',
  'tagger ',
  'gpgsig ',
  '\xff',
  '[',
  '"',
];

/** Up to three small damages to a text. */
function damaged(texts: readonly Buffer[]): fc.Arbitrary<Buffer> {
  const edit = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    drop: fc.nat(3),
    put: fc.constantFrom('', ...PIECES),
  });
  return fc.tuple(fc.constantFrom(...texts), fc.array(edit, { minLength: 1, maxLength: 3 })).map(([text, edits]) => {
    let result = text.toString('latin1');
    for (const { at, drop, put } of edits) {
      const offset = Math.floor(at * result.length);
      result = result.slice(0, offset) + put + result.slice(offset + drop);
    }
    return Buffer.from(result, 'latin1');
  });
}

test("damaged commits and tags get git's verdicts", async () => {
  const commits = fc.record({ kind: fc.constant<ObjectKind>('commit'), data: damaged([commitText('sha1')]) });
  const tags = fc.record({ kind: fc.constant<ObjectKind>('tag'), data: damaged([tagText('sha1')]) });
  const samples = fc.sample(fc.oneof(commits, tags), { numRuns: 600, seed: SEED }).filter((sample) => !hasOddDate(sample));
  await assertSameVerdicts(samples, 'sha1');
});
