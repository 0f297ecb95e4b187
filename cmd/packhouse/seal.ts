import { Command } from 'commander';
import { type SealReport, seal } from '../../internal/maintenance/mod.ts';
import { addConfigOptions, loadCommandConfig, parseRepository, print, verbLog } from './cli.ts';
import { MAINTENANCE_KEYS, rewriteSettings } from './maintenance-wiring.ts';
import { poolOf, withStore } from './verb-parts.ts';

export function sealCommand(): Command {
  const command = new Command('seal')
    .description('turn packs that wait in PostgreSQL into packs of the store; may run beside the server, which does it by itself')
    .argument('[repository]', 'owner/name: only its pool', parseRepository)
    .option('--now', 'whatever waits, not only what is due by size, number or age')
    .option('--json', 'print JSON')
    .action(
      async (id: ReturnType<typeof parseRepository> | undefined, options: { now?: boolean; json?: boolean }, self: Command) => {
        const { config } = loadCommandConfig(self);
        const report = await withStore(config, async (catalog, store, signal) =>
          seal(
            rewriteSettings(config, catalog, store, verbLog(config)),
            { poolId: await poolOf(catalog, id), now: options.now ?? false },
            signal,
          ),
        );
        print(options.json ?? false, report, reportLine(report));
        if (report.failed > 0) process.exitCode = 1;
      },
    );
  return addConfigOptions(command, [...MAINTENANCE_KEYS, 'seal.bytes', 'seal.packs', 'seal.age']).addHelpText(
    'after',
    `
Examples:
  packhouse seal --now
  packhouse seal alice/demo --now --json
  packhouse seal --seal-age 1h`,
  );
}

function reportLine({ pools, packs, inputBytes, outputBytes, crates, left, failed }: SealReport): string {
  const rest = [...(left > 0 ? [`${left} pools left for the next time`] : []), ...(failed > 0 ? [`${failed} pools failed`] : [])];
  const sealed = `sealed ${packs} packs of ${pools} pools: ${inputBytes} bytes became ${outputBytes} in ${crates} crates`;
  return [sealed, ...rest].join('; ');
}
