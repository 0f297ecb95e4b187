import type { PackSummary, Tail } from '../catalog/mod.ts';
import { type MergeRules, planMerge } from './plan-merge.ts';

export interface SealRules {
  readonly bytes: number;
  readonly packs: number;
  readonly ageMs: number;
}

/** Which tails are to be sealed: those over a bound, or with `now` all. The largest first. */
export function tailsDue(tails: readonly Tail[], rules: SealRules, now: boolean): Tail[] {
  return tails.filter((tail) => now || tail.bytes >= rules.bytes || tail.packs >= rules.packs || tail.ageMs >= rules.ageMs);
}

/**
 * The packs of a pool that one sealing turns into one: its tail, oldest first and up to the largest size of a pack, and store packs that are
 * small beside it. Packs that somebody works on are left to him. Empty when there is no tail.
 */
export function planSeal(packs: readonly PackSummary[], rules: MergeRules): PackSummary[] {
  const free = packs.filter((pack) => !pack.leased);
  const tails: PackSummary[] = [];
  let bytes = 0;
  for (const pack of free.filter(({ tier }) => tier === 'tail').sort((a, b) => a.id - b.id)) {
    if (tails.length > 0 && bytes + pack.lengthBytes > rules.packBytesMax) break;
    tails.push(pack);
    bytes += pack.lengthBytes;
  }
  if (tails.length === 0) return [];
  return [
    ...tails,
    ...planMerge(
      free.filter(({ tier }) => tier === 'store'),
      bytes,
      rules,
    ),
  ];
}
