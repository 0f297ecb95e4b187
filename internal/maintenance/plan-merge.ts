/** What a plan needs to know of a pack. */
export interface MergeCandidate {
  readonly id: number;
  readonly lengthBytes: number;
}

export interface MergeRules {
  /** Each pack is to be this many times larger than all smaller ones together. */
  readonly ratio: number;
  /** No merge makes a pack larger than this, and packs of this size are let be. */
  readonly packBytesMax: number;
}

/**
 * Which packs of a pool to merge, besides `merged` bytes that are merged anyway: the longest run of its smallest packs that ends at one
 * which is smaller than `ratio` times all before it. Afterwards each pack is `ratio` times larger than all smaller ones together, so a pool
 * has a logarithm of packs, and a byte is rewritten a logarithm of times (git's geometric repacking).
 */
export function planMerge<T extends MergeCandidate>(packs: readonly T[], merged: number, rules: MergeRules): T[] {
  const sorted = packs
    .filter((pack) => pack.lengthBytes < rules.packBytesMax)
    .toSorted((a, b) => a.lengthBytes - b.lengthBytes || a.id - b.id);
  let take = 0;
  let sum = merged;
  for (let i = 0; i < sorted.length; i++) {
    const { lengthBytes } = sorted[i]!;
    if (sum + lengthBytes > rules.packBytesMax) break;
    if (lengthBytes < rules.ratio * sum) take = i + 1;
    sum += lengthBytes;
  }
  return sorted.slice(0, take);
}
