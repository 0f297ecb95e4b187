import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from './folder.ts';

const HOOK = new URL('./coverage-hook.ts', import.meta.url).href;

/** Each byte is looked at when the one before it is right. */
const TARGET = `
export function look(bytes: Uint8Array): void {
  if (bytes[0] !== 0x50) return;
  if (bytes[1] !== 0x41) return;
  if (bytes[2] === 0x43) {
    const isLast = bytes[3] === 0x4b && bytes.length < 100;
    if (isLast) throw new Error('the magic was found');
  }
}`;

const FUZZ = `
  import { test } from 'node:test';
  import fc from ${JSON.stringify(import.meta.resolve('fast-check'))};
  import { fuzz } from ${JSON.stringify(new URL('./fuzz.ts', import.meta.url).href)};
  import { mutants } from ${JSON.stringify(new URL('./mutate.ts', import.meta.url).href)};
  import { look } from './target.ts';
  test('looks', (t) => fuzz(t, fc.tuple(mutants([Buffer.alloc(8)]), fc.nat(9)), { runs: 60_000 }, ([{ bytes }]) => look(bytes)));`;

/** What a file with one target prints. */
async function output(mode: 'yes' | 'count' | 'no'): Promise<string> {
  const folder = scratchFolder('guided');
  writeFileSync(join(folder, 'target.ts'), TARGET);
  writeFileSync(join(folder, 'looks.test.ts'), FUZZ);
  const options = mode === 'no' ? [] : ['--disable-warning=ExperimentalWarning', '--import', HOOK];
  const env = { ...process.env, PACKHOUSE_FUZZ_COVERAGE: mode, PACKHOUSE_FUZZ_COVERED: folder, NODE_TEST_CONTEXT: undefined };
  return new Promise((resolve) => {
    execFile(process.execPath, [...options, join(folder, 'looks.test.ts')], { env }, (_, stdout, stderr) =>
      resolve(stdout + stderr),
    );
  });
}

test('guided by the branches that they take, inputs come to where others do not', async () => {
  const guided = await output('yes');
  assert.match(guided, /the magic was found/);
  const [, tried, base64] =
    /seed 1, (\d+) inputs, \d+ of \d+ branches, corpus of \d+: \[.*: base64 ([\w+/=]+),\d\]/.exec(guided) ?? [];
  assert.ok(Number(tried) < 60_000, guided);
  assert.equal(Buffer.from(base64!, 'base64').toString('latin1', 0, 4), 'PACK');
  assert.equal(/, (\d+) inputs, /.exec(await output('yes'))?.[1], tried, 'the same once more');

  assert.match(await output('count'), /60000 inputs, [34] of \d+ branches, corpus of 0, seed 1/);
  assert.match(await output('no'), /60000 inputs, seeds 1 to 1\n/);
});
