import { spawn } from 'node:child_process';
import { Command } from 'commander';
import { codeOf, PackhouseError } from '../../internal/base/mod.ts';
import { addConfigOptions, loadCommandConfig, withDatabase } from './cli.ts';

export function psqlCommand(): Command {
  const command = new Command('psql')
    .description('open psql on the database in force; its exit code is passed on')
    .argument('[arguments...]', 'passed to psql, after --')
    .allowUnknownOption()
    .action(async (args: string[], _options: unknown, self: Command) => {
      process.exitCode = await withDatabase(loadCommandConfig(self).config, (url) => runPsql(url, args));
    });
  return addConfigOptions(command).addHelpText(
    'after',
    `
Examples:
  packhouse psql
  packhouse psql -- -c 'select * from v_packs'`,
  );
}

async function runPsql(url: string, args: readonly string[]): Promise<number> {
  const target = new URL(url);
  const password = decodeURIComponent(target.password);
  // Arguments are visible to every user of the machine: the password goes by the environment.
  target.password = '';
  const env = { ...process.env, ...(password === '' ? {} : { PGPASSWORD: password }) };
  // Ctrl-C cancels a statement in psql; we wait for psql to end.
  const ignore = (): void => undefined;
  process.on('SIGINT', ignore);
  try {
    const child = spawn('psql', ['--dbname', target.href, ...args], { stdio: 'inherit', env });
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => resolve(code ?? 1));
    });
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    throw new PackhouseError(
      'psql-missing',
      'psql is not installed (Debian: postgresql-client; `make psql` installs it)',
      {},
      { cause: error },
    );
  } finally {
    process.off('SIGINT', ignore);
  }
}
