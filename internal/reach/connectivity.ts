import { KIND_BLOB, KIND_COMMIT, KIND_TAG, KIND_TREE, OidMap, readGraphRecords } from '../object/mod.ts';
import { proveReached } from './prove.ts';
import type { RepositoryView } from './repository-view.ts';
import { diffTree, listTree, type TreeSource } from './tree-walk.ts';

/** A boundary tree listing stops here; what is still open then goes the longer way. */
const BOUNDARY_OBJECTS_MAX = 2_000_000;
/** Up to this many boundary commits are listed. */
const BOUNDARY_COMMITS_MAX = 64;

/** What the proof needs of an incoming pack; VerifiedPack has it. */
export interface IncomingLinks {
  readonly frontier: { readonly oids: Buffer; readonly kinds: Uint8Array };
  readonly bases: Buffer;
  readonly graph: readonly Buffer[];
}

export interface Connectivity {
  /** Every link out of the pack is proven. */
  readonly complete: boolean;
  /** Links out of the pack that are not: keys of `linkKey`. */
  readonly missing: ReadonlySet<string>;
  /** Delta bases outside the pack that are not proven, in hex. */
  readonly missingBases: ReadonlySet<string>;
  /** Trees, blobs and bases outside the pack are all reached from parents of its commits. */
  readonly based: boolean;
}

/** A link as a key: the same oid may be missing as a tree and be there as a commit. */
export function linkKey(kind: number, hex: string): string {
  return `${kind}:${hex}`;
}

interface PackCommit {
  readonly oid: Buffer;
  readonly tree: Buffer;
  readonly parents: readonly Buffer[];
}

/**
 * Proves that every link out of an incoming pack, and every delta base outside it, is reached from this repository's refs. In order:
 * commits by the graph; trees and blobs by comparing new trees with those of their commits' parents, path by path (`trees`: the pack's
 * own trees when they are at hand, else the parents' trees are listed whole); the rest by `proveReached`.
 */
export async function checkConnectivity(
  view: RepositoryView,
  links: IncomingLinks,
  trees: ReadonlyMap<string, Buffer> | null,
): Promise<Connectivity> {
  const width = view.pool.graph.oidBytes;
  const { oids, kinds } = links.frontier;
  const reached = view.reached();
  const missing = new Set<string>();
  const open = new OidMap(width);
  for (let i = 0; i < kinds.length; i++) {
    const kind = kinds[i]!;
    if (kind === KIND_COMMIT || kind === KIND_TAG) {
      const node = view.pool.graph.find(oids, i * width);
      const isKind = node >= 0 && (kind === KIND_COMMIT ? view.pool.graph.isCommit(node) : view.pool.graph.isTag(node));
      if (!isKind || !reached.has(node)) missing.add(linkKey(kind, oids.toString('hex', i * width, (i + 1) * width)));
    } else {
      open.add(oids, i * width);
    }
  }
  for (let at = 0; at < links.bases.length; at += width) open.add(links.bases, at);
  if (open.size === 0) return { complete: missing.size === 0, missing, missingBases: new Set(), based: true };

  const commits = packCommits(links.graph, view);
  const known = trees === null ? await boundaryObjects(view, commits) : await comparedObjects(view, commits, trees, true);
  let left = without(open, known);
  let unproven = await unprovenOf(view, left);
  if (trees !== null && unproven.size > 0) {
    // A tree that is itself unproven may have vouched for others: ask again, and believe the parents outside the pack alone.
    left = without(open, await comparedObjects(view, commits, trees, false));
    unproven = await unprovenOf(view, left);
  }
  await checkKinds(view, links, missing, unproven);
  const missingBases = new Set<string>();
  for (let at = 0; at < links.bases.length; at += width) {
    const hex = links.bases.toString('hex', at, at + width);
    if (unproven.has(hex)) missingBases.add(hex);
  }
  return { complete: missing.size === 0, missing, missingBases, based: left.length === 0 };
}

/** The members of a set that another one lacks. */
function without(set: OidMap, known: OidMap): Buffer[] {
  const left: Buffer[] = [];
  for (let i = 0; i < set.size; i++) if (!known.has(set.oid(i))) left.push(Buffer.from(set.oid(i)));
  return left;
}

async function unprovenOf(view: RepositoryView, oids: readonly Buffer[]): Promise<Set<string>> {
  const proven = await proveReached(view, Buffer.concat(oids));
  return new Set(oids.filter((_, i) => proven[i] === 0).map((oid) => oid.toString('hex')));
}

