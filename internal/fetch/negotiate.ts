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

/** Whether a node of the pool's graph is this repository's to show. */
export type Ownership = (node: number) => boolean;

/**
 * Ownership by what the refs reach and, while the push log keeps it, have reached. The log is asked only when one of the oids that the client
 * names is a commit or tag that the refs do not reach.
 */
export async function ownership(view: RepositoryView, settings: FetchSettings, named: Iterable<string>): Promise<Ownership> {
  const { graph } = view.pool;
  const reached = view.reached();
  if (settings.logRetentionSeconds > 0) {
    for (const hex of named) {
      const node = graph.findHex(hex);
      if (node < 0 || reached.has(node)) continue;
      const tips = await settings.catalog.loggedTips(view.pool.poolId, view.id, settings.logRetentionSeconds, LOGGED_TIPS_MAX);
      const logged = reachedWithLog(view, tips);
      return (candidate) => logged.has(candidate);
    }
  }
  return (candidate) => reached.has(candidate);
}

/** Finds the wanted objects. What is not this repository's is answered alike, stored or not. @throws FetchRefusal */
export async function resolveWants(view: RepositoryView, owns: Ownership, wants: readonly string[], signal: AbortSignal): Promise<Wants> {
  const { graph } = view.pool;
  const nodes: number[] = [];
  const objects: Buffer[] = [];
  for (const hex of wants) {
    const oid = Buffer.from(hex, 'hex');
    const node = graph.find(oid);
    if (node >= 0 && owns(node)) nodes.push(node);
    else if (node < 0 && (await proveReached(view, oid, signal))[0] === 1) objects.push(oid);
    else throw notOurs(hex);
  }
  return { nodes, objects };
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
