import { Command } from 'commander';
import { type RebuildReport, rebuild } from '../../internal/recovery/mod.ts';
import { addConfigOptions, loadCommandConfig, print, STORE_KEYS } from './cli.ts';
import { progressLine, withStore } from './verb-parts.ts';

export function rebuildCommand(): Command {
  const command = new Command('rebuild')
    .description(
      'make a new catalog, in an empty database, of what is in the store; no server may use the database meanwhile; exit code 1 when something is lost',
    )
    .option('--adopt', 'do pushes again that came after the last snapshot, where their refs have not moved since')
    .option('--json', 'print JSON')
    .action(async (options: { adopt?: boolean; json?: boolean }, self: Command) => {
      const { config } = loadCommandConfig(self);
      const onProgress = progressLine();
      const report = await withStore(
        config,
        (catalog, store, signal) =>
          rebuild({
            catalog,
            store,
            memoryBytesMax: config.push.memoryBytesMax,
            adopt: options.adopt ?? false,
            reason: 'rebuild',
            onProgress,
            signal,
          }),
        { migrates: true },
      );
      onProgress('');
      print(options.json ?? false, report, rebuildText(report));
      if (report.lost.length > 0 || report.problems.length > 0) process.exitCode = 1;
    });
  return addConfigOptions(command, STORE_KEYS).addHelpText(
    'after',
    `
Nothing in the store that the new catalog does not know is deleted until \`packhouse hold release\`.

Examples:
  packhouse rebuild
  packhouse rebuild --adopt --json --database-url postgres://…/empty`,
  );
}

/** What a person wants to know of a rebuild. */
export function rebuildText(report: RebuildReport): string {
  const { snapshot, storePacks, tailPacks, objects, lost, problems, newerCrates, candidates } = report;
  const lines = [
    snapshot === null
      ? 'no snapshot was found: there are no names and refs but those of manifests'
      : `the snapshot has push ${snapshot.push} and is of ${snapshot.takenAt}, ${snapshot.ageSeconds} seconds ago: what came later is lost unless it is adopted`,
    `${storePacks} packs of the store and ${tailPacks} of the tail, ${objects} objects`,
    ...lost.map((one) => `${one.kind}: ${one.message} (pool ${one.poolId}, pack ${one.packId})`),
    ...problems,
  ];
  if (newerCrates.length > 0) lines.push(`${newerCrates.length} crates that the snapshot does not know`);
  for (const { repository, pushedAt, updates } of candidates) {
    for (const { ref, oldOid, newOid, result } of updates)
      lines.push(
        `${pushedAt} ${repository} ${Buffer.from(ref, 'latin1').toString()} ${oldOid ?? 'none'} → ${newOid ?? 'none'}: ${result}`,
      );
  }
  return lines.join('\n');
}
