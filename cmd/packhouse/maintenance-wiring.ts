import { failpoint, type Logger, PackhouseError } from '../../internal/base/mod.ts';
import type { Catalog, Job } from '../../internal/catalog/mod.ts';
import type { Config, ConfigKey } from '../../internal/config/mod.ts';
import {
  type CompactPlan,
  compact,
  compactChunks,
  type JobKind,
  LateBitmaps,
  type MaintenanceOptions,
  planChunkMerges,
  planCompaction,
  Rest,
  type RewriteSettings,
  runMaintenance,
  seal,
  Throttle,
  tailsAreDue,
} from '../../internal/maintenance/mod.ts';
import { PackBytes } from '../../internal/packread/mod.ts';
import type { PackStore } from '../../internal/packstore/mod.ts';
import { writeSnapshot } from '../../internal/recovery/mod.ts';
import { DEFAULT_REPACK_SETTINGS } from '../../internal/repack/mod.ts';
import { STORE_KEYS } from './cli.ts';
import { sweepKinds } from './sweep-wiring.ts';

/** Delta bases outside what is rewritten are few: this is for them. */
const BASES_BYTES_MAX = 32 << 20;

/** Packs and crates are looked through more rarely than the tail: there is no hurry. */
const COMPACTION_INTERVALS = 4;

/** Keys that verbs of maintenance take as flags. */
export const MAINTENANCE_KEYS: readonly ConfigKey[] = [
  ...STORE_KEYS,
  'maintenance.bytes_per_second_max',
  'maintenance.bitmap_objects_min',
  'seal.crate_bytes',
  'compaction.ratio',
  'compaction.pack_bytes_max',
  'compaction.dead_percent',
  'compaction.window',
  'compaction.depth',
  'compaction.window_memory',
];

/** What sealing and compaction work with, of the configuration. */
export function rewriteSettings(config: Config, catalog: Catalog, store: PackStore, log: Logger): RewriteSettings {
  const { compaction } = config;
  return {
    catalog,
    store,
    bytes: new PackBytes(catalog, store, BASES_BYTES_MAX),
    repack: {
      ...DEFAULT_REPACK_SETTINGS,
      window: compaction.window,
      depth: compaction.depth,
      windowMemoryBytesMax: compaction.windowMemory,
      searchBytesMax: config.chunking.threshold,
    },
    rest: new Rest(),
    throttle: new Throttle(config.maintenance.bytesPerSecondMax),
    log,
    leaseMs: config.maintenance.leaseMs,
    bitmapObjectsMin: config.maintenance.bitmapObjectsMin,
    at: (point) => failpoint(`rewrite.${point}`),
    seal: config.seal,
    compaction: { ratio: compaction.ratio, packBytesMax: compaction.packBytesMax, deadPercent: compaction.deadPercent },
  };
}

export interface MaintenanceParts {
  readonly config: Config;
  readonly catalog: Catalog;
  readonly store: PackStore;
  readonly log: Logger;
  readonly onJob: MaintenanceOptions['onJob'];
}

/** The maintenance of a server, until the signal: nothing when it is not enabled. */
export async function maintain(parts: MaintenanceParts, signal: AbortSignal): Promise<void> {
  const { config, catalog, log, onJob } = parts;
  if (!config.maintenance.enabled) return;
  await runMaintenance({ catalog, log, kinds: jobKinds(parts), leaseMs: config.maintenance.leaseMs, onJob }, signal);
}

/** Every kind of work there is: a line each. */
function jobKinds({ config, catalog, store, log }: MaintenanceParts): JobKind[] {
  const everyMs = config.maintenance.intervalMs;
  const rewrite = rewriteSettings(config, catalog, store, log);
  const bitmaps = new LateBitmaps(rewrite);
  const { jobs } = catalog.maintenance;
  const due = (poolId: number | null): Promise<CompactPlan> => planCompaction(rewrite, { poolId, full: false });
  return [
    {
      kind: 'seal',
      everyMs,
      async enqueueDue() {
        rewrite.rest.setOthers('seal', await jobs.resting('seal'));
        if (await tailsAreDue(rewrite)) await jobs.enqueue('seal', null);
      },
      run: (job, signal) => seal({ ...rewrite, at: sealingAt(rewrite, job) }, { poolId: null, now: false }, signal),
    },
    {
      kind: 'compact',
      everyMs: everyMs * COMPACTION_INTERVALS,
      async enqueueDue() {
        for (const { poolId } of (await due(null)).merges) await jobs.enqueue('compact', poolId);
      },
      async run({ poolId }, signal) {
        const report = await compact(rewrite, await due(poolId), signal);
        // Tried again later and later: the log says what was not sound.
        if (report.failed > 0)
          throw new PackhouseError('compaction-failed', `pool ${poolId} was not compacted`, { pool: poolId });
        return report;
      },
    },
    {
      kind: 'chunks',
      everyMs: everyMs * COMPACTION_INTERVALS,
      async enqueueDue() {
        for (const { poolId } of await planChunkMerges(rewrite, null, false)) await jobs.enqueue('chunks', poolId);
      },
      run: async ({ poolId }, signal) => compactChunks(rewrite, await planChunkMerges(rewrite, poolId, false), signal),
    },
    {
      kind: 'bitmaps',
      everyMs: everyMs * COMPACTION_INTERVALS,
      enqueueDue: async () => void ((await bitmaps.due()).length > 0 && (await jobs.enqueue('bitmaps', null))),
      run: (_, signal) => bitmaps.make(signal),
    },
    {
      kind: 'gather',
      everyMs: everyMs * COMPACTION_INTERVALS,
      enqueueDue: async () => void ((await due(null)).gathers.length > 0 && (await jobs.enqueue('gather', null))),
      run: async (_, signal) => compact(rewrite, { ...(await due(null)), merges: [] }, signal),
    },
    ...sweepKinds(config, rewrite),
    ...snapshotKind({ config, catalog, store, log }),
  ];
}

/** Which pool a round of sealing works on is noted: one that ends the process keeps the others waiting once. */
function sealingAt({ catalog, at }: RewriteSettings, job: Job): NonNullable<RewriteSettings['at']> {
  const { jobs } = catalog.maintenance;
  return async (point, poolId) => {
    if (point === 'leased') await jobs.note(job, poolId);
    if (point === 'swapped') await jobs.worked('seal', poolId);
    await at?.(point, poolId);
  };
}

/** None when snapshots are turned off. */
function snapshotKind({ config, catalog, store, log }: Omit<MaintenanceParts, 'onJob'>): JobKind[] {
  const { intervalMs } = config.snapshot;
  if (intervalMs === 0) return [];
  const { jobs } = catalog.maintenance;
  return [
    {
      kind: 'snapshot',
      everyMs: Math.min(config.maintenance.intervalMs, intervalMs),
      async enqueueDue() {
        const doneMs = await jobs.lastDoneMs('snapshot');
        if (doneMs === null || doneMs >= intervalMs) await jobs.enqueue('snapshot', null);
      },
      run: (_, signal) => writeSnapshot({ catalog, store, log }, signal),
    },
  ];
}
