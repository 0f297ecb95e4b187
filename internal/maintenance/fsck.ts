import type { Catalog, Repository } from '../catalog/mod.ts';
import type { ObjectFormat } from '../object/mod.ts';
import { PackBytes } from '../packread/mod.ts';
import { type PackStore, sidecarKey } from '../packstore/mod.ts';
import { checkChunkedBlobs, checkChunkPacks } from './check-chunks.ts';
import { checkFacts } from './check-facts.ts';
import { checkBytes, checkContent } from './check-pack.ts';
import { checkRefs } from './check-refs.ts';
import { PoolContent } from './pool-content.ts';
import { type Problem, ProblemList } from './problems.ts';
import { drawSample, type Sample, type SampleOptions } from './sample.ts';

export interface FsckOptions {
  readonly catalog: Catalog;
  readonly store: PackStore;
  /** The repository to check, with the packs of its pool; null checks everything. */
  readonly repository: Repository | null;
  /** Leave the packs' contents unread: only that they are there, and that everything that refs reach is. */
  readonly connectivityOnly: boolean;
  /** Read the contents of a random part of the packs only; the rest is checked all the same. */
  readonly sample?: SampleOptions | null;
  /** A pack up to this size is checked in memory; a larger one by way of a temporary file. */
  readonly memoryBytesMax: number;
  readonly cacheBytesMax: number;
  /** How long a sweep keeps what refs have let go. */
  readonly retentionMs: number;
  /** Told of each problem as it is found. */
  readonly onProblem: (problem: Problem) => void;
  readonly onProgress?: (text: string) => void;
}

/** How much was looked at. A check that looked at nothing has found nothing. */
export interface FsckSummary {
  readonly pools: number;
  readonly packs: number;
  /** Of them, chunk packs too: those that were read. */
  readonly packsRead: number;
  readonly objects: number;
  readonly repositories: number;
  readonly refs: number;
  /** Uploads that were begun and not published: running pushes, and what killed processes left. No problem, but no use either. */
  readonly unfinishedUploads: number;
  readonly problems: number;
}

/**
 * Compares catalog, store and content with each other and changes nothing. Safe beside a running server: packs are immutable, rows are
 * read in whole snapshots, and the bucket is listed before the catalog.
 *
 *   for each pool   load what the catalog says; each pack's bytes, content, index, .idx, graph and facts
 *   for each repository   what its refs reach
 *   at the end   rows and objects of the store that belong to nothing
 */
export async function fsck(options: FsckOptions): Promise<FsckSummary> {
  const { catalog, store, repository } = options;
  const counts = { pools: 0, packs: 0, packsRead: 0, objects: 0, repositories: 0, refs: 0, unfinishedUploads: 0, problems: 0 };
  const report = (problem: Problem): void => {
    counts.problems++;
    options.onProblem(problem);
  };
  const listed = repository === null ? await listCrates(store) : [];
  const repositories = repository === null ? await catalog.listRepositories() : [repository];
  const bytes = new PackBytes(catalog, store, options.cacheBytesMax);
  const pools = await catalog.pools(repository?.poolId ?? null);
  const { sample } = options;
  const drawn = sample === undefined || sample === null ? () => true : await drawSample(catalog, pools, sample);
  const reads: Sample = (poolId, packId) => !options.connectivityOnly && drawn(poolId, packId);
  for (const pool of pools) {
    counts.pools++;
    await checkPool(
      options,
      bytes,
      pool,
      repositories.filter((one) => one.poolId === pool.id),
      reads,
      report,
      counts,
    );
  }
  for (const { poolId, packId, what } of await catalog.orphanRows(repository?.poolId ?? null)) {
    report({ kind: 'orphan', pool: poolId, ...(packId === null ? {} : { pack: packId }), message: what });
  }
  if (repository === null) counts.unfinishedUploads = await checkCrates(catalog, store, listed, report);
  return counts;
}

type Counts = { -readonly [K in keyof FsckSummary]: FsckSummary[K] };

async function checkPool(
  options: FsckOptions,
  bytes: PackBytes,
  pool: { readonly id: number; readonly format: ObjectFormat },
  repositories: readonly Repository[],
  reads: Sample,
  report: (problem: Problem) => void,
  counts: Counts,
): Promise<void> {
  const { catalog, store } = options;
  // Refs before packs: whatever a ref names was published before it was read here, and its packs are loaded after.
  const states = [];
  for (const { owner, name } of repositories)
    states.push({ owner, name, state: await catalog.repositoryState(owner, name, null) });
  const roots = await catalog.sweep.roots(pool.id, options.retentionMs);
  const content = await PoolContent.load(catalog, bytes, pool, report);
  const kept = content.nodesFrom(roots?.oids ?? Buffer.alloc(0));
  const parts = { catalog, store, memoryBytesMax: options.memoryBytesMax };
  const chunkPacks = new Map((await catalog.chunks.packs(pool.id, null)).map((pack) => [pack.id, pack]));
  for (const chunkPack of chunkPacks.values()) {
    const isRead = reads(pool.id, chunkPack.id);
    if (isRead) counts.packsRead++;
    await checkChunkPacks(parts, content, [chunkPack], isRead, report);
  }
  for (const pack of content.packs) {
    counts.packs++;
    options.onProgress?.(`pool ${pool.id}: pack ${pack.id} (${counts.packs} so far)`);
    const problems = new ProblemList(report, { pool: pool.id, pack: pack.id });
    const isRead = reads(pool.id, pack.id);
    if (isRead) counts.packsRead++;
    const isThere = await checkBytes(parts, content, pack, problems);
    const chunked = await checkChunkedBlobs(parts, content, pack, chunkPacks, isRead, problems);
    if (isThere && isRead) {
      const verified = await checkContent(parts, content, pack, problems);
      if (verified !== null) {
        counts.objects += verified.objectCount + chunked.size;
        await checkFacts(content, pack, verified, chunked, kept, problems);
      }
    }
    problems.end();
  }
  for (const { owner, name, state } of states) {
    // Renamed, deleted or replaced since it was listed.
    if (state === null || state.poolId !== pool.id) continue;
    options.onProgress?.(`${owner}/${name}: refs`);
    const problems = new ProblemList(report, { pool: pool.id, repository: `${owner}/${name}` });
    counts.repositories++;
    counts.refs += await checkRefs(content, state, problems);
    problems.end();
  }
}

async function listCrates(store: PackStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list('crates/')) keys.push(key);
  return keys;
}

/** Objects of the store that no row names. The listing may lag, so each is looked for once more. The number of unfinished uploads. */
async function checkCrates(
  catalog: Catalog,
  store: PackStore,
  listed: readonly string[],
  report: (problem: Problem) => void,
): Promise<number> {
  const crates = await catalog.crates();
  const named = new Set<string>();
  let unfinished = 0;
  for (const [key, state] of crates) {
    named.add(key);
    for (const extension of ['idx', 'reach', 'manifest', 'sums'] as const) named.add(sidecarKey(key, extension));
    if (state === 'intent' || state === 'aborting') unfinished++;
  }
  for (const key of listed) {
    if (named.has(key) || (await store.head(key)) === null) continue;
    report({ kind: 'orphan', message: `${key} is in the store, but no pack of the catalog names it` });
  }
  return unfinished;
}
