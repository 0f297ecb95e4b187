import { Command } from 'commander';
import { createLogger, messageOf } from '../../internal/base/mod.ts';
import { CONFIG_KEYS } from '../../internal/config/mod.ts';
import { migrate } from '../../internal/migrations/mod.ts';
import { addConfigOptions, loadCommandConfig, startDatabase } from './cli.ts';

export function serveCommand(): Command {
  const command = new Command('serve')
    .description('serve git over HTTP')
    .option('--no-migrate', 'leave the schema of an external database as it is')
    .action(async (options: { migrate: boolean }, self: Command) => serve(self, options.migrate));
  return addConfigOptions(command, CONFIG_KEYS).addHelpText(
    'after',
    `
Examples:
  packhouse serve
  packhouse serve --http-listen 127.0.0.1:9000 --data-dir /srv/packhouse
  packhouse serve --config config.devenv.yaml
  packhouse serve --http-listen 0.0.0.0:8080 --auth-mode token`,
  );
}

/** Beyond what requests get: maintenance puts its jobs back, connections and the embedded PostgreSQL are closed. */
const STOP_MS_MAX = 30_000;

/** Validates, starts the database, migrates, serves until SIGTERM or SIGINT, and stops what it started. */
async function serve(command: Command, migrates: boolean): Promise<void> {
  const { config } = loadCommandConfig(command);
  const log = createLogger(config.log.level);

  const stop = new AbortController();
  const { drainDelayMs, drainTimeoutMs } = config.http;
  const onSignal = (signal: NodeJS.Signals): void => {
    // A second signal is somebody who does not want to wait.
    if (stop.signal.aborted) process.exit(1);
    log.info({ signal }, 'stopping');
    stop.abort();
    const giveUp = (): void => {
      log.error('what was to be stopped did not stop in time');
      process.exit(1);
    };
    setTimeout(giveUp, drainDelayMs + drainTimeoutMs + STOP_MS_MAX).unref();
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, onSignal);

  // Only this verb needs the server. It is loaded while the database starts.
  const loading = import('./wiring.ts');
  loading.catch(() => {});
  const database = await startDatabase(config, log);
  try {
    if (migrates || config.database.url === '') {
      const applied = await migrate(database.url);
      if (applied.length > 0) log.info({ applied }, 'database migrated');
    }
    if (stop.signal.aborted) return;
    const { runServer } = await loading;
    await runServer({ config, databaseUrl: database.url, log, signal: stop.signal, onListening: sayHowToPush });
  } finally {
    await database.stop().catch((error: unknown) => log.error({ error: messageOf(error) }, 'the database was not stopped'));
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.off(signal, onSignal);
  }
}

/** `url` is where the server listens, `http://host:port`. */
function sayHowToPush(url: string): void {
  process.stdout.write(`Packhouse listens on ${url}\n\n  git push ${url}/alice/demo.git main\n\n`);
}
