import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keepBytes } from './keep-bytes.ts';

/** Bytes that are a small part of a block that is full of others. */
function cutFrom(blockBytes: number, length: number, fill: number): Buffer {
  const block = Buffer.allocUnsafeSlow(blockBytes);
  return block.subarray(100, 100 + length).fill(fill);
}

test('bytes that are kept do not keep alive what they were cut from', () => {
  const blocks = new Set<ArrayBufferLike>();
  let bytes = 0;
  const kept = Array.from({ length: 2_000 }, (_, i) => {
    const length = (i * 37) % 1_500;
    const copy = keepBytes(cutFrom(65_536, length, i & 255));
    assert.equal(copy.length, length);
    blocks.add(copy.buffer);
    bytes += length;
    return copy;
  });
  kept.forEach(
    (copy, i) =>
      void assert(
        copy.every((byte) => byte === (i & 255)),
        `${i} was written over`,
      ),
  );
  const held = [...blocks].reduce((sum, { byteLength }) => sum + byteLength, 0);
  assert(held < bytes * 1.2, `${held} bytes are held for ${bytes}`);
});

test('bytes that hold little else, or were kept before, are not copied', () => {
  const own = Buffer.allocUnsafeSlow(100);
  assert.equal(keepBytes(own), own);
  const most = Buffer.allocUnsafeSlow(100).subarray(20);
  assert.equal(keepBytes(most), most);
  const kept = keepBytes(cutFrom(65_536, 20, 1));
  assert.equal(keepBytes(kept), kept);
});
