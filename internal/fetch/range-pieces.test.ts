import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Catalog, Pack } from '../catalog/mod.ts';
import { PackBytes } from '../packread/mod.ts';
import { createFsStore, createMemoryStore } from '../packstore/mod.ts';
import { scratchFolder, seededBytes, seededRandom } from '../testkit/mod.ts';
import { rangePieces } from './range-pieces.ts';

const MIB = 1 << 20;

test('a range comes whole, in pieces that end where their size does, however that changes', async () => {
  const stored = seededBytes(1, 9 * MIB + 3);
  const pack = { id: 1, tier: 'store', crateKey: 'crates/00/1.pack', extentOffset: 0, lengthBytes: stored.length } as Pack;
  const store = createMemoryStore();
  await store.put(pack.crateKey!, stored);
  const bytes = new PackBytes({} as Catalog, store, MIB);
  for (const sizes of [[4 * MIB], [2 * MIB, 4 * MIB, MIB]]) {
    const { signal } = new AbortController();
    let asked = 0;
    const pieceBytes = (): number => sizes[asked++ % sizes.length]!;
    const pieces: Buffer[] = [];
    let at = 12;
    for await (const piece of rangePieces(bytes, 1, pack, at, stored.length - 20, { signal, pieceBytes })) {
      pieces.push(piece);
      at += piece.length;
      assert(at % MIB === 0 || at === stored.length - 20, `${at}`);
    }
    assert(Buffer.concat(pieces).equals(stored.subarray(12, -20)));
  }
});

test('three pieces are asked for before the first is taken, one more for each that is', async () => {
  const asked: number[] = [];
  const bytes = {
    lend: async (_pool: number, _pack: Pick<Pack, 'id'>, offset: number, lengthBytes: number) => {
      asked.push(offset);
      return { views: [Buffer.alloc(lengthBytes)], release: () => {} };
    },
  };
  const pieces = rangePieces(bytes, 1, {} as Pack, 0, 60, { signal: new AbortController().signal, pieceBytes: () => 10 });
  await pieces.next();
  assert.deepEqual(asked, [0, 10, 20]);
  await pieces.next();
  assert.deepEqual(asked, [0, 10, 20, 30]);
});

test('pieces of answers that are sent side by side stay what they are until the next one is asked for, at any pace', async () => {
  const stored = seededBytes(2, 24 * MIB + 5);
  const store = createFsStore({ root: scratchFolder() });
  const pack = { id: 1, tier: 'store', crateKey: 'crates/00/1.pack', extentOffset: 0, lengthBytes: stored.length } as Pack;
  await store.put(pack.crateKey!, stored);
  const bytes = new PackBytes({} as Catalog, store, MIB);
  async function send(seed: number, leavesAt: number): Promise<void> {
    const random = seededRandom(seed);
    const leaving = new AbortController();
    const pieceBytes = (): number => MIB << random(3);
    const options = { signal: leaving.signal, pieceBytes, forgetsPieces: true };
    let at = random(3 * MIB);
    for await (const piece of rangePieces(bytes, 1, pack, at, stored.length, options)) {
      await new Promise((resolve) => setTimeout(resolve, random(12)));
      assert(piece.equals(stored.subarray(at, at + piece.length)), `${at}`);
      at += piece.length;
      if (at > leavesAt) return leaving.abort(new Error('client gone'));
    }
    assert.equal(at, stored.length);
  }
  await Promise.all(Array.from({ length: 8 }, (_, i) => send(i, i % 3 === 2 ? (1 + i) * MIB : Number.POSITIVE_INFINITY)));
  await store.close();
});

test('memory of pieces is used again by who says that it forgets them, and by nobody else', async () => {
  const store = createFsStore({ root: scratchFolder() });
  const pack = { id: 1, tier: 'store', crateKey: 'crates/00/1.pack', extentOffset: 0, lengthBytes: 40 * MIB } as Pack;
  await store.put(pack.crateKey!, Buffer.alloc(pack.lengthBytes));
  for (const forgetsPieces of [true, false]) {
    const bytes = new PackBytes({} as Catalog, store, MIB);
    const memories = new Set<ArrayBufferLike>();
    const options = { signal: new AbortController().signal, pieceBytes: () => 2 * MIB, forgetsPieces };
    for await (const piece of rangePieces(bytes, 1, pack, 0, pack.lengthBytes, options)) memories.add(piece.buffer);
    // 16 MiB are kept for who asks for the same, and a few pieces are read ahead.
    assert(forgetsPieces ? memories.size <= 12 : memories.size === 20, `${memories.size}`);
  }
  await store.close();
});
