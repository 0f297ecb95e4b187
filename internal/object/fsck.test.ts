import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DEFAULT_SEVERITIES,
  type FoundObject,
  finishChecks,
  GITATTRIBUTES_BYTES_MAX,
  GITMODULES_BYTES_MAX,
  KIND_BLOB,
  KIND_COMMIT,
  KIND_TAG,
  KIND_TREE,
  ObjectChecker,
  type ObjectProblem,
  type Severity,
  STRICT_SEVERITIES,
  severitiesWith,
} from './mod.ts';

const OID = Buffer.alloc(20, 0x11);
const HEX = OID.toString('hex');

function tree(...entries: readonly (readonly [mode: string, name: string, oid?: Buffer])[]): Buffer {
  return Buffer.concat(entries.flatMap(([mode, name, oid]) => [Buffer.from(`${mode} ${name}\0`, 'latin1'), oid ?? OID]));
}

function commit(ident: string, message = 'm\n'): Buffer {
  return Buffer.from(`tree ${HEX}\nauthor ${ident}\ncommitter ${ident}\n\n${message}`, 'latin1');
}

function errorsOf(problems: readonly ObjectProblem[]): string[] {
  return problems.filter(({ severity }) => severity === 'error').map(({ id }) => id);
}

function treeErrors(name: string, mode = '100644'): string[] {
  return errorsOf(new ObjectChecker('sha1').check(KIND_TREE, tree([mode, name])));
}

async function dotFileProblems(checker: ObjectChecker, found: FoundObject | undefined): Promise<string[]> {
  const all: string[] = [];
  for await (const { problems } of finishChecks(checker, async () => found)) all.push(...problems.map(({ id }) => id));
  return all;
}

async function gitmodulesProblems(text: string): Promise<string[]> {
  const checker = new ObjectChecker('sha1');
  assert.deepEqual(checker.check(KIND_TREE, tree(['100644', '.gitmodules'])), []);
  return dotFileProblems(checker, { kind: KIND_BLOB, data: Buffer.from(text, 'latin1') });
}

test('what people really have passes without a word', async () => {
  const checker = new ObjectChecker('sha1');
  const clean = (kind: number, data: Buffer): void => assert.deepEqual(checker.check(kind, data), []);
  clean(KIND_COMMIT, commit('A U Thor <a@b> 1700000000 +0530', `${'long '.repeat(50_000)}\n`));
  clean(KIND_COMMIT, commit('J\xfcrgen <j@\xfc> 1700000000 -0000', 'non-UTF-8: \xff\xfe\n'));
  clean(KIND_COMMIT, commit('A <> 0 +0000', ''));
  clean(KIND_TREE, Buffer.alloc(0));
  clean(
    KIND_TREE,
    tree(
      ['100644', '-rf'],
      ['100644', '.git-blame-ignore-revs'],
      ['100644', '.gitattributes'],
      ['40000', '.github'],
      ['100644', '.gitignore'],
      ['100644', '.gitmodules'],
      ['100644', '\x7f'],
      ['40000', '\x80'],
    ),
  );
  clean(
    KIND_TREE,
    tree(
      ['100644', '\t"'],
      ['100644', '\n'],
      ['100755', ' '],
      ['100644', '"quoted"'],
      ['120000', '\\x'],
      ['160000', 'sub'],
      ['100644', '\xff\xfe'],
    ),
  );
  clean(
    KIND_TREE,
    tree(['40000', '...'], ['100644', '.gitx'], ['100644', 'CON'], ['100644', 'git'], ['100644', 'git~10'], ['100644', 'x~1']),
  );
  assert.deepEqual(
    await dotFileProblems(checker, { kind: KIND_BLOB, data: Buffer.from('[submodule "x"]\n\tpath = x\n\turl = ../x\n') }),
    [],
  );
});

test('CVE-2014-9390: names that some file system opens as .git are refused', () => {
  const aliases = [
    '.git',
    '.GIT',
    '.Git',
    '.git.',
    '.git ',
    '.git. . .',
    '.git:x',
    '.git::$INDEX_ALLOCATION',
    '.git . ::$INDEX_ALLOCATION',
    'git~1',
    'GIT~1',
    'git~1.',
    'git~1:x',
    '.git\\hooks',
    'git~1\\hooks',
    'a\\.git\\hooks',
    'a\\.GIT',
    'a\\git~1',
    '\\.git',
    '.g\xe2\x80\x8cit',
    '\xe2\x80\x8e.git',
    '.git\xe2\x80\xae',
    '.\xe2\x81\xafG\xe2\x81\xaaIT',
    '\xef\xbb\xbf.git',
    '.git\xff',
    '.git\xed\xa0\x80',
  ];
  for (const name of aliases) {
    assert.ok(treeErrors(name).includes('hasDotgit'), JSON.stringify(name));
    assert.ok(treeErrors(name, '40000').includes('hasDotgit'), JSON.stringify(name));
  }
  const harmless = [
    '.gi',
    '.gitt',
    '.git-x',
    'git',
    'git~',
    'git~2',
    'git~11',
    'xgit~1',
    '.git\xc3\xa9',
    '.g\xe2\x80\xa0it',
    '.git ~',
    'a.git',
    '.gıt',
  ];
  for (const name of harmless) assert.ok(!treeErrors(name).includes('hasDotgit'), JSON.stringify(name));
});

