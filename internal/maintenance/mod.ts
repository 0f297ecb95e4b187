/**
 * maintenance: what keeps the store in shape, beside serving. `fsck` compares the catalog with the store and both with the packs' content; `seal`
 * turns the tail into packs of the store; `compact` merges packs and brings small crates together; `retire` removes what nobody may read any more; `runMaintenance` does all that by itself.
 *
 * Promises: an error means that packs are kept; what is replaced stays readable for those that read it; everything may be killed anywhere and is
 * done by the next one. `fsck` changes nothing; every pack that is read is read from end to end by the same code that verifies a push, so "sound" means here
 * what it means there; a problem names the pack, the offset and the oid. Memory is bounded by one pack's table, the pool's index and sets of its oids.
 */
export { type CompactOptions, type CompactReport, compact, planCompaction } from './compact.ts';
export {
  type ChunkCompactReport,
  type ChunkMerge,
  compactChunks,
  planChunkMerges,
} from './compact-chunks.ts';
export { type FsckOptions, type FsckSummary, fsck } from './fsck.ts';
export { LateBitmaps } from './late-bitmaps.ts';
export type { CompactPlan } from './plan-compact.ts';
export { type Problem, problemLine } from './problems.ts';
export { Rest } from './rest.ts';
export { type OrphanReport, type RetireReport, type RetireSettings, removeOrphans, retire } from './retire.ts';
export { type JobKind, type MaintenanceOptions, runMaintenance } from './run.ts';
export type { SampleOptions } from './sample.ts';
export { type SealOptions, type SealReport, seal, tailsAreDue } from './seal.ts';
export type { RewriteSettings } from './settings.ts';
export { type SweepReport, type SweepSettings, sweepInTurn, sweepPool } from './sweep.ts';
export { Throttle } from './throttle.ts';
export { type ChainEntry, type ChunkPlace, type CopyPlace, whereIs } from './where.ts';
