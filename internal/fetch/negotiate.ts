import { PackhouseError } from '../base/mod.ts';
import type { CommitGraph, RepositoryView } from '../reach/mod.ts';
import { NodeSet, proveReached } from '../reach/mod.ts';
import type { FetchSettings } from './settings.ts';

/** What a client wants, proven to be this repository's to give. */
export interface Wants {
  /** Commits and tags, as nodes of the graph, in the order asked for. */
  readonly nodes: readonly number[];
  /** Trees and blobs, raw oids. */
  readonly objects: readonly Buffer[];
  /** By which they were proven: the repository, or with it what its refs have named. */
  readonly by: RepositoryView;
}

const LOGGED_TIPS_MAX = 10_000;

/** A request that git's own server would end with an error packet. */
export class FetchRefusal extends PackhouseError {
  constructor(message: string) {
    super('fetch-refused', message);
    this.name = 'FetchRefusal';
  }
}

/** Whether a node of the pool's graph is this repository's to show. */
export type Ownership = (node: number) => boolean;

/** What the log has is asked again after this time, though nothing was pushed: values leave it with age. */
const LOG_AGE_MS_MAX = 60_000;

/**
 * Ownership by what the refs reach and, while the push log keeps it, have reached. The log is asked, once for each state of the repository, when
 * the client names something that the refs do not reach, be it another fork's or nobody's.
 */
export async function ownership(view: RepositoryView, settings: FetchSettings, named: Iterable<string>): Promise<Ownership> {
  const { graph } = view.pool;
  const reached = view.reached();
  if (settings.logRetentionSeconds > 0) {
    for (const hex of named) {
      const node = graph.findHex(hex);
      if (node >= 0 && reached.has(node)) continue;
      const logged = (await withLog(view, settings)).reached();
      return (candidate) => logged.has(candidate);
    }
  }
  return (candidate) => reached.has(candidate);
}

/** The repository as if what its refs have lately named were refs too; all who ask at a time share it. */
function withLog(view: RepositoryView, settings: FetchSettings): Promise<RepositoryView> {
  const known = view.poolMemo.get('logged') as { readonly logged: Promise<RepositoryView>; readonly until: number } | undefined;
  if (known !== undefined && known.until > performance.now()) return known.logged;
  const seconds = settings.logRetentionSeconds;
  const logged = settings.catalog
    .loggedTips(view.pool.poolId, view.id, seconds, LOGGED_TIPS_MAX)
    .then((tips) => view.withTips(tips));
  logged.catch(() => view.poolMemo.delete('logged'));
  view.poolMemo.set('logged', { logged, until: performance.now() + Math.min(LOG_AGE_MS_MAX, seconds * 1000) });
  return logged;
}

/** Finds the wanted objects. What is not this repository's is answered alike, stored or not. @throws FetchRefusal */
export async function resolveWants(
  view: RepositoryView,
  settings: FetchSettings,
  owns: Ownership,
  wants: readonly string[],
  signal: AbortSignal,
): Promise<Wants> {
  const { graph } = view.pool;
  const oids = wants.map((hex) => Buffer.from(hex, 'hex'));
  const nodes = oids.map((oid) => graph.find(oid));
  const isOwned = nodes.map((node) => node >= 0 && owns(node));
  let open = wants.map((_, i) => i).filter((i) => !isOwned[i]);
  // Another fork's commit takes the way of what is stored nowhere.
  const prove = async (by: RepositoryView): Promise<void> => {
    const proven = await proveReached(by, Buffer.concat(open.map((i) => oids[i]!)), signal);
    open = open.filter((_, at) => proven[at] === 0);
  };
  if (open.length > 0) await prove(view);
  // Trees and blobs of what was left behind: a partial clone asks for them long after it has got the commits.
  const asked = open.length > 0 && settings.logRetentionSeconds > 0;
  if (asked) await prove(await withLog(view, settings));
  if (open.length > 0) throw notOurs(wants[open[0]!]!);
  const reached = view.reached();
  const isByLog = asked || nodes.some((node, i) => isOwned[i] && !reached.has(node));
  const by = isByLog ? await withLog(view, settings) : view;
  return { nodes: nodes.filter((node) => node >= 0), objects: oids.filter((_, i) => nodes[i]! < 0), by };
}

function notOurs(hex: string): FetchRefusal {
  return new FetchRefusal(`upload-pack: not our ref ${hex}`);
}

/** The commit that a node stands for: a tag's, peeled; -1 when it names a tree or blob. */
export function commitOf(graph: CommitGraph, node: number): number {
  if (graph.isCommit(node)) return node;
  const peeled = graph.peel(node);
  return peeled === null ? -1 : graph.find(peeled.oid);
}

/** The commits among the client's haves that are this repository's: only those are common. -1 for the others. */
export function commonCommits(view: RepositoryView, owns: Ownership, haves: readonly string[]): number[] {
  const { graph } = view.pool;
  return haves.map((hex) => {
    const node = graph.findHex(hex);
    return node >= 0 && owns(node) ? commitOf(graph, node) : -1;
  });
}

/**
 * Whether every want descends from some common commit or a parent of one: enough has been said then (upload-pack's `ready`). One pass over
 * what the wants reach, down to the date of the oldest common commit, whatever the number of wants. `cut`: commits whose parents the client
 * does not have.
 */
export function isReady(
  graph: CommitGraph,
  wants: readonly number[],
  common: readonly number[],
  cut: ReadonlySet<number> = NOTHING,
): boolean {
  const descends = new NodeSet();
  let oldest = Number.POSITIVE_INFINITY;
  for (const node of common) {
    if (node < 0) continue;
    descends.add(node);
    oldest = Math.min(oldest, graph.time(node));
    if (!cut.has(node)) for (let i = 0; i < graph.parentCount(node); i++) descends.add(graph.parent(node, i));
  }
  if (descends.size === 0) return false;
  const visited = new NodeSet();
  return wants.every((want) => {
    const commit = commitOf(graph, want);
    return commit < 0 || reaches(graph, commit, { descends, visited, oldest, cut });
  });
}

const NOTHING: ReadonlySet<number> = new Set();

interface Descent {
  readonly descends: NodeSet;
  readonly visited: NodeSet;
  readonly oldest: number;
  readonly cut: ReadonlySet<number>;
}

/** Whether a commit reaches one of `descends`, to which those found on the way down to it are added. What was visited in vain stays so. */
function reaches(graph: CommitGraph, from: number, { descends, visited, oldest, cut }: Descent): boolean {
  const path: { node: number; next: number }[] = [];
  const enter = (node: number): boolean => {
    if (descends.has(node)) return true;
    if (graph.isCommit(node) && (node === from || graph.time(node) >= oldest) && visited.add(node)) path.push({ node, next: 0 });
    return false;
  };
  let found = enter(from);
  while (!found && path.length > 0) {
    const top = path[path.length - 1]!;
    if (top.next === graph.parentCount(top.node) || cut.has(top.node)) path.pop();
    else found = enter(graph.parent(top.node, top.next++));
  }
  if (found) for (const { node } of path) descends.add(node);
  return found;
}
