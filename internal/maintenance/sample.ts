import { createHash } from 'node:crypto';
import type { Catalog } from '../catalog/mod.ts';

/** A random part of all packs; the same seed gives the same part of the same packs. */
export interface SampleOptions {
  /** Of the packs' bytes, above 0 and at most 1. */
  readonly share: number;
  readonly seed: number;
}

/** Whether a pack is to be read. */
export type Sample = (poolId: number, packId: number) => boolean;

/** Draws packs, chunk packs among them, until they come to the share of all bytes: at least one where there is any. */
export async function drawSample(
  catalog: Catalog,
  pools: readonly { readonly id: number }[],
  { share, seed }: SampleOptions,
): Promise<Sample> {
  const all: { key: string; lengthBytes: number; order: Buffer }[] = [];
  for (const pool of pools) {
    const packs = [...(await catalog.packs(pool.id, null)), ...(await catalog.chunks.packs(pool.id, null))];
    for (const { id, lengthBytes } of packs) {
      const key = `${pool.id} ${id}`;
      all.push({ key, lengthBytes, order: createHash('sha256').update(`${seed} ${key}`).digest() });
    }
  }
  all.sort((a, b) => Buffer.compare(a.order, b.order));
  const wanted = share * all.reduce((sum, pack) => sum + pack.lengthBytes, 0);
  const drawn = new Set<string>();
  let bytes = 0;
  for (const { key, lengthBytes } of all) {
    if (bytes >= wanted) break;
    drawn.add(key);
    bytes += lengthBytes;
  }
  return (poolId, packId) => drawn.has(`${poolId} ${packId}`);
}
