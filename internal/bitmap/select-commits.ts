import type { History } from './history.ts';

const SPACING_MIN = 100;
const SPACING_MAX = 1000;
/** Larger histories have more commits between two bitmaps. */
const SPACED_PARTS = 400;
/** Tips and tagged commits that get bitmaps, the youngest first: the others are near ones that do. */
const NAMED_MAX = 8000;

/**
 * Which commits get bitmaps, 1 each: tips, what tags name, and so many of the others that from any commit fewer than a certain number of
 * commits are met before all that is left to visit is below commits with bitmaps.
 */
export function selectCommits(history: History): Uint8Array {
  const { count, parents, parentsAt } = history;
  const spacing = Math.min(SPACING_MAX, Math.max(SPACING_MIN, Math.ceil(count / SPACED_PARTS)));
  const selected = namedCommits(history);
  /** An upper bound of how many commits without bitmaps a walk from each meets. */
  const open = new Uint32Array(count);
  const visited = new Uint32Array(count);
  for (let commit = 0; commit < count; commit++) {
    let sum = 1;
    for (let i = parentsAt[commit]!; i < parentsAt[commit + 1]!; i++) sum += selected[parents[i]!] ? 0 : open[parents[i]!]!;
    // Sides of a merge share history, which the sum counts twice.
    if (sum >= spacing) sum = countOpen(history, selected, commit, spacing, visited);
    open[commit] = sum;
    if (sum >= spacing) selected[commit] = 1;
  }
  return selected;
}

function namedCommits({ count, isTip, isTagged }: History): Uint8Array {
  const selected = new Uint8Array(count);
  let left = NAMED_MAX;
  for (const named of [isTip, isTagged]) {
    for (let commit = count - 1; commit >= 0 && left > 0; commit--) {
      if (!named[commit] || selected[commit]) continue;
      selected[commit] = 1;
      left--;
    }
  }
  return selected;
}

/** Commits without bitmaps that a walk from one meets, itself among them; counting stops at `max`. */
function countOpen(history: History, selected: Uint8Array, start: number, max: number, visited: Uint32Array): number {
  const { parents, parentsAt } = history;
  const mark = start + 1;
  const stack = [start];
  visited[start] = mark;
  let met = 0;
  while (stack.length > 0) {
    const commit = stack.pop()!;
    if (++met >= max) return met;
    for (let i = parentsAt[commit]!; i < parentsAt[commit + 1]!; i++) {
      const parent = parents[i]!;
      if (selected[parent] || visited[parent] === mark) continue;
      visited[parent] = mark;
      stack.push(parent);
    }
  }
  return met;
}
