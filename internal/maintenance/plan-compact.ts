import type { CrateSummary, PackSummary } from '../catalog/mod.ts';
import { type MergeRules, planMerge } from './plan-merge.ts';

/** Packs of one pool that are to become one. */
export interface Merge {
  readonly poolId: number;
  readonly packs: readonly PackSummary[];
  readonly bytes: number;
}

/** Packs that are to be copied, byte for byte, into one new crate. */
export interface Gather {
  readonly packs: readonly PackSummary[];
  readonly bytes: number;
}

/** What a compaction would do: plain data, which may be printed, kept, and carried out later or twice. */
export interface CompactPlan {
  readonly merges: readonly Merge[];
  /** Crates that live packs are to leave, and why they may. */
  readonly crates: readonly CrateSummary[];
  readonly gathers: readonly Gather[];
}

export interface GatherRules {
  readonly ratio: number;
  /** A crate with fewer live bytes is small. */
  readonly crateBytes: number;
  /** A crate with more dead bytes than this part is left by what lives in it. */
  readonly deadPercent: number;
  /** So many small crates are worth bringing together, even if they do not fill a large one. */
  readonly cratesMin: number;
}

/**
 * Which packs of each pool to merge. `full`: all that fit into one pack, else what keeps the pool's packs growing geometrically.
 * A pack that somebody works on is left out.
 */
export function planMerges(packs: readonly PackSummary[], rules: MergeRules, full: boolean): Merge[] {
  const pools = Map.groupBy(
    packs.filter((pack) => pack.tier === 'store' && !pack.leased),
    (pack) => pack.poolId,
  );
  const ratio = full ? Number.POSITIVE_INFINITY : rules.ratio;
  return [...pools].flatMap(([poolId, own]) => {
    const chosen = planMerge(own, 0, { ...rules, ratio });
    return chosen.length < 2 ? [] : [{ poolId, packs: chosen, bytes: sumOf(chosen) }];
  });
}

/**
 * Which crates live packs are to leave: those with too much dead space, and small ones. Small ones are brought together as packs are merged,
 * so that a byte is copied a logarithm of times: those that are not `ratio` times larger than all smaller ones together, once they are many
 * or fill a crate.
 */
export function cratesToLeave(crates: readonly CrateSummary[], rules: GatherRules): CrateSummary[] {
  const isDead = ({ liveBytes, bytes }: CrateSummary): boolean => (bytes - liveBytes) * 100 > bytes * rules.deadPercent;
  const dead = crates.filter((crate) => crate.liveBytes > 0 && isDead(crate));
  const small = crates
    .filter((crate) => crate.liveBytes > 0 && crate.liveBytes < rules.crateBytes && !isDead(crate))
    .map((crate, id) => ({ id, lengthBytes: crate.liveBytes, crate }));
  const deadBytes = dead.reduce((sum, crate) => sum + crate.liveBytes, 0);
  const chosen = planMerge(small, deadBytes, { ratio: rules.ratio, packBytesMax: Number.POSITIVE_INFINITY });
  const isWorth = chosen.length >= rules.cratesMin || (chosen.length > 1 && deadBytes + sumOf(chosen) >= rules.crateBytes);
  return [...dead, ...(isWorth || dead.length > 0 ? chosen.map(({ crate }) => crate) : [])];
}

/** Cuts the live packs of crates that are left into loads of `crateBytes` and more, in order of pool and age. What somebody works on stays. */
export function planGathers(packs: readonly PackSummary[], crateBytes: number): Gather[] {
  const free = packs
    .filter((pack) => pack.tier === 'store' && !pack.leased)
    .toSorted((a, b) => a.poolId - b.poolId || a.id - b.id);
  const gathers: Gather[] = [];
  let left = sumOf(free);
  let load: PackSummary[] = [];
  let bytes = 0;
  for (const pack of free) {
    load.push(pack);
    bytes += pack.lengthBytes;
    left -= pack.lengthBytes;
    // The last one takes the rest, so that no small crate is left over.
    if (bytes < crateBytes || left < crateBytes) continue;
    gathers.push({ packs: load, bytes });
    load = [];
    bytes = 0;
  }
  return load.length === 0 ? gathers : [...gathers, { packs: load, bytes }];
}

function sumOf(packs: readonly { readonly lengthBytes: number }[]): number {
  return packs.reduce((sum, pack) => sum + pack.lengthBytes, 0);
}
