import type { ChunkedBlob, ChunkPack } from '../ingest/mod.ts';
import type { ManifestPack, ManifestRecipe, ManifestUpdate, StoredPack } from '../packing/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';
import type { PackFacts } from './place-pack.ts';

/**
 * What the manifest tells of a push's pack: enough for a new catalog, if this one is lost before its next snapshot. `pushedAt` is by PostgreSQL's
 * clock, as pushes of several servers will be done again in its order.
 */
export function pushedPack(
  packId: number,
  pushedAt: Date,
  { table, lengthBytes, checksum }: StoredPack,
  chunkedCount: number,
  facts: PackFacts,
  updates: readonly ManifestUpdate[],
  { id: repositoryId, owner, name, private: isPrivate, format, pool: { poolId } }: RepositoryView,
): ManifestPack {
  const push = { pushId: null, repositoryId, owner, name, private: isPrivate, pushedAt, updates };
  const extent = { extentOffset: 0, lengthBytes, objectCount: table.objectCount, chunkedCount, checksum };
  return { poolId, packId, format, tier: 'store', origin: 'push', ...extent, ...facts, inputs: [], pushes: [push] };
}

/** The same of the pack of its new chunks. */
export function pushedChunks(
  packId: number,
  { lengthBytes, objectCount, checksum }: ChunkPack,
  { format, pool: { poolId } }: RepositoryView,
): ManifestPack {
  const extent = { extentOffset: 0, lengthBytes, objectCount, chunkedCount: 0, checksum };
  const facts = { allReached: false, based: false, hasDuplicates: false, tips: Buffer.alloc(0) };
  return { poolId, packId, format, tier: 'chunks', origin: 'push', ...extent, ...facts, inputs: [], pushes: [] };
}

/** The recipes of the push's chunked blobs; new chunks are in `chunkPackId`. */
export function* pushedRecipes(
  poolId: number,
  packId: number,
  chunked: readonly ChunkedBlob[],
  chunkPackId: number | null,
): Generator<ManifestRecipe> {
  for (const { oid, recipe } of chunked) {
    const packIds = recipe.packIds.map((id) => (id === 0 ? (chunkPackId ?? 0) : id));
    yield { poolId, packId, oid, recipe: { ...recipe, packIds } };
  }
}
