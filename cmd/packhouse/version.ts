import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { print } from './cli.ts';

/** The version in package.json. */
export function packhouseVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
  return version;
}

export function versionCommand(): Command {
  return new Command('version')
    .description('print the version')
    .option('--json', 'print JSON')
    .addOption(new Option('--config <file>').hideHelp())
    .action((options: { json?: boolean }) => {
      const version = packhouseVersion();
      print(options.json ?? false, { version, node: process.version }, `packhouse ${version} (node ${process.version})`);
    });
}
