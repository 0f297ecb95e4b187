import { Command } from 'commander';
import { type SnapshotReport, writeSnapshot } from '../../internal/recovery/mod.ts';
import { addConfigOptions, loadCommandConfig, print, STORE_KEYS, verbLog } from './cli.ts';
import { withStore } from './verb-parts.ts';

export function snapshotCommand(): Command {
  const command = new Command('snapshot')
    .description('write what has changed in the catalog to the store, for `packhouse rebuild`; a server does it by itself')
    .option('--now', 'do not wait for snapshot.interval (what this verb always does)')
    .option('--json', 'print JSON')
    .action(async (options: { json?: boolean }, self: Command) => {
      const { config } = loadCommandConfig(self);
      const report = await withStore(config, (catalog, store, signal) =>
        writeSnapshot({ catalog, store, log: verbLog(config) }, signal),
      );
      print(options.json ?? false, report, reportLine(report));
      if (report.kind === 'busy') process.exitCode = 1;
    });
  return addConfigOptions(command, STORE_KEYS).addHelpText(
    'after',
    `
Examples:
  packhouse snapshot --now
  packhouse snapshot --now --json`,
  );
}

function reportLine(report: SnapshotReport): string {
  if (report.kind === 'busy') return 'another process writes a snapshot';
  if (report.kind === 'unchanged') return `nothing has changed since the last snapshot, which has push ${report.push}`;
  const what = report.full ? 'the whole catalog' : 'what has changed in the catalog';
  return `wrote ${what} up to push ${report.push}: ${report.storedBytes} bytes as ${report.key}`;
}
