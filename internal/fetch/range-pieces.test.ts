import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Catalog, Pack } from '../catalog/mod.ts';
import { PackBytes } from '../packread/mod.ts';
import { createMemoryStore } from '../packstore/mod.ts';
import { seededBytes } from '../testkit/mod.ts';
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
    views: async (_pool: number, _pack: Pack, offset: number, lengthBytes: number) => {
      asked.push(offset);
      return [Buffer.alloc(lengthBytes)];
    },
  } as unknown as PackBytes;
  const pieces = rangePieces(bytes, 1, {} as Pack, 0, 60, { signal: new AbortController().signal, pieceBytes: () => 10 });
  await pieces.next();
  assert.deepEqual(asked, [0, 10, 20]);
  await pieces.next();
  assert.deepEqual(asked, [0, 10, 20, 30]);
});
