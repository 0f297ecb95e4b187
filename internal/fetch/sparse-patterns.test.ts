import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { makeRepository, scratchFolder, tryGit } from '../testkit/mod.ts';
import { SparsePatterns } from './sparse-patterns.ts';

describe('patterns of a sparse specification', () => {
  test('match what git check-ignore says they match', async () => {
    const cwd = await makeRepository();
    const pieces = fc.constantFrom(
      'a',
      'b',
      'ab',
      '*',
      '**',
      '?',
      '/',
      '/',
      '[ab]',
      '[!a]',
      '[a-c]',
      '[[:digit:]]',
      '\\*',
      '\\',
      '.',
      ' ',
      '0',
      '!',
      '#',
      '[',
    );
    const lines = fc.array(pieces, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(''));
    const paths = [
      'a',
      'b',
      'ab',
      'abc',
      'a/b',
      'a/b/c',
      'b/a',
      'ab/a/b',
      '.a',
      '0',
      'a0/b',
      '*',
      'a b',
      'a ',
      '[',
      'x/y/z',
      'a/ab/b',
      '#',
      '!a',
    ];
    const list = fc.array(lines, { minLength: 12, maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(list, async (patterns) => {
        for (const pattern of patterns) {
          const file = join(scratchFolder('patterns'), 'exclude');
          writeFileSync(file, `${pattern}\n`);
          // Each path alone: folders above it say nothing here.
          const { stdout, status, stderr } = await tryGit(
            [
              ...['-c', `core.excludesFile=${file}`, '-c', 'core.bare=false', `--work-tree=${cwd}`],
              ...['check-ignore', '--no-index', '-v', '-n', '-z', '--stdin'],
            ],
            { cwd, input: `${paths.join('\0')}\0` },
          );
          assert(status === 0 || status === 1, stderr);
          const fields = stdout.toString('latin1').split('\0');
          assert.equal(fields.length, 4 * paths.length + 1);
          const matcher = new SparsePatterns(`${pattern}\n`);
          paths.forEach((path, i) => {
            const matched = fields[4 * i + 2] !== '';
            const above = path
              .split('/')
              .slice(0, -1)
              .map((_, n, parts) => parts.slice(0, n + 1).join('/'));
            // git check-ignore asks the folders above first; one that is ignored decides.
            const expected =
              above.some((folder) => matcher.verdict(folder, true) === true) || matcher.verdict(path, false) !== null;
            assert.equal(expected, matched, JSON.stringify([pattern, path]));
          });
        }
      }),
      { numRuns: 12, seed: 5 },
    );
  });

  test('the last one that matches decides, and a folder may be decided otherwise than what is in it', () => {
    const cone = new SparsePatterns('/*\n!/*/\n/src/\n');
    assert.deepEqual(
      [cone.verdict('file', false), cone.verdict('doc', true), cone.verdict('src', true), cone.verdict('src/a', false)],
      [true, false, true, null],
    );
    const mixed = new SparsePatterns('# comment\n\n*.c\n!test.c\n\\#x\n\\!y\r\nspace\\ \nnone   \n');
    assert.deepEqual(
      ['a.c', 'x/test.c', '#x', '!y', 'space ', 'none', 'other'].map((path) => mixed.verdict(path, false)),
      [true, false, true, true, true, true, null],
    );
  });

  test('no pattern takes long', () => {
    const evil = new SparsePatterns(
      `${'*a'.repeat(200)}*b\n${'**/'.repeat(200)}x\n${'[a-z]*'.repeat(100)}!\n${' '.repeat(100_000)}x${' '.repeat(100_000)}\n`,
    );
    assert.equal(evil.verdict('a'.repeat(4000), false), null);
    assert.equal(evil.verdict(`${'a/'.repeat(2000)}y`, false), null);
  });

  test('that take too long, on one path or on many, are given up', () => {
    const long = 'a'.repeat(4000);
    const star = `${'*a'.repeat(20)}b\n`;
    assert.equal(new SparsePatterns(star).verdict(long, false), null);
    const tooLong = { code: 'fetch-refused', message: /the patterns of the sparse filter take too long/ };
    assert.throws(() => new SparsePatterns(star.repeat(400)).verdict(long, false), tooLong);
    const patterns = new SparsePatterns(star, 1_000_000);
    for (let i = 0; i < 5; i++) patterns.verdict(long, false);
    assert.throws(() => patterns.verdict(long, false), tooLong);
    assert.throws(() => new SparsePatterns('x', 100).spend(101), tooLong);
  });
});
