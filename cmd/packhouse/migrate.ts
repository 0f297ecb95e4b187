import { Command } from 'commander';
import { migrate } from '../../internal/migrations/mod.ts';
import { addConfigOptions, loadCommandConfig, print, startDatabase } from './cli.ts';

export function migrateCommand(): Command {
  const command = new Command('migrate')
    .description('bring the database to the newest schema (serve does it too)')
    .option('--json', 'print JSON')
    .action(async (options: { json?: boolean }, self: Command) => {
      const { config } = loadCommandConfig(self);
      const database = await startDatabase(config);
      try {
        const applied = await migrate(database.url);
        print(
          options.json ?? false,
          { applied },
          applied.length === 0 ? 'nothing to do' : applied.map((name) => `applied ${name}`).join('\n'),
        );
      } finally {
        await database.stop();
      }
    });
  return addConfigOptions(command).addHelpText(
    'after',
    `
Examples:
  packhouse migrate
  PACKHOUSE_DATABASE_URL_FILE=/run/secrets/database packhouse migrate`,
  );
}