test('names that leave the tree are refused', () => {
  assert.deepEqual(treeErrors('.'), ['hasDot']);
  assert.deepEqual(treeErrors('..'), ['hasDotdot']);
  assert.deepEqual(treeErrors('a/b'), ['fullPathname']);
  assert.deepEqual(treeErrors('/etc/passwd'), ['fullPathname']);
  assert.deepEqual(treeErrors('../x'), ['fullPathname']);
  assert.deepEqual(treeErrors('.git/config'), ['fullPathname', 'hasDotgit']);
  assert.deepEqual(treeErrors('x'.repeat(4096)), []);
  assert.deepEqual(treeErrors('x'.repeat(4097)), ['largePathname']);
});

test('CVE-2019-1387 and CVE-2018-11235: submodule names that leave .git/modules are refused', async () => {
  for (const name of ['..', '../x', 'a/..', 'a/../b', '..\\\\x', 'a\\\\..', '']) {
    assert.deepEqual(await gitmodulesProblems(`[submodule "${name}"]\n\tpath = x\n`), ['gitmodulesName'], name);
  }
  for (const name of ['...', 'a..b', '..a', 'a/b', '.'])
    assert.deepEqual(await gitmodulesProblems(`[submodule "${name}"]\n\tpath = x\n`), [], name);
});

test('CVE-2018-17456: submodule urls and paths that read as options are refused', async () => {
  assert.deepEqual(await gitmodulesProblems('[submodule "x"]\n\turl = -u./payload\n'), ['gitmodulesUrl']);
  assert.deepEqual(await gitmodulesProblems('[submodule "x"]\n\tpath = --help\n'), ['gitmodulesPath']);
});

test('CVE-2019-19604: a submodule whose update is a command is refused', async () => {
  assert.deepEqual(await gitmodulesProblems('[submodule "x"]\n\tupdate = !touch /tmp/x\n'), ['gitmodulesUpdate']);
  assert.deepEqual(await gitmodulesProblems('[submodule "x"]\n\tupdate = rebase\n'), []);
});

test('CVE-2020-5260 and CVE-2020-11008: submodule urls that smuggle a line or lose their host are refused', async () => {
  for (const url of [
    'https://h/%0ahost=x',
    'http::https://h%0A',
    './%0ahost=x',
    '../%0a',
    'git://h/%0a',
    'https:///x',
    'https::x',
    '../../:x',
    '..//x',
  ]) {
    assert.deepEqual(await gitmodulesProblems(`[submodule "x"]\n\turl = ${url}\n`), ['gitmodulesUrl'], url);
  }
  for (const url of [
    '../x',
    './x',
    '../../a/b.git',
    'https://u:p@h:8080/x?y#z',
    'git@h:x/y',
    'ssh://h/x',
    '/srv/x',
    'https://h/a%20b',
  ]) {
    assert.deepEqual(await gitmodulesProblems(`[submodule "x"]\n\turl = ${url}\n`), [], url);
  }
});

test('all of a .gitmodules is checked: after ff, and after a byte order mark', async () => {
  assert.deepEqual(await gitmodulesProblems('# \xff\n[submodule "x"]\nurl = -x'), ['gitmodulesUrl']);
  assert.deepEqual(await gitmodulesProblems('\xef\xbb\xbf[submodule "x"]\nurl = -x'), ['gitmodulesUrl']);
  assert.deepEqual(await gitmodulesProblems('\xef\xbb[submodule "x"]\nurl = -x'), ['gitmodulesParse']);
  assert.deepEqual(await gitmodulesProblems('[submodule "x"]\nurl = -x\n]]]'), ['gitmodulesUrl', 'gitmodulesParse']);
});

test('a .gitmodules too large to be one is refused unread', async () => {
  assert.deepEqual(await gitmodulesProblems('\n'.repeat(GITMODULES_BYTES_MAX)), []);
  assert.deepEqual(await gitmodulesProblems('\n'.repeat(GITMODULES_BYTES_MAX + 1)), ['gitmodulesLarge']);
});