/** Links to trees and blobs are missing when unproven, or when what is there is of another kind than the link asks for. */
async function checkKinds(
  view: RepositoryView,
  links: IncomingLinks,
  missing: Set<string>,
  unproven: ReadonlySet<string>,
): Promise<void> {
  const width = view.pool.graph.oidBytes;
  const { oids, kinds } = links.frontier;
  const locations = await view.pool.index.find(oids);
  for (let i = 0; i < kinds.length; i++) {
    const kind = kinds[i]!;
    if (kind !== KIND_TREE && kind !== KIND_BLOB) continue;
    const hex = oids.toString('hex', i * width, (i + 1) * width);
    if (unproven.has(hex) || locations[i]?.kind !== kind) missing.add(linkKey(kind, hex));
  }
}

function packCommits(graph: readonly Buffer[], view: RepositoryView): PackCommit[] {
  const width = view.pool.graph.oidBytes;
  const commits: PackCommit[] = [];
  for (const records of graph) {
    readGraphRecords(records, view.format, {
      commit(bytes, oidAt, treeAt, _time, parentsAt, parentCount) {
        const parents: Buffer[] = [];
        for (let i = 0; i < parentCount; i++) parents.push(bytes.subarray(parentsAt + i * width, parentsAt + (i + 1) * width));
        commits.push({ oid: bytes.subarray(oidAt, oidAt + width), tree: bytes.subarray(treeAt, treeAt + width), parents });
      },
      tag() {},
    });
  }
  return commits;
}

/** Root trees of the commits outside the pack that its commits have as parents, as far as the refs reach them. */
function boundaryTrees(view: RepositoryView, commits: readonly PackCommit[]): Map<string, Buffer> {
  const { graph } = view.pool;
  const reached = view.reached();
  const trees = new Map<string, Buffer>();
  for (const commit of commits) {
    for (const parent of commit.parents) {
      const node = graph.find(parent);
      if (node >= 0 && graph.isCommit(node) && reached.has(node))
        trees.set(parent.toString('hex'), Buffer.from(graph.target(node)));
    }
  }
  return trees;
}

/** All that the boundary trees hold, as far as the bounds go. */
async function boundaryObjects(view: RepositoryView, commits: readonly PackCommit[]): Promise<OidMap> {
  const oids = new OidMap(view.pool.graph.oidBytes);
  const trees = boundaryTrees(view, commits);
  if (trees.size > BOUNDARY_COMMITS_MAX) return oids;
  const meet = (data: Buffer, at: number): boolean => {
    const before = oids.size;
    if (before >= BOUNDARY_OBJECTS_MAX) return false;
    oids.add(data, at);
    return oids.size > before;
  };
  for (const tree of trees.values()) if (meet(tree, 0)) await listTree(view.pool, view.format, tree, meet);
  return oids;
}

const NO_ENTRIES = Buffer.alloc(0);

/** A tree that a commit of the pack may name without anyone having it: one that is not there vouches for nothing. */
async function treeOrNothing(view: RepositoryView, oid: Buffer): Promise<Buffer> {
  const object = await view.pool.read(oid);
  return object?.kind === KIND_TREE ? object.data : NO_ENTRIES;
}

/**
 * What stands in the parents' trees at the places where the new trees are new. With `chain` a commit of the pack is compared with parents
 * in the pack too: its unchanged directories then come to light, as long as every link of those parents proves true.
 */
async function comparedObjects(
  view: RepositoryView,
  commits: readonly PackCommit[],
  trees: ReadonlyMap<string, Buffer>,
  chain: boolean,
): Promise<OidMap> {
  const { format } = view;
  const width = view.pool.graph.oidBytes;
  const oids = new OidMap(width);
  const boundary = boundaryTrees(view, commits);
  const done = new OidMap(width);
  const own = new Set<Buffer>();
  const inPack = new Map(chain ? commits.map((commit) => [commit.oid.toString('hex'), commit.tree]) : []);
  const source: TreeSource = {
    tree(oid) {
      const tree = trees.get(oid.toString('hex'));
      if (tree === undefined) return chain ? treeOrNothing(view, oid) : view.pool.tree(oid);
      own.add(tree);
      return tree;
    },
  };
  for (const commit of commits) {
    const olds: Buffer[] = [];
    for (const parent of commit.parents) {
      const hex = parent.toString('hex');
      const outside = boundary.get(hex);
      if (outside !== undefined) oids.add(outside);
      const tree = outside ?? inPack.get(hex);
      if (tree !== undefined) olds.push(tree);
    }
    if (olds.length === 0 || !trees.has(commit.tree.toString('hex'))) continue;
    await diffTree(commit.tree, olds, {
      source,
      format,
      onNew(data, at, kind) {
        if (kind !== KIND_TREE || !trees.has(data.toString('hex', at, at + width))) return false;
        const before = done.size;
        done.add(data, at);
        return done.size > before;
      },
      onOld(data, at) {
        // Only what the parents' own trees say counts as reached; a tree of the pack proves nothing.
        if (!own.has(data)) oids.add(data, at);
      },
    });
  }
  return oids;
}
