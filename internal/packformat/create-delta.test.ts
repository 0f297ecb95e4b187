import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { git, makeRepository, scratchFolder, seededBytes, seededRandom } from '../testkit/mod.ts';
import { applyDelta, createDelta, indexForDelta } from './mod.ts';

/** A text, and the text after some edits. */
function editedText(seed: number, lines: number): { before: Buffer; after: Buffer } {
  const random = seededRandom(seed);
  const made = Array.from({ length: lines }, () => `${random(50)} words of line ${random(1_000_000)}\n`);
  const before = Buffer.from(made.join(''));
  for (let edits = 1 + random(6); edits > 0; edits--) {
    made.splice(random(made.length + 1), random(4), ...Array.from({ length: random(5) }, () => `new ${random(1_000_000)}\n`));
  }
  if (random(3) === 0) made.push(...made.splice(0, made.length >>> 1));
  return { before, after: Buffer.from(made.join('')) };
}

/** Bytes that are made of parts of others, so that there is something to copy. */
const related = fc
  .tuple(
    fc.uint8Array({ minLength: 1, maxLength: 600 }),
    fc.array(fc.tuple(fc.nat(), fc.nat(200), fc.uint8Array({ maxLength: 40 }))),
  )
  .map(([bytes, parts]) => {
    const base = Buffer.from(bytes);
    const made = parts.flatMap(([from, length, own]) => {
      const start = from % base.length;
      return [base.subarray(start, start + length), Buffer.from(own)];
    });
    return { base, target: Buffer.concat([Buffer.from([1]), ...made]) };
  });

describe('creating deltas', () => {
  test('a delta makes its target, and never has more bytes than allowed', () => {
    fc.assert(
      fc.property(related, fc.nat(1000), ({ base, target }, bytesMax) => {
        const index = indexForDelta(base);
        const delta = createDelta(index, target, Infinity);
        assert.ok(delta !== null && applyDelta(base, delta).equals(target));
        const length = delta.length;
        const bounded = createDelta(index, target, bytesMax);
        assert.equal(bounded === null, bytesMax < length);
        if (bounded !== null) assert.ok(bounded.length === length && applyDelta(base, bounded).equals(target));
      }),
      { numRuns: 500 },
    );
  });

  test('copies of every length and place are told in few bytes', () => {
    const base = seededBytes(1, 20 << 20);
    const index = indexForDelta(base);
    for (const [from, to] of [
      [0, 0x10000],
      [0, 0x10001],
      [0x1000000, 0x1000000 + 0x20000],
      [7, 7 + 0xffffff],
      [0, base.length],
    ] as const) {
      const target = base.subarray(from, to);
      const delta = createDelta(index, target, 64);
      assert.ok(delta !== null, `${from} to ${to}`);
      assert.ok(applyDelta(base, delta).equals(target));
    }
    assert.equal(createDelta(index, seededBytes(2, 100_000), 50_000), null);
  });

  test('repeated and empty content costs no time and makes no delta that git refuses', () => {
    const zeros = Buffer.alloc(8 << 20);
    const delta = createDelta(indexForDelta(zeros), Buffer.alloc(3 << 20), 1000);
    assert.ok(delta !== null && delta.length < 16);
    const lines = Buffer.from('the same line again\n'.repeat(100_000));
    assert.ok(createDelta(indexForDelta(lines), Buffer.concat([lines, Buffer.from('x'), lines]), 1000) !== null);
    assert.equal(createDelta(indexForDelta(zeros), Buffer.alloc(0), 1000), null);
    assert.equal(createDelta(indexForDelta(Buffer.alloc(0)), zeros, 1000), null);
  });

  test('deltas of texts are as small as those of git', async () => {
    const repository = await makeRepository();
    let ours = 0;
    let theirs = 0;
    for (let seed = 1; seed <= 25; seed++) {
      const { before, after } = editedText(seed, 60 + seed * 20);
      const folder = scratchFolder('pair');
      for (const [name, bytes] of Object.entries({ before, after })) writeFileSync(join(folder, name), bytes);
      const oids = (await git(['hash-object', '-w', join(folder, 'before'), join(folder, 'after')], { cwd: repository })).split(
        '\n',
      );
      const sum = await git(['pack-objects', '-q', '--window=10', join(folder, 'pack')], {
        cwd: repository,
        input: oids.join('\n'),
      });
      const lines = (await git(['verify-pack', '-v', join(folder, `pack-${sum}.idx`)], { cwd: repository })).split('\n');
      const made = lines.map((line) => line.split(/\s+/)).find((fields) => fields.length === 7);
      if (made === undefined) continue;
      const [base, target] = made[0]!.startsWith(oids[0]!) ? [after, before] : [before, after];
      const delta = createDelta(indexForDelta(base), target, Infinity)!;
      assert.ok(applyDelta(base, delta).equals(target));
      ours += delta.length;
      theirs += Number(made[2]);
    }
    assert.ok(theirs > 1000 && ours <= theirs * 1.02, `${ours} bytes, git has ${theirs}`);
  });
});
