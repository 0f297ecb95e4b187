import { codeOf } from '../base/mod.ts';
import type { Catalog, ChunkedBlob, Push, RefStatus } from '../catalog/mod.ts';
import { SHA256_BYTES } from '../chunking/mod.ts';
import type { ChunkingOptions } from '../ingest/mod.ts';
import type { OutsideBases } from './outside-bases.ts';
import type { PushSettings } from './settings.ts';

/** How the large blobs of a push are cut: by the settings, on the chunks that the pool has. Null when chunking is off. */
export function chunkingOptions(settings: PushSettings, poolId: number, bases: OutsideBases): ChunkingOptions | null {
  if (settings.chunking === null) return null;
  return {
    ...settings.chunking,
    findChunks: (sha256s) => settings.catalog.chunks.find(poolId, sha256s),
    readLargeBase: (oid) => bases.readLarge(oid),
  };
}

/** How often a publication begins again because maintenance has moved chunks that it rests on. */
const ATTEMPTS_MAX = 5;

/**
 * Publishes a push; when chunks that it found in the pool have moved meanwhile, it looks for them again and publishes on what it finds.
 * @throws PackhouseError `chunks-moved` when one is gone: the client has to push again
 */
export async function publishOnChunks(catalog: Catalog, push: Push, format: 'sha1' | 'sha256'): Promise<RefStatus[]> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await catalog.publish(push, format);
    } catch (error) {
      const chunked = push.pack?.chunked ?? [];
      if (codeOf(error) !== 'chunks-moved' || attempt === ATTEMPTS_MAX) throw error;
      const moved = new Set((error as { data: { moved: number[] } }).data.moved);
      for (const blob of chunked) if (!(await findAgain(catalog, push.poolId, blob, moved))) throw error;
    }
  }
}

/** Writes into a recipe where the chunks of moved packs are now; false when one is nowhere. */
async function findAgain(
  catalog: Catalog,
  poolId: number,
  { recipe }: ChunkedBlob,
  moved: ReadonlySet<number>,
): Promise<boolean> {
  const rows: number[] = [];
  for (let i = 0; i < recipe.packIds.length; i++) if (moved.has(recipe.packIds[i]!)) rows.push(i);
  const hashes = rows.map((i) => recipe.sha256s.subarray(i * SHA256_BYTES, (i + 1) * SHA256_BYTES));
  const found = await catalog.chunks.find(poolId, Buffer.concat(hashes));
  // Pack 0 in a recipe is the push's own: what is gone must not look like it.
  if (found.packIds.includes(0)) return false;
  rows.forEach((i, at) => {
    recipe.packIds[i] = found.packIds[at]!;
    recipe.offsets[i] = found.offsets[at]!;
    recipe.lengths[i] = found.lengths[at]!;
  });
  return true;
}
