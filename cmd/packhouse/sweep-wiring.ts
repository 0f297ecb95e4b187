import { failpoint } from '../../internal/base/mod.ts';
import type { Catalog } from '../../internal/catalog/mod.ts';
import type { Config } from '../../internal/config/mod.ts';
import {
  type JobKind,
  type RetireSettings,
  type RewriteSettings,
  removeOrphans,
  retire,
  type SweepSettings,
  sweepInTurn,
} from '../../internal/maintenance/mod.ts';
import { PackBytes } from '../../internal/packread/mod.ts';
import type { PackStore } from '../../internal/packstore/mod.ts';

/** How often what nobody may read any more is looked for, at the least. */
const REAP_MS_MAX = 300_000;
/** How many pools wait to be swept at a time. */
const SWEEPS_QUEUED_MAX = 100;

/** What the sweep works with, of the configuration. */
export function sweepSettings(config: Config, rewrite: RewriteSettings): SweepSettings {
  return {
    // A walk of all trees wants more of the cache than bases of deltas do.
    rewrite: { ...rewrite, bytes: new PackBytes(rewrite.catalog, rewrite.store, config.cache.bytesMax / 4) },
    retentionMs: config.sweep.retentionMs,
    condemnedPercentMax: config.sweep.condemnedPercentMax,
    confirmed: false,
    dryRun: false,
    thorough: false,
    at: (point) => failpoint(`sweep.${point}`),
  };
}

/** What deletion works with, of the configuration. */
export function retireSettings(config: Config, catalog: Catalog, store: PackStore): RetireSettings {
  return {
    catalog,
    store,
    readersMsMax: config.fetch.maxDurationMs + config.maintenance.readerMarginMs,
    uploadLeaseMs: config.maintenance.uploadLeaseMs,
    orphanPercentMax: config.sweep.condemnedPercentMax,
    confirmed: false,
    dryRun: false,
    at: (point) => failpoint(`retire.${point}`),
  };
}

/** The sweep of each pool, the removal of what nobody reads, and the search for orphans: as a server does them by itself. */
export function sweepKinds(config: Config, rewrite: RewriteSettings): JobKind[] {
  const { catalog, store } = rewrite;
  const { jobs } = catalog.maintenance;
  const { intervalMs, retentionMs } = config.sweep;
  const leaving = retireSettings(config, catalog, store);
  const reapMs = Math.min(REAP_MS_MAX, Math.max(config.maintenance.intervalMs, config.maintenance.readerMarginMs));
  return [
    {
      kind: 'sweep',
      everyMs: config.maintenance.intervalMs,
      async enqueueDue() {
        const due = await catalog.sweep.due(intervalMs, retentionMs);
        for (const poolId of due.slice(0, SWEEPS_QUEUED_MAX)) await jobs.enqueue('sweep', poolId);
      },
      async run({ poolId }, signal) {
        if (poolId === null) return null;
        const { packs, ...report } = await sweepInTurn(sweepSettings(config, rewrite), poolId, signal);
        return { ...report, packs: packs.filter((pack) => pack.action !== 'keep').length };
      },
    },
    {
      kind: 'reap',
      everyMs: reapMs,
      enqueueDue: async () => void (await jobs.enqueue('reap', null)),
      run: (_, signal) => retire({ ...leaving, signal }),
    },
    {
      kind: 'orphans',
      everyMs: reapMs,
      async enqueueDue() {
        const lastMs = await jobs.lastDoneMs('orphans');
        if (lastMs === null || lastMs > intervalMs) await jobs.enqueue('orphans', null);
      },
      async run(_, signal) {
        const { removed, quarantined, ...report } = await removeOrphans({ ...leaving, signal });
        return { ...report, removed: removed.length, quarantined: quarantined.length };
      },
    },
  ];
}
