import { failpoint } from '../base/mod.ts';
import type { Catalog } from '../catalog/mod.ts';
import { type PackStore, sidecarKey } from '../packstore/mod.ts';

const BATCH = 500;
const SIDECARS = ['idx', 'reach', 'manifest', 'sums'] as const;

/** Where a test may stop the work, as if the process were killed there. */
export type RetirePoint = 'marked' | 'rows-deleted' | 'bytes-deleted' | 'listed' | 'orphan-found';

export interface RetireSettings {
  readonly catalog: Catalog;
  readonly store: PackStore;
  /** How long a superseded pack may still be read: longer than the longest fetch. */
  readonly readersMsMax: number;
  /** How long an upload may take. */
  readonly uploadLeaseMs: number;
  /** More than this part of the bucket's bytes is never removed as orphans unless `confirmed`: the catalog may be the wrong one. */
  readonly orphanPercentMax: number;
  readonly confirmed: boolean;
  /** Only say what would be done (orphans). */
  readonly dryRun: boolean;
  readonly signal?: AbortSignal;
  readonly at?: (point: RetirePoint) => Promise<void>;
}

export interface Orphan {
  readonly key: string;
  readonly lengthBytes: number;
  readonly modifiedAt: Date;
}

export interface RetireReport {
  /** Packs that became `deleted`, uploads that became `aborting`. */
  readonly retired: number;
  readonly aborted: number;
  readonly cratesDeleted: number;
  readonly packsForgotten: number;
  readonly poolsForgotten: number;
}

export interface OrphanReport {
  readonly listed: number;
  /** Removed, or with `dryRun` to be removed. */
  readonly removed: readonly Orphan[];
  /** Kept: a hold, or too large a part of the bucket. */
  readonly quarantined: readonly Orphan[];
  readonly why: 'hold' | 'percent' | null;
  readonly unfinishedRemoved: number;
}

/**
 * What nobody may read any more leaves. The state commits first; then dedup information, recipes, index and tail bytes; then the crate, once no
 * pack that is uploaded or may be read is in it; the row of the pack last. A process that is killed anywhere leaves work that the next one finds.
 */
export async function retire(settings: RetireSettings): Promise<RetireReport> {
  const { retire: rows } = settings.catalog;
  const retired = await inBatches(settings, () => rows.retire(settings.readersMsMax, BATCH));
  const aborted = await inBatches(settings, () => rows.abortExpired(settings.uploadLeaseMs, BATCH));
  await settings.at?.('marked');
  await inBatches(settings, async () => {
    const packs = await rows.withRows(BATCH);
    for (const pack of packs) await rows.deleteRows(pack);
    return packs;
  });
  await settings.at?.('rows-deleted');
  let packsForgotten = await rows.forgetWithoutBytes();
  const cratesDeleted = await inBatches(settings, async () => {
    const crates = await rows.deadCrates(BATCH);
    for (const crate of crates) {
      settings.signal?.throwIfAborted();
      await deleteCrate(settings.store, crate);
      await settings.at?.('bytes-deleted');
      packsForgotten += await rows.forgetCrate(crate);
    }
    return crates;
  });
  return { retired, aborted, cratesDeleted, packsForgotten, poolsForgotten: await rows.forgetEmptyPools() };
}

/** Repeats a step while it finds full batches. The number of things it worked on. */
async function inBatches(settings: RetireSettings, step: () => Promise<readonly unknown[]>): Promise<number> {
  let done = 0;
  for (;;) {
    settings.signal?.throwIfAborted();
    const { length } = await step();
    done += length;
    if (length < BATCH) return done;
  }
}

/** Sidecars first: a crate without them can be read, sidecars without their crate are nothing. */
async function deleteCrate(store: PackStore, crate: string): Promise<void> {
  for (const extension of SIDECARS) await store.delete(sidecarKey(crate, extension));
  await failpoint('retire.mid-crate');
  await store.delete(crate);
}

/**
 * Removes objects of the bucket that no pack names. The bucket is listed before the catalog is read: an upload has its row before its first
 * byte, so whatever was listed has a row then, or never gets one any more. With a hold they stay and are told.
 */
export async function removeOrphans(settings: RetireSettings): Promise<OrphanReport> {
  const { catalog, store } = settings;
  const listed: Orphan[] = [];
  for await (const object of store.list('crates/')) {
    settings.signal?.throwIfAborted();
    listed.push(object);
  }
  await settings.at?.('listed');
  const named = await catalog.crates();
  const [holds, now] = [await catalog.retire.holds(), await catalog.retire.now()];
  const old = now.getTime() - settings.uploadLeaseMs;
  const orphans = listed.filter(({ key, modifiedAt }) => {
    const crate = crateOf(key);
    return crate !== null && !named.has(crate) && modifiedAt.getTime() <= old;
  });
  const report = { listed: listed.length, removed: [], quarantined: orphans, unfinishedRemoved: 0 };
  if (holds.length > 0) return { ...report, why: 'hold' };
  const percent = (100 * bytesOf(orphans)) / Math.max(1, bytesOf(listed));
  if (percent > settings.orphanPercentMax && !settings.confirmed) return { ...report, why: 'percent' };
  if (settings.dryRun) return { ...report, removed: orphans, quarantined: [], why: null };
  const removed: Orphan[] = [];
  const quarantined: Orphan[] = [];
  for (const orphan of orphans) {
    settings.signal?.throwIfAborted();
    await settings.at?.('orphan-found');
    // Once more: a restore may have begun meanwhile, which names what it finds.
    if (await catalog.retire.isOrphan(crateOf(orphan.key)!)) {
      await store.delete(orphan.key);
      removed.push(orphan);
    } else {
      quarantined.push(orphan);
    }
  }
  const unfinishedRemoved = await store.removeUnfinished(settings.uploadLeaseMs / 1000);
  return { listed: listed.length, removed, quarantined, why: quarantined.length > 0 ? 'hold' : null, unfinishedRemoved };
}

/** The crate that an object is or belongs to; null for what is neither crate nor sidecar. */
function crateOf(key: string): string | null {
  const dot = key.lastIndexOf('.');
  const extension = key.slice(dot + 1);
  const isOurs = extension === 'pack' || (SIDECARS as readonly string[]).includes(extension);
  return isOurs ? `${key.slice(0, dot)}.pack` : null;
}

function bytesOf(objects: readonly Orphan[]): number {
  return objects.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
}
