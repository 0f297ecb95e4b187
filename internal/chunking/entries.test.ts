import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { deflateSync, inflateSync } from 'node:zlib';
import fc from 'fast-check';
import { buildPack, git, makeRepository, oidOf, seededBytes, tryGit } from '../testkit/mod.ts';
import {
  adler32,
  type ChunkRecipe,
  combineAdler32,
  deltaBetween,
  encodeCopy,
  encodeDeltaHead,
  encodeInsert,
  encodeSegment,
  FastCdcCutter,
  narrowInsert,
  wireEntryBytes,
  wireEntryHead,
  wireEntryTail,
} from './mod.ts';

const SIZES = { minBytes: 256, avgBytes: 1024, maxBytes: 16384 };

interface Cut {
  readonly recipe: ChunkRecipe;
  readonly plain: readonly Buffer[];
  readonly segments: readonly Buffer[];
}

function cut(bytes: Buffer, sizes = SIZES): Cut {
  const cutter = new FastCdcCutter(sizes);
  const ends = [...cutter.push(bytes), ...cutter.finish()];
  let at = 0;
  const plain = ends.map((size) => {
    at += size;
    return bytes.subarray(at - size, at);
  });
  const segments = plain.map(encodeSegment);
  const adlers = plain.map((chunk) => adler32(chunk));
  return {
    plain,
    segments,
    recipe: {
      sizeBytes: bytes.length,
      adler: adlers.reduce((whole, adler, i) => combineAdler32(whole, adler, plain[i]!.length), 1),
      sha256s: Buffer.concat(plain.map((chunk) => hash('sha256', chunk, 'buffer'))),
      packIds: new Float64Array(plain.length),
      offsets: new Float64Array(plain.length),
      lengths: Float64Array.from(segments, (segment) => segment.length),
      sizes: Float64Array.from(ends),
      adlers: Uint32Array.from(adlers),
    },
  };
}

/** Applies a delta by the letter of gitformat-pack. */
function applied(base: Buffer, delta: Buffer): Buffer {
  let at = 0;
  const number = (bits: number): number => {
    let value = 0;
    for (let byte = 0; bits > 0; byte++, bits >>= 1) if (bits & 1) value += delta[at++]! * 256 ** byte;
    return value;
  };
  const size = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = delta[at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  assert.equal(size(), base.length);
  const resultBytes = size();
  const parts: Buffer[] = [];
  while (at < delta.length) {
    const op = delta[at++]!;
    if (op & 0x80) {
      const offset = number(op & 0xf);
      const length = number((op >> 4) & 7) || 0x10000;
      assert.ok(offset + length <= base.length);
      parts.push(base.subarray(offset, offset + length));
    } else {
      parts.push(delta.subarray(at, at + op));
      at += op;
    }
  }
  const result = Buffer.concat(parts);
  assert.equal(result.length, resultBytes);
  return result;
}

const text = (lines: number): Buffer => Buffer.from(Array.from({ length: lines }, (_, i) => `line ${i * i} of many\n`).join(''));
const CONTENTS: readonly (readonly [name: string, bytes: Buffer])[] = [
  ['text', text(30_000)],
  ['noise', seededBytes(2, 300_000)],
  ['noise in large chunks', seededBytes(3, 3_000_000)],
  ['text beside noise', Buffer.concat([text(3000), seededBytes(4, 100_000), text(3000)])],
  ['zeros', Buffer.alloc(500_000)],
  ['a byte', Buffer.from('x')],
];

for (const [name, bytes] of CONTENTS) {
  test(`a blob and its chunks are ordinary entries for git: ${name}`, async () => {
    const { recipe, plain, segments } = cut(
      bytes,
      bytes.length > 1e6 ? { minBytes: 65536, avgBytes: 262144, maxBytes: 1048576 } : SIZES,
    );
    const whole = Buffer.concat([wireEntryHead(bytes.length), ...segments, wireEntryTail(recipe.adler)]);
    assert.equal(whole.length, wireEntryBytes(recipe));
    const chunks = new Map<string, Buffer>();
    for (const [i, chunk] of plain.entries()) {
      chunks.set(
        recipe.sha256s.toString('hex', i * 32, i * 32 + 32),
        Buffer.concat([wireEntryHead(chunk.length), segments[i]!, wireEntryTail(recipe.adlers[i]!)]),
      );
    }
    const repository = await makeRepository();
    const path = join(repository, 'objects', 'pack', 'pack-x.pack');
    const entries = chunks.size === 1 && plain.length === 1 ? [whole] : [whole, ...chunks.values()];
    writeFileSync(path, buildPack(entries));
    await git(['index-pack', '--strict', path], { cwd: repository });
    for (const object of [bytes, plain[0]!, plain.at(-1)!]) {
      const { stdout } = await tryGit(['cat-file', 'blob', oidOf('blob', object)], { cwd: repository });
      assert.ok(stdout.equals(object));
    }
  });
}

test('noise is stored, text is deflated, and neither grows by much', () => {
  const noise = seededBytes(5, 65_536);
  assert.equal(encodeSegment(noise).length, noise.length + 10);
  const plain = text(3000);
  assert.ok(encodeSegment(plain).length < plain.length / 3);
});

describe('Adler-32', () => {
  test('is that of zlib', () => {
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(100_000, 0xff), seededBytes(6, 100_001)]) {
      const stream = deflateSync(bytes);
      assert.equal(adler32(bytes), stream.readUInt32BE(stream.length - 4));
    }
  });

  test('composes from parts', () => {
    const bytes = seededBytes(8, 200_000);
    fc.assert(
      fc.property(fc.nat(bytes.length), fc.nat(bytes.length), (a, b) => {
        const whole = bytes.subarray(0, Math.max(a, b));
        const [first, second] = [whole.subarray(0, Math.min(a, b)), whole.subarray(Math.min(a, b))];
        assert.equal(combineAdler32(adler32(first), adler32(second), second.length), adler32(whole));
        assert.equal(adler32(second, adler32(first)), adler32(whole));
      }),
    );
    // More than 4 GiB of zeros, in halves of halves.
    let [adler, length] = [adler32(Buffer.alloc(1 << 20)), 2 ** 20];
    for (; length < 2 ** 34; length *= 2) adler = combineAdler32(adler, adler, length);
    assert.equal(adler, (2 ** 34 % 65521) * 0x10000 + 1);
  });
});

