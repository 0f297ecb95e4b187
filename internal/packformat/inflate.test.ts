import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { constants, deflateSync } from 'node:zlib';
import { PackhouseError } from '../base/mod.ts';
import { seededRandom } from '../testkit/mod.ts';
import { Inflater } from './mod.ts';

const inflater = new Inflater();
after(() => inflater.close());

const SAMPLES = [
  Buffer.alloc(0),
  Buffer.from('x'),
  Buffer.alloc(3000, 'abcdefg '),
  Buffer.from(Array.from({ length: 700 }, (_, i) => (i * i) & 255)),
];

function inflate(stream: Buffer, size: number): { consumed: number; data: Buffer } {
  const output = Buffer.alloc(size + 1);
  return { consumed: inflater.inflateInto(stream, 0, stream.length, output, 0, size), data: output.subarray(0, size) };
}

test('a stream is inflated, and where it ends is found, whatever follows', () => {
  for (const data of SAMPLES) {
    for (const level of [0, 1, 9]) {
      const stream = deflateSync(data, { level, strategy: constants.Z_DEFAULT_STRATEGY });
      const behind = Buffer.concat([stream, Buffer.from('PACK and more')]);
      assert.deepEqual(inflate(behind, data.length), { consumed: stream.length, data });
      assert.deepEqual(inflate(stream, data.length), { consumed: stream.length, data }, 'at the very end of the input');
    }
  }
});

test('a cut stream asks for more, at every cut', () => {
  const data = SAMPLES[2]!;
  const stream = deflateSync(data);
  for (let length = 0; length < stream.length; length++)
    assert.equal(inflate(stream.subarray(0, length), data.length).consumed, -1);
});

test('a stream of another size than it claims is refused', () => {
  const stream = deflateSync(SAMPLES[2]!);
  const behind = Buffer.concat([stream, Buffer.alloc(8)]);
  for (const size of [0, 1, 2999, 3001, 100_000]) assert.throws(() => inflate(behind, size), { code: 'zlib-size' }, String(size));
});

test('25,000 mutated streams neither crash the process nor spoil the next stream', () => {
  const random = seededRandom(7);
  const streams = SAMPLES.map((data) => deflateSync(data));
  let corrupt = 0;
  for (let run = 0; run < 25_000; run++) {
    const which = random(SAMPLES.length);
    const data = SAMPLES[which]!;
    const bytes = Buffer.concat([streams[which]!, Buffer.alloc(4)]);
    for (let edits = 1 + random(4); edits > 0; edits--) bytes[random(bytes.length)] = random(256);
    const size = random(3) === 0 ? random(5000) : data.length;
    try {
      inflate(bytes.subarray(0, random(8) === 0 ? random(bytes.length) : bytes.length), size);
    } catch (error) {
      assert.ok(error instanceof PackhouseError && error.code.startsWith('zlib'), String(error));
      corrupt++;
    }
    if (run % 50 === 0) assert.deepEqual(inflate(streams[2]!, 3000).data, SAMPLES[2]);
  }
  assert.ok(corrupt > 5000, `only ${corrupt} streams were corrupt`);
});
