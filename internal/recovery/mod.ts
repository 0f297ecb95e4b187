/**
 * recovery: the bucket alone gives everything back. Snapshots of the catalog lie in the store beside the crates; `rebuild` makes a new catalog
 * of them and of the packs' own bytes; a backup is a snapshot and the crates that it names, somewhere else. ARCHITECTURE.md has the formats.
 *
 * Promises: a snapshot is the catalog at one moment, and is believed only when every byte of its chain is what was written; an unfinished one
 * changes nothing; nothing is brought back that is not what it was; what is not brought back is named.
 */
export { type BackupReport, backup, type RestoreReport, restore } from './backup.ts';
export { type RebuildReport, rebuild } from './rebuild.ts';
export { type SnapshotReport, writeSnapshot } from './snapshot.ts';
