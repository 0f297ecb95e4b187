import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { SHA256_BYTES } from '../chunking/mod.ts';
import { scratchFolder, seededBytes } from '../testkit/mod.ts';
import { ChunkWriter } from './chunk-writer.ts';
import type { FoundChunks } from './chunking-options.ts';

const SIZES = { thresholdBytes: 0, minBytes: 4096, avgBytes: 16384, maxBytes: 65536 };
const KNOWN_PACK = 7;

/** The packs that the chunks of a blob are in, when the pool knows its n-th chunk as `isKnown` says. */
function packsOf(bytes: Buffer, pieceBytes: number, isKnown: (n: number) => boolean): number[] {
  const order = new Map<string, number>();
  const find = (sha256s: Buffer): FoundChunks => {
    const count = sha256s.length / SHA256_BYTES;
    const packIds = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      const n = order.size;
      order.set(sha256s.toString('hex', i * SHA256_BYTES, (i + 1) * SHA256_BYTES), n);
      packIds[i] = isKnown(n) ? KNOWN_PACK : 0;
    }
    return { packIds, offsets: new Float64Array(count), lengths: new Float64Array(count) };
  };
  const writer = new ChunkWriter(SIZES, 'sha1', join(scratchFolder('chunks'), 'chunks'), find);
  for (let at = 0; at < bytes.length; at += pieceBytes) writer.write(bytes.subarray(at, at + pieceBytes));
  const recipe = writer.finish();
  writer.close();
  assert.equal(recipe.sizeBytes, bytes.length);
  assert.equal(order.size, recipe.sizes.length);
  return Array.from(recipe.packIds);
}

test('runs of known chunks are judged whole, wherever chunks were looked up together', () => {
  const bytes = seededBytes(3, 20 << 20);
  for (const pieceBytes of [1 << 20, 70_001]) {
    const few = packsOf(bytes, pieceBytes, (n) => n % 4 !== 0);
    const lastNew = Math.floor((few.length - 1) / 4) * 4;
    assert.deepEqual(
      few,
      few.map((_, n) => (n <= lastNew ? 0 : KNOWN_PACK)),
      'three known ones between new ones are stored again, those at the end are not',
    );
    const more = packsOf(bytes, pieceBytes, (n) => n % 5 !== 0);
    assert.deepEqual(
      more,
      more.map((_, n) => (n % 5 === 0 ? 0 : KNOWN_PACK)),
      'four are not',
    );
  }
});

test('known chunks before the first new one are not stored again', () => {
  const packs = packsOf(seededBytes(4, 1 << 20), 1 << 20, (n) => n < 2 || n > 10);
  assert.deepEqual(packs.slice(0, 12), [7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
});
