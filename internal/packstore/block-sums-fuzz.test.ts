import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { fuzz, mutants, nullWhenRefused, seededBytes } from '../testkit/mod.ts';
import { SUM_BLOCK_BYTES, withBlockSums } from './block-sums.ts';
import { crateKey, sidecarKey } from './keys.ts';
import { createMemoryStore } from './memory-store.ts';

test('checksums: whatever is done to a crate or to what lies beside it, what is read is what was put, or an error', async (t) => {
  const key = crateKey('ab34cd5600');
  const sums = sidecarKey(key, 'sums');
  const inner = createMemoryStore();
  const crate = seededBytes(1, 3 * SUM_BLOCK_BYTES + 1234);
  await withBlockSums(inner).put(key, crate);
  const page = await inner.get(sums, { offset: 0, lengthBytes: (await inner.head(sums))!.lengthBytes });
  // With the checksum of the page right, so that its content is judged.
  const finish = (bytes: Buffer): Buffer => {
    if (bytes.length < page.length) return bytes;
    const whole = Buffer.from(bytes.subarray(0, page.length));
    whole.writeUInt32BE(crc32(whole.subarray(0, -4)), whole.length - 4);
    return whole;
  };
  const what = fc.oneof(
    fc.record({ at: fc.constant(key), to: mutants([crate]) }),
    fc.record({ at: fc.constant(sums), to: mutants([page]) }),
    fc.record({ at: fc.constant(sums), to: mutants([page], { finish }) }),
  );
  const range = fc.tuple(fc.nat(crate.length - 1), fc.integer({ min: 1, max: 70_000 }));
  const counts = { read: 0, refused: 0 };
  await fuzz(
    t,
    fc.tuple(what, fc.array(range, { minLength: 1, maxLength: 4 })),
    { runs: 250, bytesMax: 1 << 23 },
    async ([{ at, to }, ranges]) => {
      await inner.put(key, crate);
      await inner.put(sums, page);
      await inner.put(at, to.bytes);
      const store = withBlockSums(inner);
      for (const [offset, length] of ranges) {
        const lengthBytes = Math.min(length, crate.length - offset);
        const bytes = await store.get(key, { offset, lengthBytes }).catch(nullWhenRefused);
        counts[bytes === null ? 'refused' : 'read']++;
        if (bytes !== null) assert.ok(bytes.equals(crate.subarray(offset, offset + lengthBytes)));
      }
    },
  );
  assert.ok(counts.read > 50 && counts.refused > 50, JSON.stringify(counts));
});
