import { PackhouseError } from '../base/mod.ts';
import type { CommitGraph, RepositoryView } from '../reach/mod.ts';
import { NodeSet, proveReached, reachedWithLog } from '../reach/mod.ts';
import type { FetchSettings } from './settings.ts';

/** What a client wants, proven to be this repository's to give. */
export interface Wants {
  /** Commits and tags, as nodes of the graph, in the order asked for. */
  readonly nodes: readonly number[];
  /** Trees and blobs, raw oids. */
  readonly objects: readonly Buffer[];
}

const LOGGED_TIPS_MAX = 10_000;

/** A request that git's own server would end with an error packet. */
export class FetchRefusal extends PackhouseError {
  constructor(message: string) {
    super('fetch-refused', message);
    this.name = 'FetchRefusal';
  }
}

/**
 * Finds the wanted objects among what this repository's refs reach or, while the push log keeps them, have reached. Everything else is
 * answered alike, stored or not. @throws FetchRefusal
 */
export async function resolveWants(view: RepositoryView, settings: FetchSettings, wants: readonly string[], signal: AbortSignal): Promise<Wants> {
  const { graph } = view.pool;
  const nodes: number[] = [];
  const objects: Buffer[] = [];
  let logged: NodeSet | null = null;
  for (const hex of wants) {
    const oid = Buffer.from(hex, 'hex');
    const node = graph.find(oid);
    if (node >= 0 && view.reached().has(node)) {
      nodes.push(node);
    } else if (node >= 0 && settings.logRetentionSeconds > 0) {
      logged ??= await loggedNodes(view, settings);
      if (!logged.has(node)) throw notOurs(hex);
      nodes.push(node);
    } else if (node < 0 && (await proveReached(view, oid, signal))[0] === 1) {
      objects.push(oid);
    } else {
      throw notOurs(hex);
    }
  }
  return { nodes, objects };
}

async function loggedNodes(view: RepositoryView, settings: FetchSettings): Promise<NodeSet> {
  const tips = await settings.catalog.loggedTips(view.pool.poolId, view.id, settings.logRetentionSeconds, LOGGED_TIPS_MAX);
  return reachedWithLog(view, tips);
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

/** The commits among the client's haves that this repository's refs reach: only those are common. -1 for the others. */
export function commonCommits(view: RepositoryView, haves: readonly string[]): number[] {
  const { graph } = view.pool;
  const reached = view.reached();
  return haves.map((hex) => {
    const node = graph.findHex(hex);
    return node >= 0 && reached.has(node) ? commitOf(graph, node) : -1;
  });
}

/** Whether every want descends from some common commit: enough has been said then (upload-pack's `ready`). */
export function isReady(graph: CommitGraph, wants: readonly number[], common: readonly number[]): boolean {
  const known = new Set(common.filter((node) => node >= 0));
  if (known.size === 0) return false;
  let lowest = Number.POSITIVE_INFINITY;
  for (const node of known) lowest = Math.min(lowest, graph.generation(node));
  return wants.every((want) => {
    const commit = commitOf(graph, want);
    return commit < 0 || reaches(graph, commit, known, lowest);
  });
}

function reaches(graph: CommitGraph, from: number, known: ReadonlySet<number>, lowest: number): boolean {
  const visited = new NodeSet();
  const stack = [from];
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (known.has(node)) return true;
    if (graph.generation(node) < lowest || !visited.add(node)) continue;
    for (let i = 0; i < graph.parentCount(node); i++) stack.push(graph.parent(node, i));
  }
  return false;
}
