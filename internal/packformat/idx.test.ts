import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { PackhouseError } from '../base/mod.ts';
import { decodeIdx, encodeIdx, type PackIndexTable } from './mod.ts';

const OFFSETS = [12, 2 ** 31 - 1, 2 ** 31, 2 ** 31 + 1, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 5, 2 ** 40, 2 ** 52];

function table(count: number, width: number): PackIndexTable {
  const oids = Array.from({ length: count }, (_, i) => createHash('sha256').update(String(i)).digest().subarray(0, width)).sort(
    Buffer.compare,
  );
  return {
    count,
    oids: Buffer.concat(oids),
    offsets: Float64Array.from({ length: count }, (_, i) => OFFSETS[i % OFFSETS.length]! + Math.floor(i / OFFSETS.length) * 100),
    crcs: Uint32Array.from({ length: count }, (_, i) => (i * 2_654_435_761) >>> 0),
    checksum: Buffer.alloc(width, 9),
  };
}

for (const [format, width] of [
  ['sha1', 20],
  ['sha256', 32],
] as const) {
  test(`an index of offsets past 2^31 and 2^32 comes back as it was written (${format})`, () => {
    for (const count of [0, 1, 9, 1000]) {
      const written = table(count, width);
      const read = decodeIdx(encodeIdx(written, format), format);
      assert.equal(read.count, count);
      assert.deepEqual(read.offsets, written.offsets);
      assert.deepEqual(read.crcs, written.crcs);
      assert.ok(read.oids.equals(written.oids) && read.checksum.equals(written.checksum));
    }
  });
}

test('any change of an index is found', () => {
  const good = encodeIdx(table(20, 20), 'sha1');
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), fc.boolean(), (at, change, cut) => {
      const bytes = Buffer.from(good.subarray(0, cut ? at : good.length));
      if (!cut) bytes[at] = bytes[at]! ^ change;
      assert.throws(
        () => decodeIdx(bytes, 'sha1'),
        (error) => error instanceof PackhouseError && error.code === 'idx',
      );
    }),
    { numRuns: 1000 },
  );
});
