import { type DeepenRequest, INFINITE_DEPTH, type ShallowUpdate } from '../protocol/mod.ts';
import { type CommitGraph, commitRange, NodeSet, type RepositoryView } from '../reach/mod.ts';
import { commitOf, FetchRefusal, type Ownership } from './negotiate.ts';
import { refsNamed } from './short-names.ts';

/** How a fetch's history is cut. */
export interface ShallowPlan {
  /** What the client is told; null when nothing was asked for. */
  readonly update: ShallowUpdate | null;
  /** Commits whose parents are not followed, neither on the client's side nor on ours. */
  readonly cut: ReadonlySet<number>;
  /** Parents of commits that the client no longer cuts at: wanted too. */
  readonly extraWants: readonly number[];
  /** Whether history is cut anywhere: then nothing may be assumed of what the client has below its commits. */
  readonly isShallow: boolean;
}

/** Works out which commits become shallow and which stop being so, as upload-pack's `deepen` does. @throws FetchRefusal */
export function planShallow(
  view: RepositoryView,
  owns: Ownership,
  wants: readonly number[],
  clientShallow: readonly string[],
  deepen: DeepenRequest,
): ShallowPlan {
  const { graph } = view.pool;
  const client = clientShallow.map((hex) => graph.findHex(hex)).filter((node) => node >= 0 && graph.isCommit(node) && owns(node));
  const clientSet = new Set(client);
  const byRevisions = deepen.since !== null || deepen.not.length > 0;
  if (deepen.depth > 0 && byRevisions) {
    throw new FetchRefusal('upload-pack: deepen and deepen-since (or deepen-not) cannot be used together');
  }
  const heads = wants.map((node) => commitOf(graph, node)).filter((node) => node >= 0);
  let border: Border;
  if (byRevisions) border = borderByRevisions(view, heads, deepen);
  else if (deepen.depth >= INFINITE_DEPTH) border = { shallow: [], inside: new Set(client) };
  // What only the push log still reaches is not deepened: git counts from the shallow commits that its refs reach.
  else if (deepen.depth > 0 && deepen.relative)
    border = borderByDepth(
      graph,
      client.filter((node) => view.reached().has(node)),
      deepen.depth + 1,
    );
  else if (deepen.depth > 0) border = borderByDepth(graph, heads, deepen.depth);
  else return { update: null, cut: clientSet, extraWants: [], isShallow: client.length > 0 };

  const shallow = border.shallow.filter((node) => !clientSet.has(node) && !border.inside.has(node));
  const unshallow = client.filter((node) => border.inside.has(node));
  const extraWants: number[] = [];
  for (const node of unshallow) for (let i = 0; i < graph.parentCount(node); i++) extraWants.push(graph.parent(node, i));
  return {
    update: { shallow: shallow.map((node) => graph.hex(node)), unshallow: unshallow.map((node) => graph.hex(node)) },
    cut: new Set([...shallow, ...client]),
    extraWants,
    isShallow: shallow.length > 0 || client.length > 0,
  };
}

interface Border {
  /** Commits at the border, in the order found. */
  readonly shallow: readonly number[];
  /** Commits well inside: their parents are sent. */
  readonly inside: ReadonlySet<number>;
}

/** Commits fewer than `depth` steps away are inside; those `depth - 1` steps away are the border, roots among them. */
function borderByDepth(graph: CommitGraph, heads: readonly number[], depth: number): Border {
  const seen = new Set<number>();
  const inside = new Set<number>();
  const shallow: number[] = [];
  let level = [...new Set(heads)];
  for (let distance = 1; level.length > 0; distance++) {
    const next: number[] = [];
    for (const node of level) {
      if (seen.has(node)) continue;
      seen.add(node);
      if (distance >= depth) {
        shallow.push(node);
        continue;
      }
      inside.add(node);
      for (let i = 0; i < graph.parentCount(node); i++) next.push(graph.parent(node, i));
    }
    level = next;
  }
  return { shallow, inside };
}

/** History newer than a date and outside what some refs reach; its border are the commits with a parent beyond. */
function borderByRevisions(view: RepositoryView, heads: readonly number[], deepen: DeepenRequest): Border {
  const { graph } = view.pool;
  const excluded = deepen.not.map((name) => commitOf(graph, refNode(view, name))).filter((node) => node >= 0);
  const since = deepen.since ?? Number.NEGATIVE_INFINITY;
  const { commits } = commitRange(graph, heads, excluded, { cut: (node) => graph.time(node) < since });
  const inside = new NodeSet();
  const kept = commits.filter((node) => graph.time(node) >= since);
  for (const node of kept) inside.add(node);
  if (kept.length === 0) throw new FetchRefusal('upload-pack: no commits selected for shallow requests');
  const shallow = kept.filter((node) => {
    for (let i = 0; i < graph.parentCount(node); i++) if (!inside.has(graph.parent(node, i))) return true;
    return false;
  });
  const border = new Set(shallow);
  return { shallow, inside: new Set(kept.filter((node) => !border.has(node))) };
}

/** The ref that a short name stands for, where there is no doubt. */
function refNode(view: RepositoryView, name: string): number {
  const found = refsNamed(view, name);
  if (found.length !== 1) throw new FetchRefusal(`git upload-pack: ambiguous deepen-not: ${name}`);
  return view.pool.graph.find(found[0]!.oid);
}
