import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isPushableRefName, refNameFault } from './mod.ts';

/** What git itself says. */
function gitAccepts(name: string, ...flags: string[]): boolean {
  // The shell makes the bytes: an argument given by Node would be UTF-8. The dot keeps a trailing newline from being cut.
  const octal = [...Buffer.from(name, 'latin1')].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
  const script = `name=$(printf '${octal}.'); git check-ref-format ${flags.join(' ')} "\${name%.}"`;
  return spawnSync('sh', ['-c', script], { stdio: 'ignore', env: { ...process.env, LC_ALL: 'C' } }).status === 0;
}

// Pieces that rules speak of, so that names are often nearly valid.
const piece = fc.constantFrom(
  'a',
  'refs',
  '/',
  '.',
  '..',
  '@',
  '@{',
  '{',
  '.lock',
  '-',
  '*',
  '~',
  ' ',
  ':',
  '\\',
  '\x7f',
  '\x80',
  '\xff',
  '\t',
);

describe('ref names', () => {
  it('are judged as git check-ref-format judges them', () => {
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 6 }), fc.boolean(), (pieces, allowOneLevel) => {
        const name = pieces.join('');
        const flags = allowOneLevel ? ['--allow-onelevel'] : [];
        // An option-like name is git's command line, not its rule.
        fc.pre(!name.startsWith('-'));
        assert.equal(refNameFault(name, { allowOneLevel }) === null, gitAccepts(name, ...flags), JSON.stringify(name));
      }),
      { numRuns: 250 },
    );
  });

  it('name the rule that is broken', () => {
    const faults = {
      '': 'empty-component',
      'a//b': 'empty-component',
      'a/': 'empty-component',
      '/a': 'empty-component',
      'a/.b': 'component-starts-with-dot',
      'a.lock/b': 'component-ends-with-lock',
      a: 'one-level',
      'a/b..c': 'two-dots',
      'a/b\0c': 'bad-character',
      'a/b\nc': 'bad-character',
      'a/b*': 'bad-character',
      'a/b.': 'ends-with-dot',
      'a/b@{1}': 'at-brace',
      '@': 'lone-at',
    };
    for (const [name, fault] of Object.entries(faults)) assert.equal(refNameFault(name), fault, JSON.stringify(name));
    for (const name of ['a./b', 'a/@', 'a/{', 'a/b.locks', 'a/\xe4']) assert.equal(refNameFault(name), null, name);
  });

  it('can be pushed only two levels below refs/', () => {
    for (const name of ['refs/heads/main', 'refs/heads/-x', 'refs/heads/@', 'refs/for/a/b', 'refs/heads/\xff']) {
      assert.equal(isPushableRefName(name), true, name);
    }
    for (const name of ['HEAD', 'refs/x', 'refs/', 'refs/@', 'heads/x', 'refs/heads/../x', 'refs//heads/x', 'refs/heads/', '']) {
      assert.equal(isPushableRefName(name), false, name);
    }
  });
});