test('a .gitmodules under any of its names is checked, and refused as a symbolic link', async () => {
  const names = [
    '.GitModules',
    '.gitmodules ',
    '.gitmodules:x',
    'gitmod~1',
    'GITMOD~4',
    'gi7eba~1',
    'gi7eb~12',
    '.gitm\xe2\x80\x8dodules',
    'a\\.gitmodules',
  ];
  for (const name of names) {
    const checker = new ObjectChecker('sha1');
    checker.check(KIND_TREE, tree(['100644', name]));
    assert.equal(checker.gitmodules.size, 1, name);
    assert.deepEqual(await dotFileProblems(checker, { kind: KIND_BLOB, data: Buffer.from('[submodule ".."]\npath = x') }), [
      'gitmodulesName',
    ]);
    assert.deepEqual(treeErrors(name, '120000'), ['gitmodulesSymlink'], name);
  }
  for (const name of ['gitmod~5', 'gi7eba~0', 'gitmodules', '.gitmodule', '.gitmodulesx']) {
    const checker = new ObjectChecker('sha1');
    checker.check(KIND_TREE, tree(['100644', name]));
    assert.equal(checker.gitmodules.size, 0, name);
  }
});

test('CVE-2022-23521: a .gitattributes with lines or a size that overflow old parsers is refused', async () => {
  const attributes = async (data: Buffer): Promise<string[]> => {
    const checker = new ObjectChecker('sha1');
    checker.check(KIND_TREE, tree(['100644', '.gitattributes']));
    return dotFileProblems(checker, { kind: KIND_BLOB, data });
  };
  assert.deepEqual(await attributes(Buffer.alloc(2047, 'a')), []);
  assert.deepEqual(await attributes(Buffer.alloc(2048, 'a')), ['gitattributesLineLength']);
  assert.deepEqual(await attributes(Buffer.from(`* text\n${'a'.repeat(2048)}\n${'b'.repeat(2048)}`)), [
    'gitattributesLineLength',
  ]);
  assert.deepEqual(await attributes(Buffer.alloc(GITATTRIBUTES_BYTES_MAX, '\n')), []);
  assert.deepEqual(await attributes(Buffer.alloc(GITATTRIBUTES_BYTES_MAX + 1, '\n')), ['gitattributesLarge']);
});

test('what stands for a .gitmodules or .gitattributes must be a blob that can be read and held', async () => {
  for (const [file, id] of [
    ['.gitmodules', 'gitmodules'],
    ['.gitattributes', 'gitattributes'],
  ] as const) {
    const checker = new ObjectChecker('sha1');
    checker.check(KIND_TREE, tree(['100644', file]));
    assert.deepEqual(await dotFileProblems(checker, undefined), [`${id}Missing`]);
    assert.deepEqual(await dotFileProblems(checker, { kind: KIND_TREE, data: Buffer.alloc(0) }), [`${id}Blob`]);
    assert.deepEqual(await dotFileProblems(checker, { kind: KIND_BLOB, data: undefined }), [`${id}Large`]);
  }
});

test('each blob is read once however many trees name it, and merged findings are checked too', async () => {
  const other = Buffer.alloc(20, 0x22);
  const first = new ObjectChecker('sha1');
  const second = new ObjectChecker('sha1');
  first.check(KIND_TREE, tree(['100644', '.gitmodules']));
  first.check(KIND_TREE, tree(['100644', '.gitmodules'], ['100644', 'a']));
  second.check(KIND_TREE, tree(['100644', '.gitattributes', other], ['100644', '.gitmodules', other]));
  first.merge(second.gitmodules.slab(), second.gitattributes.slab());
  const read: string[] = [];
  const found: string[] = [];
  const blob = { kind: KIND_BLOB, data: Buffer.from('[submodule ".."]\npath = x\n') };
  const finished = finishChecks(first, async (oid) => {
    read.push(oid.toString('hex'));
    return blob;
  });
  for await (const { oid, file } of finished) found.push(`${file} ${oid.toString('hex')}`);
  assert.deepEqual(read, [HEX, other.toString('hex'), other.toString('hex')]);
  assert.deepEqual(found, [`.gitmodules ${HEX}`, `.gitmodules ${other.toString('hex')}`]);
});

