import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assertSameVerdicts, gitVerdicts, ourVerdicts, repositoryOf, type Sample, SEED } from './fsck-testing.ts';

const OID = '1'.repeat(40);

/** Git cannot read an object that something else names as another kind, so directories name this one. */
const EMPTY_TREE = '4b825dc642cb6eb9a060e54bf8d69288fbee4904';

function entry(mode: string, name: string, oid: string): Buffer {
  return Buffer.concat([Buffer.from(`${mode} ${name}\0`, 'latin1'), Buffer.from(oid, 'hex')]);
}

/** Names that come close to git's own, in the ways that file systems fold names. */
const NAME_PIECES = [
  '.',
  '..',
  '.git',
  '.GiT',
  'git',
  'git~1',
  'GIT~2',
  '~1',
  '~',
  '1',
  '0',
  ' ',
  ':',
  '::$INDEX_ALLOCATION',
  '\\',
  '/',
  'modules',
  'MODULES',
  'attributes',
  'ignore',
  '.gitmodules',
  '.gitattributes',
  '.gitignore',
  '.mailmap',
  'gitmod~1',
  'gitatt~4',
  'gitign~2',
  'mailma~3',
  'gi7eba~1',
  'GI7EB~12',
  'gi7~1234',
  'gi7d29~9',
  'gi250a~1',
  'maba30~1',
  '~1234567',
  '\xe2\x80\x8c',
  '\xe2\x81\xaa',
  '\xef\xbb\xbf',
  '\xe2\x80\xa0',
  '\xff',
  '\xc3\xa9',
  '\xed\xa0\x80',
  '\xef\xbf\xbe',
  '\xf0\x9f\x98\x80',
  'a',
  'a.b',
  'a-',
  '\n',
  '\t',
];
const MODES = ['40000', '040000', '100644', '100755', '100664', '120000', '160000', '100600', '0', '777', '1100644', '0100644'];

const GITMODULES_TEXTS = [
  '',
  '[submodule "x"]\n\tpath = x\n\turl = ../x\n',
  '[submodule "x"]\n\tpath = -x\n\turl = -u../x\n\tupdate = !sh\n',
  '[submodule "../x"]\n\turl = https://example.com/x\n',
  '[submodule ""]\n\turl = a\n',
  '[submodule "a\\\\..\\\\b"] url = x',
  '[submodule.x]\nurl=-x',
  '[submodule]\nurl=-x\n[other "x"]\nurl=-x\n',
  '[SubModule "x"] URL = "-x"',
  '[submodule "x"\nurl = x',
  '[submodule "x"] url = -x\n bad line',
  '[submodule "x"]\nurl = a\\\n-b\n; comment\n# \\\nurl\nupdate = "!x" ; y',
  '[submodule "x"]\r\nurl = -x\r\nupdate = none\r\n',
  '[submodule "x"]\nurl = a\\q',
  '[submodule "x"]\nurl = "a',
  '[submodule "x"]\nurl = https://@ /x',
  '[submodule "x\0y"]\nurl = -x',
  ...[
    './x',
    '../x',
    '..\\\\x',
    './../:x',
    '../..//x',
    './/x',
    '.././/x',
    '../x%0ay',
    '../x%0Ay',
    './x\\ny',
    'git://h/%0a',
    'git://h/x',
    'ssh://h/%0a',
    'a%0ab',
    'http://h/x',
    'https://h/x%0ahost=y',
    'https://%0ah/x',
    'https:///x',
    'https://',
    'https://u@/x',
    'https://u:p@h/x',
    'https://u@h:80',
    'https://?x',
    'http::https://h/x',
    'http::x',
    'http::://x',
    'ftp::',
    'ftps://h',
    'ext::sh -c x',
    '/abs',
    'file:///x',
    '-x',
    '',
  ].map((url) => `[submodule "x"]\n\turl = "${url}"\n`),
];

const ATTRIBUTES_TEXTS = [
  '* text=auto\n',
  'a'.repeat(2047),
  'a'.repeat(2048),
  `${'a'.repeat(2047)}\n${'b'.repeat(2048)}\n`,
  `x\0${'a'.repeat(4000)}`,
];

