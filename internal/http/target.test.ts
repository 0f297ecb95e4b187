import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { basicCredentials, parseGitTarget, pathOf, repositoryAddress } from './target.ts';

const kind = (target: string) => parseGitTarget(target).kind;

test('a repository is addressed with and without .git', () => {
  const address = { owner: 'alice', name: 'demo' };
  for (const repository of ['demo', 'demo.git', '%64emo.git']) {
    assert.deepEqual(parseGitTarget(`/alice/${repository}/git-upload-pack`), {
      kind: 'service',
      address,
      service: 'git-upload-pack',
    });
  }
  assert.deepEqual(parseGitTarget('/alice/demo/info/refs?service=git-receive-pack'), {
    kind: 'info-refs',
    address,
    service: 'git-receive-pack',
  });
  assert.deepEqual(parseGitTarget('http://h:1/alice/demo/info/refs?x=1&service=a%62'), {
    kind: 'info-refs',
    address,
    service: 'ab',
  });
  assert.deepEqual(parseGitTarget('/alice/demo/info/refs'), { kind: 'info-refs', address, service: null });
});

test('paths of the dumb protocol and services not offered are closed', () => {
  for (const rest of ['HEAD', 'objects/info/packs', 'objects/12/34', 'git-upload-archive']) {
    assert.equal(kind(`/o/r.git/${rest}`), 'closed', rest);
  }
  for (const rest of ['config', 'hooks/pre-receive', 'objects/../config', 'info', 'info/refs/', '', 'git-upload-pack/x']) {
    assert.equal(kind(`/o/r.git/${rest}`), 'unknown', rest);
  }
});

test('traversal, hidden names, aliases and double encoding name nothing; NUL and broken escapes are malformed', () => {
  const names = [
    '..',
    '.',
    '',
    '.git',
    '.hidden',
    'a%2fb',
    '%2e%2e',
    '%252e%252e',
    'a b',
    'ä',
    'x'.repeat(101),
    'r.git.git',
    'a\\b',
    '-\n',
  ];
  for (const name of names) assert.equal(kind(`/o/${encodeURI(name).replaceAll('%25', '%')}/info/refs`), 'unknown', name);
  for (const owner of ['..', '.', '', '.o', '%2e%2e', 'a%2fb', 'a%0a'])
    assert.equal(kind(`/${owner}/r/info/refs`), 'unknown', owner);
  assert.equal(kind('/a/../o/r/info/refs'), 'unknown');
  assert.equal(kind('//o/r/info/refs'), 'unknown');
  for (const target of ['/o/r%00/info/refs', '/o/r/info/refs%00', '/%ff/r/info/refs', '/o/%zz/info/refs', '/o/r%/info/refs']) {
    assert.equal(kind(target), 'malformed', target);
  }
});

test('every target parses to a value, and every address found is inside the grammar', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string(), (a, b) => {
      const route = parseGitTarget(`/${a}/${b}/info/refs`);
      if (route.kind !== 'info-refs') return;
      assert.match(route.address.owner, /^(?!\.)[A-Za-z0-9._-]{1,100}$/);
      assert.match(route.address.name, /^(?!\.)[A-Za-z0-9._-]{1,100}$/);
    }),
  );
  const grammar = fc.stringMatching(/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,40}$/).filter((name) => !name.endsWith('.git'));
  fc.assert(
    fc.property(grammar, grammar, (owner, name) => {
      assert.deepEqual(repositoryAddress(owner, name), { owner, name });
      assert.deepEqual(repositoryAddress(owner, `${name}.git`), { owner, name });
    }),
  );
});

test('Basic credentials: the first colon parts user and password', () => {
  const basic = (text: string) => basicCredentials(`Basic ${Buffer.from(text).toString('base64')}`);
  assert.equal(basicCredentials(undefined), null);
  assert.deepEqual(basic('u:p:q'), { user: 'u', password: 'p:q' });
  assert.deepEqual(basic(':t'), { user: '', password: 't' });
  assert.deepEqual(basic('ü:'), { user: 'ü', password: '' });
  assert.deepEqual(basicCredentials('bASIC dTpw'), { user: 'u', password: 'p' });
  for (const header of ['', 'Basic', 'Basic !!', 'Bearer abc', 'Basic dQ=='])
    assert.deepEqual(basicCredentials(header), { user: '', password: '' }, header);
  assert.deepEqual(basic('a\0:b'), { user: '', password: '' });
});

test('the path has neither query nor authority', () => {
  assert.equal(pathOf('http://user:secret@h/a/b?token=x'), '/a/b');
  assert.equal(pathOf('/a?b#c'), '/a');
});
