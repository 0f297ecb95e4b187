import assert from 'node:assert/strict';
import { closeSync, openSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder, seededBytes } from '../testkit/mod.ts';
import { SpoolSource } from './pack-source.ts';

const folder = scratchFolder('pack-source');

/** Whether a source that was told to hold a file of so many bytes has them when the file is gone; what it gives must be right as long as it is there. */
function holds(sizeBytes: number): boolean {
  const path = join(folder, 'pack');
  const bytes = seededBytes(sizeBytes, sizeBytes);
  writeFileSync(path, bytes);
  const fd = openSync(path, 'r+');
  try {
    const source = new SpoolSource(fd);
    source.grow(sizeBytes);
    source.hold();
    for (const offset of [0, sizeBytes - 1, sizeBytes >>> 1, sizeBytes - 100]) {
      const { buffer, at, end } = source.window(offset, 100);
      const wanted = bytes.subarray(offset, offset + 100);
      assert.ok(end - at >= wanted.length && buffer.subarray(at, at + wanted.length).equals(wanted), `at ${offset}`);
    }
    truncateSync(path, 0);
    const { buffer, at, end } = source.window(7, 100);
    return end - at >= 100 && buffer.subarray(at, at + 100).equals(bytes.subarray(7, 107));
  } finally {
    closeSync(fd);
  }
}

test('a spooled pack up to 16 MiB is held whole, a larger one is read as it is needed', () => {
  assert.equal(holds(3 << 20), true);
  assert.equal(holds(16 << 20), true);
  assert.equal(holds((16 << 20) + 1), false);
});
