/**
 * packing: verified objects become packs in a store. A push's pack is written as it came, made self-contained where it was thin, with
 * git's own version 2 index beside it; `tableBlocks` cuts its table into the rows that the catalog keeps. `writeManifest` puts
 * beside a crate what a new catalog would need to know of its packs; ARCHITECTURE.md has the layout.
 */
export {
  type ManifestItem,
  type ManifestPack,
  type ManifestPush,
  type ManifestRecipe,
  type ManifestUpdate,
  readManifest,
  writeManifest,
} from './manifest.ts';
export {
  type ChunkPackInput,
  type ExtraEntry,
  type PackTable,
  type PieceReader,
  type StoredPack,
  type StorePackInput,
  tableBlocks,
  writeChunkPack,
  writeStorePack,
} from './store-pack.ts';
