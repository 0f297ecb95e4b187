/**
 * reach: who may see what, and what a client lacks. The commit graph of a pool in typed arrays, the view of a repository at one snapshot,
 * the proof that its refs reach an object, and the walks that find what a fetch must send.
 *
 * Promises: presence in the pool proves nothing; every answer here comes from a repository's own refs. Views never change under a request.
 */
export { type CommitRange, commitRange, type RangeOptions } from './ancestry.ts';
export { type Connectivity, checkConnectivity, type IncomingLinks, linkKey } from './connectivity.ts';
export { CommitGraph } from './graph.ts';
export { flood, NodeSet } from './marks.ts';
export type { PackReach } from './pack-reach.ts';
export { PoolView } from './pool-view.ts';
export { proveReached } from './prove.ts';
export { Repositories } from './repositories.ts';
export { type PackPart, RepositoryView, tipsWithin } from './repository-view.ts';
export { diffTree, listTree, type TreeSource } from './tree-walk.ts';
