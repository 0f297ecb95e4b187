import { Command } from 'commander';
import {
  type ChunkCompactReport,
  type ChunkMerge,
  type CompactPlan,
  type CompactReport,
  compact,
  compactChunks,
  planChunkMerges,
  planCompaction,
} from '../../internal/maintenance/mod.ts';
import { addConfigOptions, loadCommandConfig, parseRepository, print, verbLog } from './cli.ts';
import { MAINTENANCE_KEYS, rewriteSettings } from './maintenance-wiring.ts';
import { poolOf, withStore } from './verb-parts.ts';

interface Options {
  readonly due?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

export function compactCommand(): Command {
  const command = new Command('compact')
    .description('merge packs and bring small crates together; may run beside the server, which does it by itself')
    .argument('[repository]', 'owner/name: only the packs of its pool', parseRepository)
    .option('--due', 'only what compaction.ratio asks for, as a server does; else all that fits into one pack a pool')
    .option('--dry-run', 'only print the plan')
    .option('--json', 'print JSON')
    .action(async (id: ReturnType<typeof parseRepository> | undefined, options: Options, self: Command) => {
      const { config } = loadCommandConfig(self);
      const json = options.json ?? false;
      await withStore(config, async (catalog, store, signal) => {
        const settings = rewriteSettings(config, catalog, store, verbLog(config));
        const [poolId, full] = [await poolOf(catalog, id), !options.due];
        const plan = await planCompaction(settings, { poolId, full });
        const chunks = await planChunkMerges(settings, poolId, full);
        if (options.dryRun) return print(json, { ...plan, chunks }, planText(plan, chunks));
        const report = await compact(settings, plan, signal);
        const moved = await compactChunks(settings, chunks, signal);
        print(json, { ...report, chunks: moved }, `${reportLine(report)}\n${chunksLine(moved)}`);
        if (report.failed + moved.failed > 0) process.exitCode = 1;
      });
    });
  return addConfigOptions(command, MAINTENANCE_KEYS).addHelpText(
    'after',
    `
Examples:
  packhouse compact --dry-run
  packhouse compact alice/demo
  packhouse compact --due --json`,
  );
}

function planText({ merges, crates, gathers }: CompactPlan, chunks: readonly ChunkMerge[]): string {
  const lines = [
    ...merges.map(({ poolId, packs, bytes }) => {
      return `pool ${poolId}: merge ${packs.length} packs of ${bytes} bytes: ${packs.map((pack) => pack.id).join(' ')}`;
    }),
    ...crates.map(
      ({ key, livePacks, liveBytes, bytes }) => `leave ${key}: ${livePacks} packs, ${liveBytes} of ${bytes} bytes live`,
    ),
    ...gathers.map(({ packs, bytes }) => {
      return `gather ${packs.length} packs of ${bytes} bytes: ${packs.map((pack) => `${pack.poolId}/${pack.id}`).join(' ')}`;
    }),
    ...chunks.map(({ poolId, packIds, bytes }) => {
      return `pool ${poolId}: write ${packIds.length} packs of chunks of ${bytes} bytes again: ${packIds.join(' ')}`;
    }),
  ];
  return lines.length === 0 ? 'nothing to do' : lines.join('\n');
}

function reportLine({ merged, mergedInto, gathered, crates, bytesWritten, left, failed }: CompactReport): string {
  const rest = [...(left > 0 ? [`${left} left to others`] : []), ...(failed > 0 ? [`${failed} failed`] : [])];
  const done = `merged ${merged} packs into ${mergedInto}, gathered ${gathered}: ${bytesWritten} bytes in ${crates} new crates`;
  return [done, ...rest].join('; ');
}

function chunksLine({ merged, mergedInto, bytesRead, bytesWritten, left, failed }: ChunkCompactReport): string {
  const rest = [...(left > 0 ? [`${left} pools left to others`] : []), ...(failed > 0 ? [`${failed} pools failed`] : [])];
  return [`merged ${merged} packs of chunks into ${mergedInto}: ${bytesRead} bytes became ${bytesWritten}`, ...rest].join('; ');
}
