import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { coalesce } from './coalesce.ts';

async function gather(pieces: Buffer[]): Promise<Buffer[]> {
  const given: Buffer[] = [];
  for await (const piece of coalesce(
    (async function* () {
      yield* pieces;
    })(),
  ))
    given.push(Buffer.from(piece));
  return given;
}

test('gathered pieces are the same bytes in the same order', async () => {
  const sizes = fc.array(fc.oneof(fc.nat(40), fc.nat(20_000), fc.integer({ min: 60_000, max: 140_000 })), { maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(sizes, async (lengths) => {
      const pieces = lengths.map((length, i) => Buffer.alloc(length, i + 1));
      assert.ok(Buffer.concat(await gather(pieces)).equals(Buffer.concat(pieces)));
    }),
    { numRuns: 60 },
  );
});

test('many small pieces become few', async () => {
  const pieces = Array.from({ length: 10_000 }, () => Buffer.alloc(100, 7));
  assert.equal((await gather(pieces)).length, Math.ceil(1_000_000 / 65_515));
});

test('a large piece is handed on without a copy', async () => {
  const large = Buffer.alloc(1 << 20, 1);
  const given = coalesce(
    (async function* () {
      yield large;
    })(),
  );
  assert.equal((await given.next()).value, large);
});
