import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Catalog, Pack } from '../catalog/mod.ts';
import { PackBytes } from '../packread/mod.ts';
import { createFsStore } from '../packstore/mod.ts';
import { scratchFolder, seededBytes } from '../testkit/mod.ts';
import { AnswerCache, AnswerRecorder } from './answers.ts';
import { keptPieces } from './kept-pieces.ts';

interface Stretch {
  readonly pack: Pack;
  readonly offset: number;
  readonly lengthBytes: number;
}

const COUNTS = { objectCount: 1, expandedCount: 0 };

describe('answers that are kept', () => {
  function cacheWith(bytesMax: number) {
    const clock = { nowMs: 0 };
    const cache = new AnswerCache(bytesMax, undefined, () => clock.nowMs);
    const keep = (key: string, lengthBytes: number): void => {
      const recorder = cache.recorder();
      recorder.made(Buffer.alloc(lengthBytes));
      const answer = recorder.finish(COUNTS);
      if (answer !== null) cache.keep(key, answer);
    };
    return { cache, clock, keep };
  }

  test('take no more memory than they may: the least recently used go', () => {
    const { cache, keep } = cacheWith(20_000);
    for (const key of 'abcdefghi') keep(key, 1000);
    assert.ok(cache.get('a') !== null);
    keep('j', 1000);
    assert.deepEqual(
      [...'abcdefghij'].filter((key) => cache.get(key) !== null),
      [...'acdefghij'],
    );
    assert.ok(cache.bytes <= 20_000);
  });

  test('let go of the least recently used when they are limited', () => {
    const { cache, keep } = cacheWith(20_000);
    const held = (): string[] => [...'abcdefgh'].filter((key) => cache.get(key) !== null);
    for (const key of 'abcdefgh') keep(key, 1000);
    const bytesOfOne = cache.bytes / 8;
    cache.limitTo((2 * bytesOfOne) / 20_000);
    assert.deepEqual([held(), cache.bytes], [['g', 'h'], 2 * bytesOfOne]);
    keep('a', 1000);
    assert.deepEqual(held(), ['a', 'h']);
    cache.limitTo(1);
    keep('b', 1000);
    assert.deepEqual(held(), ['a', 'b', 'h']);
  });

  test('take no more memory together while they are noted', () => {
    const { cache } = cacheWith(20_000);
    const noted = (recorder: AnswerRecorder): boolean => recorder.finish(COUNTS) !== null;
    const begin = (): AnswerRecorder => {
      const recorder = cache.recorder();
      recorder.made(Buffer.alloc(9000));
      return recorder;
    };
    const [first, second, third] = [begin(), begin(), begin()];
    assert.equal(noted(third), false, 'two are all that there is room for');
    first.giveUp();
    first.giveUp();
    const fourth = begin();
    assert.deepEqual([noted(first), noted(second), noted(fourth)], [false, true, true]);
    assert.ok(noted(begin()));
    assert.ok(noted(begin()), 'whoever is done with has given back all');

    const wide = cacheWith(100_000).cache;
    const ofRows = Array.from({ length: 5 }, () => {
      const recorder = wide.recorder();
      for (let i = 0; i < 2000; i++) recorder.stretch({} as Pack, i * 10, 1);
      return noted.bind(null, recorder);
    });
    assert.deepEqual(
      ofRows.map((isNoted) => isNoted()),
      [true, true, true, true, false],
      'rows count too',
    );
  });

  test('are let go when nobody asks for them', () => {
    const { cache, clock, keep } = cacheWith(100_000);
    keep('old', 10);
    keep('used', 10);
    clock.nowMs = 200_000;
    assert.ok(cache.get('used') !== null);
    clock.nowMs = 400_000;
    keep('new', 10);
    assert.deepEqual([cache.get('old') === null, cache.get('used') === null], [true, false]);
  });

  test('are no larger than a part of the memory, and hold nothing but their bytes', () => {
    const { cache, keep } = cacheWith(10_000);
    keep('large', 6000);
    assert.equal(cache.get('large'), null);
    assert.equal(cache.bytes, 0);
    const recorder = new AnswerRecorder(1000);
    const slab = Buffer.alloc(100_000, 7);
    recorder.made(slab.subarray(5, 10));
    assert.equal(recorder.finish(COUNTS)?.made.buffer.byteLength, 5);
  });
});

describe('an answer that was kept', () => {
  const LENGTH_BYTES = 7 << 20;
  const store = createFsStore({ root: scratchFolder() });
  const packs = [1, 2].map((id) => {
    const pack = { id, tier: 'store', crateKey: `crates/00/${id}.pack`, extentOffset: id * 3, lengthBytes: LENGTH_BYTES };
    return { pack: pack as Pack, bytes: seededBytes(id, LENGTH_BYTES) };
  });

  async function read(bytes: PackBytes, pieces: readonly (Stretch | Buffer)[]): Promise<Buffer> {
    const recorder = new AnswerRecorder(1 << 20);
    for (const piece of pieces) {
      if (Buffer.isBuffer(piece)) recorder.made(piece);
      else recorder.stretch(piece.pack, piece.offset, piece.lengthBytes);
    }
    const answer = recorder.finish(COUNTS)!;
    const parts: Buffer[] = [];
    for await (const piece of keptPieces(bytes, 1, answer, {
      signal: new AbortController().signal,
      pieceBytes: () => 1 << 20,
    }))
      parts.push(Buffer.from(piece));
    return Buffer.concat(parts);
  }

  test('is the same bytes, whatever is cached', async () => {
    for (const { pack, bytes } of packs) await store.put(pack.crateKey!, Buffer.concat([Buffer.alloc(pack.extentOffset), bytes]));
    const stretch = fc
      .tuple(fc.nat(1), fc.nat(LENGTH_BYTES - 1), fc.oneof(fc.nat(300), fc.nat(70_000), fc.nat(5 << 20)))
      .map(([which, offset, length]): Stretch => {
        const lengthBytes = Math.min(length + 1, LENGTH_BYTES - offset);
        return { pack: packs[which]!.pack, offset, lengthBytes };
      });
    const made = fc.uint8Array({ minLength: 1, maxLength: 50 }).map((bytes) => Buffer.from(bytes));
    // A cache for everything, for two blocks, for none.
    const readers = [64 << 20, 2 << 20, 0].map((bytesMax) => new PackBytes({} as Catalog, store, bytesMax));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(stretch, made), { maxLength: 12 }), async (pieces) => {
        const due = pieces.map((piece) =>
          Buffer.isBuffer(piece)
            ? piece
            : packs[piece.pack.id - 1]!.bytes.subarray(piece.offset, piece.offset + piece.lengthBytes),
        );
        for (const reader of readers) assert.ok((await read(reader, pieces)).equals(Buffer.concat(due)));
      }),
      { numRuns: 40 },
    );
  });

  test('is noted in as few stretches as it has', async () => {
    const recorder = new AnswerRecorder(1 << 20);
    const { pack } = packs[0]!;
    recorder.stretch(pack, 12, 100);
    recorder.stretch(pack, 112, 50);
    recorder.stretch(pack, 200, 1);
    recorder.made(Buffer.from('x'));
    recorder.stretch(pack, 201, 0);
    recorder.made(Buffer.from('yz'));
    const { from, offsets, lengths, made } = recorder.finish(COUNTS)!;
    assert.deepEqual([[...from], [...offsets], [...lengths], `${made}`], [[0, 0, -1], [12, 200, 0], [150, 1, 3], 'xyz']);
  });
});
