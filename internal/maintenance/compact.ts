import { codeOf, messageOf, PackhouseError } from '../base/mod.ts';
import { copyPacks } from './copy-packs.ts';
import { CrateLoad, type ShippedCrate } from './crate-load.ts';
import { mergePacks } from './merge-packs.ts';
import { type CompactPlan, cratesToLeave, type Gather, type Merge, planGathers, planMerges } from './plan-compact.ts';
import type { RewriteSettings } from './settings.ts';

export interface CompactOptions {
  /** One pool, or null for all. Crates are shared by pools: they are looked at only when all are. */
  readonly poolId: number | null;
  /** Bring together all that fits, not only what keeps packs and crates growing geometrically. */
  readonly full: boolean;
}

export interface CompactReport {
  /** Packs that were merged, and what they became. */
  readonly merged: number;
  readonly mergedInto: number;
  /** Packs that were copied to new crates. */
  readonly gathered: number;
  readonly crates: number;
  readonly bytesWritten: number;
  /** Work that others do, or that condemned objects have stopped; and what was not sound, which the log names. */
  readonly left: number;
  readonly failed: number;
}

/** So many small crates are worth bringing together though they do not fill a large one. */
const SMALL_CRATES_MIN = 8;

const NO_GATHERS = { crates: [], gathers: [] };

/** What is to be merged and brought together now. */
export async function planCompaction(settings: RewriteSettings, { poolId, full }: CompactOptions): Promise<CompactPlan> {
  const { catalog, compaction, seal } = settings;
  const { maintenance } = catalog;
  const pools = poolId !== null || full ? [poolId] : await maintenance.unevenPools(compaction.ratio, compaction.packBytesMax);
  const merges: Merge[] = [];
  for (const pool of pools) merges.push(...planMerges(await maintenance.packs(pool, ['live']), compaction, full));
  if (poolId !== null) return { merges, ...NO_GATHERS };
  const stuck = full ? new Set() : await cratesOf(settings, settings.rest.pools('gather'));
  const sparse = await maintenance.sparseCrates(seal.crateBytes, compaction.deadPercent);
  const left = sparse.filter((crate) => !stuck.has(crate.key));
  const crates = cratesToLeave(left, {
    ratio: full ? Number.POSITIVE_INFINITY : compaction.ratio,
    crateBytes: seal.crateBytes,
    deadPercent: compaction.deadPercent,
    cratesMin: full ? 2 : SMALL_CRATES_MIN,
  });
  if (crates.length === 0) return { merges, ...NO_GATHERS };
  // What a merge is due for leaves its crate by that.
  const merged = new Set(merges.map((merge) => merge.poolId));
  const packs = await maintenance.packsIn(crates.map((crate) => crate.key));
  const moved = packs.filter((pack) => !merged.has(pack.poolId));
  return { merges, crates, gathers: planGathers(moved, seal.crateBytes) };
}

/** Crates with live packs of pools. */
async function cratesOf({ catalog }: RewriteSettings, pools: readonly number[]): Promise<Set<string>> {
  const keys = new Set<string>();
  for (const pool of pools)
    for (const { crateKey } of await catalog.maintenance.packs(pool, ['live'])) if (crateKey !== null) keys.add(crateKey);
  return keys;
}

/**
 * Carries out a plan. What has changed since it was made is left out: packs that were replaced, or that somebody else works on. So a plan may be
 * carried out twice, by two at once, or again after it was stopped anywhere.
 */
export async function compact(settings: RewriteSettings, plan: CompactPlan, signal: AbortSignal): Promise<CompactReport> {
  const report = { merged: 0, mergedInto: 0, gathered: 0, crates: 0, bytesWritten: 0, left: 0, failed: 0 };
  const load = new CrateLoad(settings, 'compact');
  const count = (shipped: ShippedCrate | null, what: 'merged' | 'gathered'): void => {
    if (shipped === null) return;
    report.bytesWritten += shipped.lengthBytes;
    report.left += shipped.left.length;
    if (shipped.swapped.length > 0) report.crates++;
    for (const { inputs, packs } of shipped.swapped) {
      report[what] += inputs.length;
      if (what === 'merged') report.mergedInto += packs.length;
    }
  };
  try {
    for (const { poolId, packs } of plan.merges) {
      const swap = await attempt(settings, poolId, report, signal, () => mergePacks(settings, poolId, packs, signal));
      if (swap !== null) load.add(swap);
      if (load.lengthBytes >= settings.seal.crateBytes) count(await load.ship(signal), 'merged');
    }
    count(await load.ship(signal), 'merged');
  } finally {
    await load.discard();
  }
  for (const gather of plan.gathers) count(await carryOut(settings, gather, report, signal), 'gathered');
  return report;
}

type Counts = { left: number; failed: number };

/** Copies the packs of a gather to one crate. A pack that is not what it should be stays where it is, with the others of its pool. */
async function carryOut(
  settings: RewriteSettings,
  gather: Gather,
  counts: Counts,
  signal: AbortSignal,
): Promise<ShippedCrate | null> {
  const pools = Map.groupBy(gather.packs, (pack) => pack.poolId);
  for (;;) {
    const load = new CrateLoad(settings, 'gather');
    try {
      for (const [poolId, packs] of pools) {
        const swap = await attempt(settings, poolId, counts, signal, () => copyPacks(settings, poolId, packs, signal));
        if (swap !== null) load.add(swap);
      }
      const shipped = await load.ship(signal);
      for (const { poolId } of shipped?.swapped ?? []) settings.rest.worked('gather', poolId);
      return shipped;
    } catch (error) {
      const { pool } = error instanceof PackhouseError && error.code === 'pack-corrupt' ? error.data : {};
      if (signal.aborted || typeof pool !== 'number' || !pools.delete(pool)) throw error;
      settings.rest.failed('gather', pool);
      settings.log.error({ pool, error: messageOf(error) }, 'a pack was not copied');
      counts.failed++;
    } finally {
      await load.discard();
    }
  }
}

/** One pool that cannot be compacted must not keep the others from it. */
async function attempt<T>(
  { log }: RewriteSettings,
  poolId: number,
  counts: Counts,
  signal: AbortSignal,
  work: () => Promise<T | null>,
): Promise<T | null> {
  signal.throwIfAborted();
  try {
    const result = await work();
    if (result === null) counts.left++;
    return result;
  } catch (error) {
    signal.throwIfAborted();
    if (codeOf(error) === 'lease-lost') {
      counts.left++;
    } else {
      log.error({ pool: poolId, code: codeOf(error), error: messageOf(error) }, 'a pool was not compacted');
      counts.failed++;
    }
    return null;
  }
}
