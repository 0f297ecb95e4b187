import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { makeSpoolFolder, removeStaleSpools } from './spool-folders.ts';

test('folders of dead processes are removed, and of one that had our pid; those of living ones and of strangers stay', async (t) => {
  const parent = await mkdtemp(join(tmpdir(), 'spools-'));
  t.after(() => rm(parent, { recursive: true }));
  const before = await makeSpoolFolder(parent);
  const living = `packhouse-spool-${process.ppid}-abc`;
  await mkdir(join(parent, living));
  const child = spawn(process.execPath, ['-e', '']);
  await once(child, 'exit');
  const dead = `packhouse-spool-${child.pid}-abc`;
  await mkdir(join(parent, dead));
  await writeFile(join(parent, dead, 'pack'), 'PACK');
  await mkdir(join(parent, 'somebody-else'));
  assert.deepEqual((await removeStaleSpools(parent)).sort(), [dead, basename(before)].sort());
  assert.deepEqual((await readdir(parent)).sort(), [living, 'somebody-else'].sort());
});
