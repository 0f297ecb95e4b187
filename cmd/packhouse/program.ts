/**
 * packhouse: the command line. One file a verb; exit codes: 0 done, 1 failed, 2 asked wrongly (arguments or configuration).
 */
import { Command, CommanderError } from 'commander';
import { armFailpoints, messageOf } from '../../internal/base/mod.ts';
import { backupCommand, restoreCommand } from './backup.ts';
import { catCommand } from './cat.ts';
import { exitCodeOf, hintFor } from './cli.ts';
import { compactCommand } from './compact.ts';
import { configCommand } from './config.ts';
import { ejectCommand } from './eject.ts';
import { fsckCommand } from './fsck.ts';
import { reflogCommand, undeleteCommand } from './history.ts';
import { holdCommand } from './hold.ts';
import { importCommand } from './import.ts';
import { jobsCommand } from './jobs.ts';
import { migrateCommand } from './migrate.ts';
import { psqlCommand } from './psql.ts';
import { rebuildCommand } from './rebuild.ts';
import { repoCommand } from './repo.ts';
import { sealCommand } from './seal.ts';
import { serveCommand } from './serve.ts';
import { snapshotCommand } from './snapshot.ts';
import { statsCommand } from './stats.ts';
import { sweepCommand } from './sweep.ts';
import { tokenCommand } from './token.ts';
import { packhouseVersion, versionCommand } from './version.ts';
import { whereCommand } from './where.ts';

const program = new Command('packhouse')
  .description('A git storage engine: pushes become large packs in an object store, with the catalog in PostgreSQL.')
  .version(packhouseVersion(), '--version', 'print the version')
  .addHelpText(
    'after',
    `
Examples:
  packhouse serve
  packhouse repo list --json
  packhouse config print --effective
  packhouse help repo create`,
  );
const verbs = [
  serveCommand,
  migrateCommand,
  repoCommand,
  tokenCommand,
  fsckCommand,
  sealCommand,
  compactCommand,
  whereCommand,
  statsCommand,
  sweepCommand,
  undeleteCommand,
  reflogCommand,
  holdCommand,
  jobsCommand,
  snapshotCommand,
  rebuildCommand,
  backupCommand,
  restoreCommand,
  importCommand,
  ejectCommand,
  catCommand,
  configCommand,
  psqlCommand,
  versionCommand,
];
for (const verb of verbs) program.addCommand(verb());
everyCommand(program, (command) => command.exitOverride().showHelpAfterError(`(${command.name()} --help tells more)`));

try {
  armFailpoints(process.env.PACKHOUSE_FAILPOINTS ?? '');
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // commander has said what is wrong; help and --version end with 0.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    const hint = hintFor(error);
    process.stderr.write(`packhouse: ${messageOf(error)}${hint === undefined ? '' : `\n${hint}`}\n`);
    process.exitCode = exitCodeOf(error);
  }
}

function everyCommand(command: Command, work: (command: Command) => void): void {
  work(command);
  for (const child of command.commands) everyCommand(child, work);
}
