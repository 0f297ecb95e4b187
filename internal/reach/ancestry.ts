import type { CommitGraph } from './graph.ts';
import { NodeSet } from './marks.ts';
import { PriorityQueue } from './priority-queue.ts';

/** The commits that a client lacks. */
export interface CommitRange {
  /** Commits to send, children before parents. */
  readonly commits: readonly number[];
  readonly isSent: NodeSet;
  /** Commits known to be the client's: all parents of sent commits that are not sent themselves, and more. */
  readonly isHad: NodeSet;
}

export interface RangeOptions {
  /** Commits whose parents the client is told not to have: walking stops below them. */
  readonly cut?: (node: number) => boolean;
  /** Commits below which the client's own history ends. */
  readonly hadCut?: (node: number) => boolean;
}

/**
 * Commits that `wants` reach and `haves` do not. Walks both sides together in order of generation, so a step never meets an ancestor
 * before its descendants, and stops when only the client's side is left: the cost is the difference, not the history.
 */
export function commitRange(
  graph: CommitGraph,
  wants: Iterable<number>,
  haves: Iterable<number>,
  options: RangeOptions = {},
): CommitRange {
  const isSent = new NodeSet();
  const isHad = new NodeSet();
  const queued = new NodeSet();
  const queue = new PriorityQueue();
  let open = 0;
  const push = (node: number, had: boolean): void => {
    if (!graph.isCommit(node)) return;
    if (had) {
      if (isHad.add(node) && queued.has(node)) open--;
      else if (!queued.has(node)) {
        queued.add(node);
        queue.push(node, graph.generation(node));
      }
    } else if (!queued.has(node)) {
      queued.add(node);
      queue.push(node, graph.generation(node));
      open++;
    }
  };
  for (const node of haves) push(node, true);
  for (const node of wants) if (!isHad.has(node)) push(node, false);
  const commits: number[] = [];
  while (open > 0) {
    const node = queue.pop();
    const had = isHad.has(node);
    if (!had) {
      open--;
      commits.push(node);
      isSent.add(node);
    }
    const stop = had ? options.hadCut : options.cut;
    if (stop?.(node)) continue;
    for (let i = 0; i < graph.parentCount(node); i++) push(graph.parent(node, i), had);
  }
  return { commits, isSent, isHad };
}
