import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { buildPack, commitBody, entry, oidOf, scratchFolder, seededBytes, treeBody } from '../testkit/mod.ts';

const MIB = 2 ** 20;
const FOLDERS = 200;
const FILES = 1_000;

/** An entry whose zlib stream has its bytes as they are: quick to make. */
function storedBlob(data: Buffer): Buffer {
  const out = Buffer.alloc(2 + 2 + 5 + data.length + 4);
  out[0] = 0x80 | (3 << 4) | (data.length & 15);
  out[1] = data.length >>> 4;
  out.set([0x78, 0x01, 1], 2);
  out.writeUInt16LE(data.length, 5);
  out.writeUInt16LE(~data.length & 0xffff, 7);
  data.copy(out, 9);
  let a = 1;
  let b = 0;
  for (const byte of data) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  out.writeUInt32BE(b * 65536 + a, 9 + data.length);
  return out;
}

test('two hundred thousand small files need some hundred bytes each', async (t) => {
  const entries: Buffer[] = [];
  const seeds = seededBytes(9, FOLDERS * FILES * 8).toString('hex');
  const root: [mode: string, name: string, oid: string][] = [];
  for (let folder = 0; folder < FOLDERS; folder++) {
    const files: [mode: string, name: string, oid: string][] = [];
    for (let file = 0; file < FILES; file++) {
      const at = (folder * FILES + file) * 16;
      const text = Buffer.from(
        `file ${file}\n${seeds.slice(at, at + 16)}\nthe end of each of them is the same as of all the others\n`,
      );
      entries.push(storedBlob(text));
      files.push(['100644', `f${1000 + file}`, oidOf('blob', text)]);
    }
    const tree = treeBody(files);
    entries.push(entry('tree', tree));
    root.push(['40000', `d${100 + folder}`, oidOf('tree', tree)]);
  }
  const tree = treeBody(root);
  entries.push(entry('tree', tree), entry('commit', commitBody(oidOf('tree', tree))));
  const folder = scratchFolder('memory');
  const path = join(folder, 'pack');
  writeFileSync(path, buildPack(entries));
  const script = fileURLToPath(new URL('./memory-testing.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [script, path, folder]);
  const { objectCount, peakBytes } = JSON.parse(stdout) as { objectCount: number; peakBytes: number };
  assert.equal(objectCount, FOLDERS * (FILES + 1) + 2);
  t.diagnostic(`${Math.round(peakBytes / MIB)} MiB at most`);
  assert.ok(peakBytes < 480 * MIB, `the process had ${peakBytes} bytes`);
});
