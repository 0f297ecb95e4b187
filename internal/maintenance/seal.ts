import { codeOf, messageOf } from '../base/mod.ts';
import type { Tail } from '../catalog/mod.ts';
import { CrateLoad, type ShippedCrate } from './crate-load.ts';
import { mergePacks } from './merge-packs.ts';
import { planSeal, tailsDue } from './plan-seal.ts';
import type { RewriteSettings } from './settings.ts';

export interface SealOptions {
  /** One pool, or null for all. */
  readonly poolId: number | null;
  /** Whatever waits, not only what is due. */
  readonly now: boolean;
}

export interface SealReport {
  /** Pools whose tails were sealed. */
  readonly pools: number;
  /** Packs that went into them, and the bytes of those and of what was made of them. */
  readonly packs: number;
  readonly inputBytes: number;
  readonly outputBytes: number;
  readonly crates: number;
  /** Pools that are left for the next time: somebody else works on them, or objects of theirs were condemned meanwhile. */
  readonly left: number;
  /** Pools of which something could not be read or was not sound: their packs stay, and the log says why. */
  readonly failed: number;
}

/**
 * One round of sealing: the tail of each pool that is due becomes one pack of the store, together with store packs that are small beside it,
 * and packs of several pools are laid into one crate. Pushes do not wait for it: they go on adding tail packs, which the next round takes.
 */
export async function seal(settings: RewriteSettings, options: SealOptions, signal: AbortSignal): Promise<SealReport> {
  const due = await tailsToSeal(settings, options);
  const report = { pools: 0, packs: 0, inputBytes: 0, outputBytes: 0, crates: 0, left: 0, failed: 0 };
  const load = new CrateLoad(settings, 'seal');
  const count = (shipped: ShippedCrate | null): void => {
    if (shipped === null) return;
    if (shipped.swapped.length > 0) report.crates++;
    report.left += shipped.left.length;
    for (const { inputs, packs } of shipped.swapped) {
      report.pools++;
      report.packs += inputs.length;
      for (const pack of packs) report.outputBytes += pack.lengthBytes;
    }
  };
  try {
    for (const tail of due) {
      signal.throwIfAborted();
      const prepared = await prepare(settings, tail, load, signal);
      if (typeof prepared === 'string') report[prepared]++;
      else report.inputBytes += prepared;
      if (load.lengthBytes >= settings.seal.crateBytes) count(await load.ship(signal));
    }
    count(await load.ship(signal));
  } finally {
    await load.discard();
  }
  return report;
}

/** Merges one pool's tail onto the load: the bytes that went in, or why none did. */
async function prepare(
  settings: RewriteSettings,
  tail: Tail,
  load: CrateLoad,
  signal: AbortSignal,
): Promise<number | 'left' | 'failed'> {
  const { poolId } = tail;
  try {
    const inputs = planSeal(await settings.catalog.maintenance.packs(poolId, ['live']), settings.compaction);
    if (inputs.length === 0) return 'left';
    const swap = await mergePacks(settings, poolId, inputs, signal);
    if (swap === null) return 'left';
    load.add(swap);
    settings.rest.worked('seal', poolId);
    return inputs.reduce((sum, pack) => sum + pack.lengthBytes, 0);
  } catch (error) {
    // One pool that cannot be sealed must not keep the others from it.
    signal.throwIfAborted();
    if (codeOf(error) === 'lease-lost') return 'left';
    settings.rest.failed('seal', poolId);
    settings.log.error({ pool: poolId, code: codeOf(error), error: messageOf(error) }, 'a tail was not sealed');
    return 'failed';
  }
}

/** Whether a round would find something to seal. */
export async function tailsAreDue(settings: RewriteSettings): Promise<boolean> {
  return (await tailsToSeal(settings, { poolId: null, now: false })).length > 0;
}

/** Tails that are due, without those that could not be sealed lately; with `now` all. */
async function tailsToSeal({ catalog, seal: rules, rest }: RewriteSettings, { poolId, now }: SealOptions): Promise<Tail[]> {
  const due = tailsDue(await catalog.maintenance.tails(poolId), rules, now);
  return due.filter((tail) => now || !rest.has('seal', tail.poolId));
}
