/**
 * testkit: what tests of several rooms share. Only tests import it.
 *
 * - `startTestDatabase`: a database of its own on real PostgreSQL, `useCatalog`: a suite's, with a catalog; `startServer`: the real server as a process.
 * - `PostgresProxy`, `withFaultyLine`: on the way to PostgreSQL and to a store, where requests come to grief.
 * - `TestPool`: a pool into which packs are put as they are told, past the push.
 * - `git`, `makeRepository`, `FastImport`, `syntheticHistory`, `npmHistory`: the machine's git, and histories that are the same in every run.
 * - `entry`, `buildPack`, … and `MALFORMED_PACKS`: packs by hand; `sendPush`, `sendFetch`, …: requests by hand.
 * - `fuzz` and `mutants`: a target tried with real inputs to which something was done, shortly or for as long as it is told; with
 *   coverage-hook.ts preloaded (`make fuzz COVERAGE=yes`) inputs are guided by the branches that they reach.
 */
export { type CatalogBench, useCatalog } from './catalog.ts';
export { startTestDatabase, type TestDatabase } from './database.ts';
export { FastImport, type FileChange } from './fast-import.ts';
export { type Trick, type TrickFor, withFaultyLine } from './faulty-line.ts';
export { scratchFolder } from './folder.ts';
export { fuzz, nullWhenRefused, unlessRefused } from './fuzz.ts';
export { type GitResult, git, makeRepository, reachableObjects, refLines, tryGit } from './git.ts';
export { seededBytes, seededRandom, syntheticHistory } from './history.ts';
export { bigBlobPack, MALFORMED_PACKS, SOUND_PACK } from './malformed-packs.ts';
export { type Mutant, mutants } from './mutate.ts';
export { npmHistory } from './npm-history.ts';
export { describeOnAStore, describeOnStores } from './on-stores.ts';
export { buildDelta, buildPack, commitBody, type DeltaOp, entry, ofsDelta, oidOf, refDelta, treeBody } from './pack-builder.ts';
export { PostgresProxy, type QueryFault } from './postgres-proxy.ts';
export {
  peakMemoryBytes,
  resetPeakMemory,
  type ServerOptions,
  type StoreKind,
  startServer,
  type TestPeer,
  type TestServer,
  testStores,
} from './server.ts';
export { type StoredEntry, TestPool } from './stored-pool.ts';
export {
  DELIM_PACKET,
  FLUSH_PACKET,
  fetchCommand,
  packet,
  type RefUpdate,
  readPackets,
  readPushAnswer,
  refusalOf,
  sendFetch,
  sendPush,
  type WireAnswer,
  wireRequest,
  ZERO_OID,
} from './wire.ts';
