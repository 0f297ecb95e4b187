import { Command } from 'commander';
import type { Catalog } from '../../internal/catalog/mod.ts';
import type { Config } from '../../internal/config/mod.ts';
import {
  type OrphanReport,
  type RetireReport,
  removeOrphans,
  retire,
  type SweepReport,
  sweepPool,
} from '../../internal/maintenance/mod.ts';
import type { PackStore } from '../../internal/packstore/mod.ts';
import { addConfigOptions, loadCommandConfig, parseRepository, print, table, verbLog } from './cli.ts';
import { MAINTENANCE_KEYS, rewriteSettings } from './maintenance-wiring.ts';
import { retireSettings, sweepSettings } from './sweep-wiring.ts';
import { poolOf, withStore } from './verb-parts.ts';

interface SweepFlags {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly thorough?: boolean;
  readonly json?: boolean;
}

interface Swept {
  readonly pools: readonly SweepReport[];
  readonly retired: RetireReport | null;
  readonly orphans: OrphanReport | null;
}

export function sweepCommand(): Command {
  const command = new Command('sweep')
    .description('let go of what nothing has reached for sweep.retention, and of what nobody may read any more')
    .argument(
      '[repository]',
      'owner/name: only its pool; without it all pools, uploads that were given up, and orphans of the bucket',
      parseRepository,
    )
    .option('--dry-run', 'say what would go and why, change nothing')
    .option('--yes', 'also when it is more than sweep.condemned_percent_max')
    .option('--thorough', 'write every pack again that has garbage, however little')
    .option('--json', 'print JSON')
    .action(async (id: ReturnType<typeof parseRepository> | undefined, options: SweepFlags, self: Command) => {
      const { config } = loadCommandConfig(self);
      const swept = await withStore(config, async (catalog, store, signal) =>
        sweep(config, catalog, store, await poolOf(catalog, id), options, signal),
      );
      print(options.json ?? false, swept, linesOf(swept, options).join('\n'));
      if (swept.pools.some(({ outcome }) => outcome === 'unsound' || outcome === 'too-much')) process.exitCode = 1;
    });
  return addConfigOptions(command, [
    ...MAINTENANCE_KEYS,
    'sweep.retention',
    'sweep.condemned_percent_max',
    'fetch.max_duration',
    'maintenance.upload_lease',
  ]).addHelpText(
    'after',
    `
Bytes go when no reader may need them any more, fetch.max_duration and ten minutes later: a server does that by itself, or this verb again.

Examples:
  packhouse sweep --dry-run
  packhouse sweep alice/demo --thorough
  packhouse sweep --sweep-retention 30d --json`,
  );
}

async function sweep(
  config: Config,
  catalog: Catalog,
  store: PackStore,
  poolId: number | null,
  flags: SweepFlags,
  signal: AbortSignal,
): Promise<Swept> {
  const log = verbLog(config);
  const dryRun = flags.dryRun ?? false;
  const confirmed = flags.yes ?? false;
  const settings = {
    ...sweepSettings(config, rewriteSettings(config, catalog, store, log)),
    dryRun,
    confirmed,
    thorough: flags.thorough ?? false,
  };
  const pools: SweepReport[] = [];
  for (const { id } of await catalog.pools(poolId)) pools.push(await sweepPool(settings, id, signal));
  if (poolId !== null) return { pools, retired: null, orphans: null };
  const leaving = { ...retireSettings(config, catalog, store), dryRun, confirmed, signal };
  const retired = dryRun ? null : await retire(leaving);
  return { pools, retired, orphans: await removeOrphans(leaving) };
}

function linesOf({ pools, retired, orphans }: Swept, { dryRun = false }: SweepFlags): string[] {
  const rows = pools.flatMap((pool) =>
    pool.packs
      .filter((pack) => pack.action !== 'keep' || pack.garbageObjects > 0)
      .map((pack) =>
        [
          pool.poolId,
          pack.packId,
          pack.tier,
          pack.action,
          pack.reason,
          pack.garbageBytes,
          pack.lengthBytes,
          pack.garbageObjects,
        ].map(String),
      ),
  );
  const lines =
    rows.length === 0 ? [] : [table(['POOL', 'PACK', 'TIER', 'ACTION', 'REASON', 'GARBAGE', 'BYTES', 'OBJECTS'], rows)];
  for (const { poolId, outcome, problem, condemnedBytes, totalBytes, repositories } of pools) {
    const part = `${condemnedBytes} of ${totalBytes} bytes`;
    if (outcome === 'unsound') lines.push(`pool ${poolId}: stopped, nothing was deleted: ${problem}`);
    else if (outcome === 'too-much') lines.push(`pool ${poolId}: ${part} would go: run again with --yes if that is right`);
    else if (outcome === 'busy') lines.push(`pool ${poolId}: others were faster; later again`);
    else if (outcome !== 'clean' && (condemnedBytes > 0 || repositories > 0))
      lines.push(`pool ${poolId}: ${part} and ${repositories} deleted repositories ${dryRun ? 'would go' : 'went'}`);
  }
  const busy = pools.filter(({ outcome }) => outcome === 'clean').length;
  lines.push(`${pools.length} pools, ${busy} without garbage`);
  if (retired !== null)
    lines.push(
      `${retired.packsForgotten} packs and ${retired.cratesDeleted} crates have left, ${retired.aborted} uploads were given up`,
    );
  if (orphans !== null) {
    const kept = orphans.why === 'hold' ? 'kept: there is a hold' : 'kept: too large a part of the bucket, see --yes';
    if (orphans.quarantined.length > 0) lines.push(`${orphans.quarantined.length} orphans in the bucket ${kept}`);
    if (orphans.removed.length > 0)
      lines.push(`${orphans.removed.length} orphans of the bucket ${dryRun ? 'would go' : 'were removed'}`);
  }
  return lines;
}
