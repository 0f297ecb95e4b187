import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { type ChunkRecipe, deltaBetween } from '../chunking/mod.ts';
import type { ChunkedBlobs } from '../packread/mod.ts';
import { versionDelta } from './version-delta.ts';

/** A blob of chunks that are told by name and size. */
function recipeOf(chunks: readonly (readonly [name: string, sizeBytes: number])[]): ChunkRecipe {
  const zeros = new Float64Array(chunks.length);
  return {
    sizeBytes: chunks.reduce((sum, [, sizeBytes]) => sum + sizeBytes, 0),
    adler: 1,
    sha256s: Buffer.concat(chunks.map(([name]) => hash('sha256', name, 'buffer'))),
    packIds: zeros,
    offsets: zeros,
    lengths: zeros,
    sizes: Float64Array.from(chunks, ([, sizeBytes]) => sizeBytes),
    adlers: new Uint32Array(chunks.length),
  };
}

test('a delta of many small edits where much was taken out holds little of its base', async () => {
  const names = Array.from({ length: 400 }, (_, i) => i);
  const base = recipeOf(names.flatMap((i) => [[`kept ${i}`, 16_384] as const, [`old ${i}`, 1_000_000] as const]));
  const result = recipeOf(names.flatMap((i) => [[`kept ${i}`, 16_384] as const, [`new ${i}`, 16_384] as const]));
  let heldBytes = 0;
  const chunked = {
    async *plain(recipe: ChunkRecipe, chunks: readonly number[]) {
      for (const i of chunks) {
        heldBytes += recipe.sizes[i]!;
        yield Buffer.alloc(recipe.sizes[i]!, recipe === base ? 1 : 2);
      }
    },
  } as unknown as ChunkedBlobs;
  const plan = deltaBetween(base, result)!;
  const { deltaBytes } = await versionDelta(chunked, base, result, plan, new AbortController().signal);
  assert.ok(deltaBytes > plan.insertedBytes);
  assert.ok(heldBytes < 32 << 20, `${heldBytes} bytes were held`);
});
