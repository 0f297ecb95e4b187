import type { SwapOutput } from '../catalog/mod.ts';
import { type ObjectFormat, oidLength } from '../object/mod.ts';
import { type ManifestPack, type ManifestRecipe, writeManifest } from '../packing/mod.ts';
import type { RewriteSettings } from './settings.ts';

/** A pack of a crate, as the swap that brings it tells of it. */
export interface ManifestInput {
  readonly poolId: number;
  readonly format: ObjectFormat;
  /** Packs that it takes the place of, with others of the same swap. */
  readonly inputs: readonly number[];
  readonly output: SwapOutput;
}

const RECIPES_AT_ONCE = 16;

/** Stores the manifest of a crate that maintenance has made: with the pushes that brought the packs which it replaces. */
export async function writeCrateManifest(
  settings: RewriteSettings,
  key: string,
  origin: string,
  crate: readonly ManifestInput[],
  signal: AbortSignal,
): Promise<void> {
  const packs: ManifestPack[] = [];
  for (const { poolId, format, inputs, output } of crate) {
    const { packId, extentOffset, lengthBytes, objectCount, checksum, allReached, based, hasDuplicates, tips, tables } = output;
    const from = tables.kind === 'copied' ? [tables.packId] : inputs;
    packs.push({
      poolId,
      packId,
      format,
      tier: 'store',
      origin,
      extentOffset,
      lengthBytes,
      objectCount,
      chunkedCount: output.chunkedOids.length / oidLength(format),
      checksum,
      allReached,
      based,
      hasDuplicates,
      tips,
      inputs: from,
      pushes: await settings.catalog.maintenance.pushesOf(poolId, from),
    });
  }
  await writeManifest(settings.store, key, packs, recipesOf(settings, crate), signal);
}

/** Recipes of the chunked blobs of new packs: those of the packs that they replace, of each blob one. */
async function* recipesOf({ catalog }: RewriteSettings, crate: readonly ManifestInput[]): AsyncGenerator<ManifestRecipe> {
  for (const { poolId, format, inputs, output } of crate) {
    const width = oidLength(format);
    const open = new Set<string>();
    const { packId, chunkedOids } = output;
    for (let at = 0; at < chunkedOids.length; at += width) open.add(chunkedOids.toString('hex', at, at + width));
    for (const from of inputs) {
      if (open.size === 0) break;
      const blobs = (await catalog.chunks.blobsOf(poolId, from)).filter(({ oid }) => open.delete(oid.toString('hex')));
      for (let i = 0; i < blobs.length; i += RECIPES_AT_ONCE) {
        const wanted = blobs.slice(i, i + RECIPES_AT_ONCE).map(({ oid }) => ({ packId: from, oid }));
        for (const { oid, recipe } of await catalog.chunks.recipes(poolId, wanted)) yield { poolId, packId, oid, recipe };
      }
    }
  }
}
