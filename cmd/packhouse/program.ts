/**
 * packhouse: the command line. One file a verb; exit codes: 0 done, 1 failed, 2 asked wrongly (arguments or configuration).
 */
import { Command, CommanderError } from 'commander';
import { armFailpoints, messageOf } from '../../internal/base/mod.ts';
import { exitCodeOf, hintFor } from './cli.ts';
import { packhouseVersion } from './version.ts';

/** In the order of the help. Who asks for a verb loads it alone: loading all of them takes most of the time of a short one. */
const VERBS: ReadonlyMap<string, () => Promise<() => Command>> = new Map([
  ['serve', async () => (await import('./serve.ts')).serveCommand],
  ['migrate', async () => (await import('./migrate.ts')).migrateCommand],
  ['repo', async () => (await import('./repo.ts')).repoCommand],
  ['token', async () => (await import('./token.ts')).tokenCommand],
  ['fsck', async () => (await import('./fsck.ts')).fsckCommand],
  ['seal', async () => (await import('./seal.ts')).sealCommand],
  ['compact', async () => (await import('./compact.ts')).compactCommand],
  ['where', async () => (await import('./where.ts')).whereCommand],
  ['stats', async () => (await import('./stats.ts')).statsCommand],
  ['sweep', async () => (await import('./sweep.ts')).sweepCommand],
  ['undelete', async () => (await import('./history.ts')).undeleteCommand],
  ['reflog', async () => (await import('./history.ts')).reflogCommand],
  ['hold', async () => (await import('./hold.ts')).holdCommand],
  ['jobs', async () => (await import('./jobs.ts')).jobsCommand],
  ['snapshot', async () => (await import('./snapshot.ts')).snapshotCommand],
  ['rebuild', async () => (await import('./rebuild.ts')).rebuildCommand],
  ['backup', async () => (await import('./backup.ts')).backupCommand],
  ['restore', async () => (await import('./backup.ts')).restoreCommand],
  ['import', async () => (await import('./import.ts')).importCommand],
  ['eject', async () => (await import('./eject.ts')).ejectCommand],
  ['cat', async () => (await import('./cat.ts')).catCommand],
  ['config', async () => (await import('./config.ts')).configCommand],
  ['psql', async () => (await import('./psql.ts')).psqlCommand],
  ['version', async () => (await import('./version.ts')).versionCommand],
]);

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
const asked = VERBS.get(process.argv[2] ?? '');
for (const load of asked === undefined ? VERBS.values() : [asked]) program.addCommand((await load())());
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
