import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

test('each attack that ARCHITECTURE.md lists has the test that it names', () => {
  const page = readFileSync(`${ROOT}/ARCHITECTURE.md`, 'utf8');
  const section = /\n## What attackers try\n([\s\S]*?)\n## /.exec(page)?.[1] ?? '';
  const rows = [...section.matchAll(/\| `([^`]+\.ts)`: (.+) \|$/gm)];
  assert.ok(rows.length >= 25, `${rows.length} tests are listed`);
  for (const [, file = '', name = ''] of rows) {
    assert.ok(existsSync(`${ROOT}/${file}`), file);
    assert.ok(readFileSync(`${ROOT}/${file}`, 'utf8').includes(name), `${file} has no '${name}'`);
  }
});