test('real old histories pass with warnings by default, and fail when all is strict', () => {
  const relaxed: readonly (readonly [id: string, kind: number, data: Buffer])[] = [
    ['badDate', KIND_COMMIT, commit('Coda <a@b> <a@b> 1305038239 -0700')],
    ['badName', KIND_COMMIT, commit('a@b> <none@none> 12 +0000')],
    ['badEmail', KIND_COMMIT, commit('a <b<c> 12 +0000')],
    ['badTimezone', KIND_COMMIT, commit('a <b> 12 +051800')],
    ['missingEmail', KIND_COMMIT, commit('root 12 +0000')],
    ['missingNameBeforeEmail', KIND_COMMIT, commit('<a@b> 12 +0000')],
    ['missingSpaceBeforeEmail', KIND_COMMIT, commit('a<b> 12 +0000')],
    ['missingSpaceBeforeDate', KIND_TAG, Buffer.from(`object ${HEX}\ntype commit\ntag v\ntagger Jim <j@m>\n\nm`)],
    ['zeroPaddedDate', KIND_COMMIT, commit('a <b> 012 +0000')],
    [
      'multipleAuthors',
      KIND_COMMIT,
      Buffer.from(`tree ${HEX}\nauthor a <b> 1 +0000\nauthor c <d> 1 +0000\ncommitter a <b> 1 +0000\n\nm`),
    ],
    ['zeroPaddedFilemode', KIND_TREE, tree(['040000', 'a'])],
    ['missingTaggerEntry', KIND_TAG, Buffer.from(`object ${HEX}\ntype commit\ntag v0.99\n\nm`)],
    ['badFilemode', KIND_TREE, tree(['100664', 'a'])],
  ];
  const informative = ['missingTaggerEntry', 'badFilemode'];
  const lenient = new ObjectChecker('sha1');
  const strict = new ObjectChecker('sha1', STRICT_SEVERITIES);
  for (const [id, kind, data] of relaxed) {
    const problems = lenient.check(kind, data);
    assert.ok(
      problems.some((problem) => problem.id === id),
      id,
    );
    assert.deepEqual(errorsOf(problems), [], id);
    assert.equal(errorsOf(strict.check(kind, data)).includes(id), !informative.includes(id), id);
  }
});

test('only text about people, times and padding is relaxed', () => {
  const relaxed = Object.entries(STRICT_SEVERITIES).filter(
    ([id, severity]) => severity !== DEFAULT_SEVERITIES[id as keyof typeof STRICT_SEVERITIES],
  );
  assert.deepEqual(relaxed.map(([id]) => id).sort(), [
    'badDate',
    'badEmail',
    'badName',
    'badTimezone',
    'missingEmail',
    'missingNameBeforeEmail',
    'missingSpaceBeforeDate',
    'missingSpaceBeforeEmail',
    'multipleAuthors',
    'zeroPaddedDate',
    'zeroPaddedFilemode',
  ]);
});

test('configuration softens and hardens ids, but not those that hide the links of an object', () => {
  const overrides: Record<string, Severity> = {
    hasDotgit: 'ignore',
    zeroPaddedFilemode: 'error',
    unterminatedHeader: 'ignore',
    badTree: 'warn',
    noSuchId: 'error',
  };
  const checker = new ObjectChecker('sha1', severitiesWith(overrides));
  assert.deepEqual(checker.check(KIND_TREE, tree(['100644', '.git'])), []);
  assert.deepEqual(errorsOf(checker.check(KIND_TREE, tree(['040000', 'a']))), ['zeroPaddedFilemode']);
  assert.deepEqual(errorsOf(checker.check(KIND_COMMIT, Buffer.from('tree'))), ['unterminatedHeader']);
  assert.deepEqual(errorsOf(checker.check(KIND_TREE, Buffer.from('x'))), ['badTree']);
  assert.ok(!Object.hasOwn(severitiesWith(overrides), 'noSuchId'));
});

test('a softened problem does not end the check of a header', () => {
  const text = `tree ${HEX}\nauthor a<b> 12 +0000\ncommitter a <b> 12 +051800\n\nm\0`;
  const ids = new ObjectChecker('sha1').check(KIND_COMMIT, Buffer.from(text)).map(({ id, severity }) => `${severity} ${id}`);
  assert.deepEqual(ids, ['warn missingSpaceBeforeEmail', 'warn badTimezone', 'error nulInCommit']);
});

test('a kind that does not exist is refused', () => {
  assert.deepEqual(errorsOf(new ObjectChecker('sha1').check(5, Buffer.alloc(0))), ['unknownType']);
});

test('messages hold no bytes of the object that could reach a terminal', async () => {
  const checker = new ObjectChecker('sha1');
  checker.check(KIND_TREE, tree(['100644', '.gitmodules']));
  const data = Buffer.from(`[submodule "../\x1b[31m\x07\x9b${'x'.repeat(500)}"]\npath = x\n`, 'latin1');
  for await (const { problems } of finishChecks(checker, async () => ({ kind: KIND_BLOB, data }))) {
    for (const { message } of problems) assert.match(message, /^[\x20-\x7e…]{1,300}$/);
  }
});
