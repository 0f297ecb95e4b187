/**
 * maintenance: what an operator runs beside the server. `fsck` compares the catalog with the store and both with the packs' content.
 *
 * Promises: changes nothing; every pack that is read is read from end to end by the same code that verifies a push, so "sound" means here
 * what it means there; a problem names the pack, the offset and the oid. Memory is bounded by one pack's table, the pool's index and sets of its oids.
 */
export { type FsckOptions, type FsckSummary, fsck } from './fsck.ts';
export { type Problem, problemLine } from './problems.ts';
export { type OrphanReport, type RetireReport, type RetireSettings, removeOrphans, retire } from './retire.ts';
export { type SealOptions, type SealReport, seal } from './seal.ts';
export type { RewriteSettings } from './settings.ts';
export { Throttle } from './throttle.ts';
