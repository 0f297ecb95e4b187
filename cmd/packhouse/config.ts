import { Command } from 'commander';
import { CONFIG_KEYS, effectiveValues, environmentVariable } from '../../internal/config/mod.ts';
import { addConfigOptions, loadCommandConfig, print, table } from './cli.ts';

export function configCommand(): Command {
  const show = new Command('print')
    .description('show every setting in force and where it comes from; secrets are masked')
    .option('--effective', 'flags, environment, file and defaults together (what is always shown)')
    .option('--json', 'print JSON')
    .action((options: { json?: boolean }, command: Command) => {
      const values = effectiveValues(loadCommandConfig(command)).map((value) => ({
        ...value,
        env: environmentVariable(value.key),
      }));
      const rows = values.map(({ key, value, source }) => [
        key,
        typeof value === 'string' ? value : JSON.stringify(value),
        source,
      ]);
      print(options.json ?? false, values, table(['KEY', 'VALUE', 'SOURCE'], rows));
    });
  return new Command('config')
    .description('look at the configuration')
    .addCommand(addConfigOptions(show, CONFIG_KEYS))
    .addHelpText(
      'after',
      `
Examples:
  packhouse config print --effective
  PACKHOUSE_HTTP_LISTEN=127.0.0.1:9000 packhouse config print --effective --json`,
    );
}
