import { Command } from 'commander';
import { createFsStore, type PackStore } from '../../internal/packstore/mod.ts';
import { backup, restore } from '../../internal/recovery/mod.ts';
import { addConfigOptions, loadCommandConfig, print, STORE_KEYS } from './cli.ts';
import { rebuildText } from './rebuild.ts';
import { progressLine, withStore } from './verb-parts.ts';

export function backupCommand(): Command {
  const command = new Command('backup')
    .description(
      'copy catalog and packs to a folder as of one moment, while the server runs; again into the same folder: only what is new',
    )
    .argument('<folder>', 'where to; one folder for one catalog')
    .option('--json', 'print JSON')
    .action(async (folder: string, options: { json?: boolean }, self: Command) => {
      const { config } = loadCommandConfig(self);
      const onProgress = progressLine();
      const report = await withStore(config, (catalog, store, signal) =>
        withFolder(folder, (target) => backup({ catalog, store, target, onProgress, signal })),
      );
      onProgress('');
      const { push, crates, copied, copiedBytes } = report;
      print(
        options.json ?? false,
        report,
        `backed up to push ${push}: ${crates} crates, ${copied} of them new (${copiedBytes} bytes)`,
      );
    });
  return addConfigOptions(command, STORE_KEYS).addHelpText(
    'after',
    `
Examples:
  packhouse backup /backup/packhouse
  packhouse restore /backup/packhouse --data-dir ./elsewhere`,
  );
}

export function restoreCommand(): Command {
  const command = new Command('restore')
    .description('bring a backup back into an empty database and an empty store; every pack is read and compared on the way')
    .argument('<folder>', 'where the backup is')
    .option('--json', 'print JSON')
    .action(async (folder: string, options: { json?: boolean }, self: Command) => {
      const { config } = loadCommandConfig(self);
      const onProgress = progressLine();
      const report = await withStore(
        config,
        (catalog, store, signal) =>
          withFolder(folder, (source) =>
            restore({
              catalog,
              store,
              source,
              memoryBytesMax: config.push.memoryBytesMax,
              onProgress,
              signal,
            }),
          ),
        { migrates: true },
      );
      onProgress('');
      const copied = `${report.copied} objects of the store copied, ${report.copiedBytes} bytes`;
      print(options.json ?? false, report, `${copied}\n${rebuildText(report)}`);
      if (report.lost.length > 0 || report.problems.length > 0) process.exitCode = 1;
    });
  return addConfigOptions(command, STORE_KEYS).addHelpText(
    'after',
    `
Nothing in the store that the new catalog does not know is deleted until \`packhouse hold release\`.

Examples:
  packhouse restore /backup/packhouse --data-dir ./elsewhere`,
  );
}

async function withFolder<T>(folder: string, work: (store: PackStore) => Promise<T>): Promise<T> {
  const store = createFsStore({ root: folder });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}
