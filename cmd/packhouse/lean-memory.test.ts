import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
/** Says of each start in a process' place what it was started with. */
const TELL =
  `data:text/javascript,process.stderr.write('start ' + process.pid + ' ' + process.execArgv.filter((a) => a.startsWith('--max')) + ' '
  + process.env.MALLOC_ARENA_MAX + '\\n')`.replace(/\s*\n\s*/g, '');

function startsOf(verb: string, env: Readonly<Record<string, string>>): string[] {
  const { MALLOC_ARENA_MAX: _arenas, MALLOC_MMAP_THRESHOLD_: _threshold, ...rest } = process.env;
  const { status, stderr, stdout, pid } = spawnSync(process.execPath, ['--import', TELL, MAIN, verb, '--help'], {
    env: { ...rest, ...env },
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  assert.match(stdout, new RegExp(`^Usage: packhouse ${verb} `));
  return [...stderr.matchAll(/^start (\d+) (.*)$/gm)].map(([, own, told]) => {
    assert.equal(Number(own), pid);
    return told!;
  });
}

test('a server starts itself anew with lean memory, once and in its own place', { skip: process.platform !== 'linux' }, () => {
  assert.deepEqual(startsOf('serve', {}), [' undefined', '--max-semi-space-size=8 2']);
  assert.deepEqual(startsOf('serve', { MALLOC_ARENA_MAX: '7' }), [' 7'], 'unless it is told otherwise');
  assert.deepEqual(startsOf('migrate', {}), [' undefined'], 'other verbs do not');
});
