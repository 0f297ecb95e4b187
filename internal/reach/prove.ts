import { PackhouseError } from '../base/mod.ts';
import { KIND_BLOB, KIND_TREE, OidMap } from '../object/mod.ts';
import { NodeSet } from './marks.ts';
import type { Closure, PackPart, RepositoryView } from './repository-view.ts';
import { listTree } from './tree-walk.ts';

/** How many trees and blobs a walk may visit before it gives up: an answer of "not proven", never a wrong one. */
const WALK_OBJECTS_MAX = 30_000_000;

/**
 * For each raw oid, whether this repository's own refs reach it: 1 or 0. Presence in the pool is never an answer. In order of cost: the
 * commit graph; packs that are reached as a whole; bitmaps; a walk of the trees from this repository's tips. In a pool that is shared the walk
 * looks for what is stored nowhere too, so that the time it takes does not tell what others have stored.
 */
export async function proveReached(view: RepositoryView, oids: Buffer, signal?: AbortSignal): Promise<Uint8Array> {
  const width = view.pool.graph.oidBytes;
  const count = oids.length / width;
  const proven = new Uint8Array(count);
  const reached = view.reached();
  const open: number[] = [];
  for (let i = 0; i < count; i++) {
    const node = view.pool.graph.find(oids, i * width);
    if (node >= 0 && reached.has(node)) proven[i] = 1;
    else open.push(i);
  }
  if (open.length === 0) return proven;
  const { index, graph } = view.pool;
  const slabOf = (rows: readonly number[]): Buffer => Buffer.concat(rows.map((i) => oids.subarray(i * width, (i + 1) * width)));
  const locations = await index.find(slabOf(open));
  const stored = new Set(open.filter((_, at) => locations[at] !== null));
  const elsewhere = open.filter((i, at) => {
    const location = locations[at];
    if (location && view.packReached(location.pack)) proven[i] = 1;
    return proven[i] === 0;
  });
  if (elsewhere.length === 0) return proven;
  // Of several copies `find` gives one, and that may be another fork's.
  const copies = await index.among(slabOf(elsewhere), (pack) => view.packReached(pack));
  const left = elsewhere.filter((i, at) => {
    if (copies[at]) proven[i] = 1;
    return proven[i] === 0;
  });
  const hides = left.length > 0 && !reachesEveryPack(view) && (await view.pool.isShared());
  const walk = hides ? left : left.filter((i) => stored.has(i) && graph.find(oids, i * width) < 0);
  if (walk.length > 0) {
    const wanted = new OidMap(width);
    for (const i of walk) wanted.add(oids, i * width);
    const closure = await closureFor(view, wanted, signal);
    for (const i of walk) if (holds(closure, oids, i * width)) proven[i] = 1;
  }
  return proven;
}

/** Whether everything in the pool is this repository's: then what is stored nowhere needs no walk. */
function reachesEveryPack(view: RepositoryView): boolean {
  for (const pack of view.pool.index.packs.values()) if (!view.packReached(pack)) return false;
  return true;
}

function holds({ part, seen, base }: Closure, oids: Buffer, at: number): boolean {
  return isIn(part, oids, at) || seen.has(oids, at) || (base !== null && holds(base, oids, at));
}

function isIn(part: PackPart | null, oids: Buffer, at: number): boolean {
  const position = part === null ? -1 : part.reach.positionOf(oids, at);
  return position >= 0 && part!.set.has(position);
}

/**
 * Trees and blobs that the refs reach, at least so many that it is told of each of those wanted: by the bitmaps of the largest pack, then by walking
 * what is not in it, newest commits first, until all are found. With more tips than another view, what that one reaches is not walked again.
 */
async function closureFor(view: RepositoryView, wanted: OidMap, signal?: AbortSignal): Promise<Closure> {
  if (view.closure !== null) return view.closure;
  const base = view.base?.closure ?? null;
  const part = base === null ? await view.reachedInPack() : null;
  const seen = new OidMap(wanted.oidBytes);
  const closure = { part, seen, base };
  const isKnown = (data: Buffer, at: number): boolean => isIn(part, data, at) || (base !== null && holds(base, data, at));
  let left = 0;
  for (let i = 0; i < wanted.size; i++) if (!isKnown(wanted.oid(i), 0)) left++;
  const meet = (data: Buffer, at: number): boolean => {
    if (isKnown(data, at)) return false;
    const known = seen.size;
    seen.add(data, at);
    if (seen.size === known) return false;
    if (wanted.has(data, at)) left--;
    if (seen.size > WALK_OBJECTS_MAX)
      throw new PackhouseError('walk-limit', `walk visited more than ${WALK_OBJECTS_MAX} objects`);
    return left > 0;
  };
  if (left === 0) return closure;
  const nodes = base === null ? view.reached() : beyond(view, view.base!.reached());
  for (const root of await rootsOf(view, nodes, part)) {
    if (left === 0) return closure;
    signal?.throwIfAborted();
    if (meet(root.oid, 0) && root.kind === KIND_TREE) await listTree(view.pool, view.format, root.oid, meet);
  }
  if (left > 0) view.closure = closure;
  return closure;
}

/** What a view reaches and another one does not. */
function beyond(view: RepositoryView, others: NodeSet): NodeSet {
  const nodes = new NodeSet();
  const reached = view.reached();
  for (let node = 0; node < view.pool.graph.size; node++) if (reached.has(node) && !others.has(node)) nodes.add(node);
  return nodes;
}

/** Root trees of commits that are not in a part of a pack, newest first, and trees and blobs that tags or refs name directly. */
export async function rootsOf(
  view: RepositoryView,
  nodes: NodeSet,
  part: PackPart | null = null,
): Promise<{ oid: Buffer; kind: number }[]> {
  const { graph } = view.pool;
  const commits: number[] = [];
  const roots: { oid: Buffer; kind: number }[] = [];
  for (let node = 0; node < graph.size; node++) {
    if (!nodes.has(node)) continue;
    if (graph.isCommit(node)) {
      const position = part === null ? -1 : part.reach.positionOfNode(node);
      if (position < 0 || !part!.set.has(position)) commits.push(node);
    }
    if (graph.isTag(node) && (graph.targetKind(node) === KIND_TREE || graph.targetKind(node) === KIND_BLOB)) {
      roots.push({ oid: Buffer.from(graph.target(node)), kind: graph.targetKind(node) });
    }
  }
  // Refs on trees and blobs are not in the graph.
  const named = [...view.refs.values()].filter((ref) => graph.find(ref.oid) < 0).map((ref) => ref.oid);
  const locations = await view.pool.index.find(Buffer.concat(named));
  named.forEach((oid, i) => {
    const kind = locations[i]?.kind;
    if (kind !== undefined) roots.push({ oid, kind });
  });
  commits.sort((a, b) => graph.time(b) - graph.time(a));
  for (const node of commits) roots.push({ oid: Buffer.from(graph.target(node)), kind: KIND_TREE });
  return roots;
}
