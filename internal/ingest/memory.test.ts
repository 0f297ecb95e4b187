import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { buildDelta, buildPack, type DeltaOp, entry, oidOf, refDelta, scratchFolder, seededBytes } from '../testkit/mod.ts';

const MIB = 2 ** 20;
const PART = 15 * MIB;

function copyAll(times: number): DeltaOp[] {
  return Array.from({ length: times }, () => ({ copy: [0, PART] }) as const);
}

test('deltas that make 300 MiB, one on the other, never hold that much', async (t) => {
  const base = seededBytes(1, PART);
  const makes = (times: number, more: string) => {
    const hash = createHash('sha1').update(`blob ${times * PART + more.length}\0`);
    for (let i = 0; i < times; i++) hash.update(base);
    return hash.update(more).digest('hex');
  };
  const first = makes(20, '');
  const entries = [entry('blob', base), refDelta(oidOf('blob', base), buildDelta(PART, 20 * PART, copyAll(20)))];
  const wanted = [first];
  let last = first;
  for (let i = 1, size = 20 * PART; i < 4; i++, size++) {
    const whole: DeltaOp[] = [];
    for (let at = 0; at < size; at += 10 * MIB) whole.push({ copy: [at, Math.min(10 * MIB, size - at)] });
    entries.push(refDelta(last, buildDelta(size, size + 1, [...whole, { insert: '+' }])));
    last = makes(20, '+'.repeat(i));
    wanted.push(last);
  }
  const folder = scratchFolder('memory');
  const path = join(folder, 'pack');
  writeFileSync(path, buildPack(entries));
  const script = fileURLToPath(new URL('./memory-testing.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [script, path, folder]);
  const { oids, peakBytes, chunkBytes } = JSON.parse(stdout) as { oids: string[]; peakBytes: number; chunkBytes: number };
  assert.deepEqual(oids.sort(), wanted.sort());
  t.diagnostic(`${Math.round(peakBytes / MIB)} MiB at most`);
  assert.ok(chunkBytes < 2 * PART, `${chunkBytes} bytes of new chunks`);
  assert.ok(peakBytes < 256 * MIB, `the process had ${peakBytes} bytes`);
});