function encode(from: Cut, to: Cut, narrow: boolean): Buffer {
  const plan = deltaBetween(from.recipe, to.recipe)!;
  const parts = [encodeDeltaHead(plan.baseBytes, plan.resultBytes)];
  for (const step of plan.steps) {
    if (step.kind === 'copy') {
      parts.push(encodeCopy(step.offset, step.sizeBytes));
      continue;
    }
    const bytes = Buffer.concat(to.plain.slice(step.first, step.end));
    assert.equal(bytes.length, step.sizeBytes);
    const base = Buffer.concat(from.plain.slice(step.baseFirst, step.baseEnd));
    const { prefixBytes, suffixBytes } = narrow ? narrowInsert(base, bytes) : { prefixBytes: 0, suffixBytes: 0 };
    parts.push(encodeCopy(step.baseOffset, prefixBytes));
    parts.push(encodeInsert(bytes.subarray(prefixBytes, bytes.length - suffixBytes)));
    parts.push(encodeCopy(step.baseOffset + base.length - suffixBytes, suffixBytes));
  }
  const delta = Buffer.concat(parts);
  if (!narrow) assert.equal(delta.length, plan.deltaBytes);
  return delta;
}

describe('a delta between two lists of chunks', () => {
  const old = Buffer.concat([seededBytes(9, 150_000), text(5000), seededBytes(9, 150_000)]);

  test('makes the one of the other, however they were edited', () => {
    const edit = fc.record({ at: fc.nat(old.length), taken: fc.nat(3000), given: fc.nat(3000) });
    fc.assert(
      fc.property(fc.array(edit, { maxLength: 5 }), fc.boolean(), (edits, narrow) => {
        let young = old;
        for (const { at, taken, given } of edits) {
          young = Buffer.concat([young.subarray(0, at), seededBytes(at, given), young.subarray(at + taken)]);
        }
        const [from, to] = [cut(old), cut(young)];
        for (const [a, b, result] of [
          [from, to, young],
          [to, from, old],
        ] as const) {
          const delta = encode(a, b, narrow);
          assert.ok(applied(a === from ? old : young, delta).equals(result));
        }
      }),
      { numRuns: 60 },
    );
  });

  test('of one edited byte is a few instructions once it is narrowed', () => {
    const young = Buffer.from(old);
    young[200_000]! ^= 1;
    assert.ok(encode(cut(old), cut(young), true).length < 64);
    assert.ok(encode(cut(old), cut(young), false).length < 4 * SIZES.avgBytes);
  });

  test('is none when nothing is shared or one is too large for deltas of git', () => {
    const [a, b] = [cut(seededBytes(10, 20_000)).recipe, cut(seededBytes(11, 20_000)).recipe];
    assert.equal(deltaBetween(a, b), null);
    assert.equal(deltaBetween({ ...a, sizeBytes: 512 * 2 ** 20 }, a), null);
    assert.equal(deltaBetween(a, { ...a, sizeBytes: 512 * 2 ** 20 }), null);
  });

  test('has copies of any offset and size that git can read', () => {
    const base = Buffer.alloc(0x2000100, 'abc');
    for (const [offset, sizeBytes] of [
      [0, 0x10000],
      [0x100, 0x1000000],
      [0x1000000, 0x1000001],
      [5, 0x2000001],
      [0x10000, 1],
    ] as const) {
      const delta = Buffer.concat([encodeDeltaHead(base.length, sizeBytes), encodeCopy(offset, sizeBytes)]);
      assert.ok(applied(base, delta).equals(base.subarray(offset, offset + sizeBytes)));
    }
    assert.equal(encodeCopy(7, 0).length, 0);
  });
});

test('segments join in any order', () => {
  const { segments, plain } = cut(Buffer.concat([text(2000), seededBytes(12, 40_000)]));
  const order = segments.map((_, i) => i).reverse();
  const bytes = Buffer.concat(order.map((i) => plain[i]!));
  const stream = [Buffer.from([0x78, 0x01]), ...order.map((i) => segments[i]!), wireEntryTail(adler32(bytes))];
  assert.ok(inflateSync(Buffer.concat(stream)).equals(bytes));
});