test("trees, and the blobs they name .gitmodules and .gitattributes, get git's verdicts", async () => {
  const blobs: Sample[] = [...GITMODULES_TEXTS, ...ATTRIBUTES_TEXTS].map((text) => ({
    kind: 'blob',
    data: Buffer.from(text, 'latin1'),
  }));
  const { oids } = repositoryOf(blobs, 'sha1');
  const samples: Sample[] = [...blobs, { kind: 'tree', data: Buffer.alloc(0) }];
  const tree = (...entries: Buffer[]): void => void samples.push({ kind: 'tree', data: Buffer.concat(entries) });
  oids.forEach((oid, i) => {
    tree(entry('100644', i < GITMODULES_TEXTS.length ? '.gitmodules' : '.gitattributes', oid));
  });
  const names = fc.array(fc.constantFrom(...NAME_PIECES), { minLength: 1, maxLength: 3 }).map((pieces) => pieces.join(''));
  const blob = oids[1]!;
  for (const name of new Set([...NAME_PIECES, ...fc.sample(names, { numRuns: 700, seed: SEED })])) {
    tree(entry(name.length % 2 === 0 ? '100644' : '120000', name, blob));
    tree(entry('40000', name, EMPTY_TREE));
  }
  const entries = fc.array(fc.tuple(fc.constantFrom(...MODES), names, fc.constantFrom(blob, blob, blob, '0'.repeat(40))), {
    maxLength: 5,
  });
  for (const list of fc.sample(entries, { numRuns: 400, seed: SEED })) {
    tree(...list.map(([mode, name, oid]) => entry(mode, name, mode.endsWith('40000') && oid === blob ? EMPTY_TREE : oid)));
  }
  const ours = await assertSameVerdicts(samples, 'sha1');
  assert.ok(ours.size > 200, `${ours.size} of ${samples.length} objects had problems`);
});

test('CVE-2024-32002: a link into .git beside a folder of its name in other case is no error of git fsck, and none here', async () => {
  const modules = '[submodule "x/y"]\n\tpath = A/modules/x\n\turl = https://example.com/hook.git\n';
  const samples: Sample[] = [];
  const add = (kind: Sample['kind'], data: string | Buffer): string => {
    const sample = { kind, data: Buffer.from(data) };
    samples.push(sample);
    return repositoryOf([sample], 'sha1').oids[0]!;
  };
  const link = add('blob', '.git');
  const folder = add('tree', entry('40000', 'modules', add('tree', entry('160000', 'x', link))));
  const names = [entry('100644', '.gitmodules', add('blob', modules)), entry('40000', 'A', folder), entry('120000', 'a', link)];
  add('tree', Buffer.concat(names));
  assert.deepEqual([...(await assertSameVerdicts(samples, 'sha1'))], []);
});

test("the order of entries gets git's verdicts", async () => {
  const names = fc
    .array(fc.constantFrom('a', 'a', 'b', '-', '.', '/', '0', '\xff', '!'), { minLength: 1, maxLength: 3 })
    .map((pieces) => pieces.join(''));
  const entries = fc.uniqueArray(fc.tuple(fc.constantFrom('40000', '100644'), names), {
    maxLength: 6,
    selector: ([mode, name]) => `${mode} ${name}`,
  });
  const samples = fc.sample(fc.tuple(entries, fc.boolean()), { numRuns: 1500, seed: SEED }).map(([list, sorted]): Sample => {
    const key = ([mode, name]: readonly [string, string]): Buffer => Buffer.from(mode === '40000' ? `${name}/` : name, 'latin1');
    const ordered = sorted ? list.toSorted((x, y) => Buffer.compare(key(x), key(y))) : list;
    return { kind: 'tree', data: Buffer.concat(ordered.map(([mode, name]) => entry(mode, name, OID))) };
  });
  // A name that returns as a directory after others that start with it, once and once more removed.
  const file = (name: string): Buffer => entry('100644', name, OID);
  const directory = (name: string): Buffer => entry('40000', name, OID);
  samples.push({ kind: 'tree', data: Buffer.concat([file('a'), file('a-x!'), directory('a-x'), directory('a')]) });
  samples.push({ kind: 'tree', data: Buffer.concat([file('a'), file('a.b'), file('a.b.c'), directory('a.b'), directory('a')]) });
  const ours = await assertSameVerdicts(samples, 'sha1');
  const found = new Set([...ours.values()].flatMap((set) => [...set]));
  assert.ok(found.has('error duplicateEntries') && found.has('error treeNotSorted'));
});

test('trees that cannot be read are refused, as git refuses them', async () => {
  const good = Buffer.concat([entry('100644', 'a', OID), entry('40000', 'b', OID)]);
  const broken = [
    good.subarray(0, good.length - 1),
    good.subarray(0, 10),
    Buffer.concat([good, Buffer.from('x')]),
    entry('', 'a', OID),
    entry('10064x', 'a', OID),
    entry('100644', '', OID),
    Buffer.concat([good, entry('9', 'z', OID)]),
    Buffer.concat([entry('100644', 'a', OID), Buffer.from('100644 b'), Buffer.alloc(24, 0x41)]),
    Buffer.from('\0'.repeat(30)),
  ];
  for (const data of broken) {
    const { path, oids } = repositoryOf([{ kind: 'tree', data }], 'sha1');
    const git = gitVerdicts(path);
    const ours = await ourVerdicts([{ kind: 'tree', data }], oids, 'sha1');
    assert.notEqual(git.status, 0, data.toString('latin1'));
    assert.ok(ours.get(oids[0]!)?.has('error badTree'), data.toString('latin1'));
  }
});
