/**
 * catalog: everything that must be transactional or searchable, in PostgreSQL (db/migrations). Sole user of db/queries.
 *
 * Promises: a push is published by one transaction, whole or not at all (`publish`); a reader that gives its last snapshot back gets
 * every push that was not visible in it, whoever made it (`repositoryState`). Nothing here caches but reserved pack ids.
 */
export { Catalog, type CatalogOptions, followedHead, openCatalog } from './catalog.ts';
export type { ChunkCatalog, ChunkedBlob, ChunkPackRow } from './chunk-catalog.ts';
export type { ChunkMove, ChunkPackSize, UsedChunk } from './chunk-moves.ts';
export { type CatalogFault, catalogFaultOf } from './faults.ts';
export { type ForkRequest, forkRepository, isSharedPool } from './forks.ts';
export type { RefChange } from './history-catalog.ts';
export type { Job, JobState } from './job-catalog.ts';
export type { CrateSummary, PackPush, PackSummary, Swap, SwapOutput, Tail } from './maintenance-catalog.ts';
export type { Hold } from './retire-catalog.ts';
export { crateSizes, type PoolSize, poolSizes } from './sizes.ts';
export type { CatalogSection, CatalogState, LastSnapshot } from './snapshot-catalog.ts';
export type { CatalogLoad, StagedPack } from './snapshot-load.ts';
export type { Condemned, CondemnResult, SweepNews, SweepPack, SweepRoots } from './sweep-catalog.ts';
export type {
  NewPack,
  ObjectBlock,
  Pack,
  PackRecord,
  Push,
  Ref,
  RefCommand,
  RefStatus,
  Repository,
  RepositoryState,
} from './types.ts';
