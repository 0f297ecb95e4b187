import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inflateSync } from 'node:zlib';
import { seededRandom } from '../testkit/mod.ts';
import { Deflater } from './mod.ts';

const BYTES_MAX = 16 << 10;

test('one object after another is deflated, whatever came before it', () => {
  const deflater = new Deflater(BYTES_MAX);
  const random = seededRandom(1);
  const streams: [Buffer, Buffer][] = [];
  for (let round = 0; round < 400; round++) {
    const length = [0, 1, BYTES_MAX, random(BYTES_MAX)][round % 4]!;
    // Of few values or of all: what deflates well, and what does not.
    const values = round % 3 === 0 ? 256 : 1 + random(8);
    const data = Buffer.from(Array.from({ length }, () => random(values)));
    streams.push([data, deflater.deflate(data)]);
  }
  for (const [data, stream] of streams) assert(inflateSync(stream).equals(data));
  const text = Buffer.alloc(BYTES_MAX, 'abcdefgh\n');
  assert(deflater.deflate(text).length < 200);
  assert.throws(() => deflater.deflate(Buffer.alloc(BYTES_MAX + 1)), /short enough/);
});
