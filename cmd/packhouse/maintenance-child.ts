/**
 * The process that `runMaintenanceProcess` starts: the maintenance of one server, at a lower priority than its parent's. It ends when it is told to, and
 * at once when its parent is gone: then its jobs and leases run out, as those of any killed process.
 */
import { setPriority } from 'node:os';
import { armFailpoints, createLogger, messageOf } from '../../internal/base/mod.ts';
import { openCatalog } from '../../internal/catalog/mod.ts';
import type { Metrics } from '../../internal/http/mod.ts';
import type { FromMaintenance, ToMaintenance } from './maintenance-process.ts';
import { maintain } from './maintenance-wiring.ts';
import { openStore } from './open-store.ts';

/** A tenth of the CPU where a process of normal priority wants all of it, and all of it where none does. */
const NICENESS = 10;
/** One a lane, nearly. */
const CONNECTIONS_MAX = 8;
/** What jobs have held is collected after this pause without one: a collection costs more than a small job, and the next may be long in coming. */
const COLLECTED_AFTER_MS = 2_000;

const stop = new AbortController();

function tell(message: FromMaintenance): void {
  if (process.connected) process.send!(message);
}

async function run({ config, databaseUrl }: Extract<ToMaintenance, { kind: 'begin' }>): Promise<void> {
  const log = createLogger(config.log.level);
  armFailpoints(process.env.PACKHOUSE_FAILPOINTS ?? '');
  try {
    setPriority(NICENESS);
  } catch (error) {
    log.warn({ error: messageOf(error) }, 'maintenance runs at the priority of the server');
  }
  const { poolMax, statementTimeoutMs } = config.database;
  const catalog = openCatalog({ url: databaseUrl, poolMax: Math.min(poolMax, CONNECTIONS_MAX), statementTimeoutMs, log });
  const store = openStore(config, {
    onRequest: (operation, bytes, seconds, ok) => tell({ kind: 'store', told: [operation, seconds, bytes, ok] }),
    log,
  });
  const pause = setTimeout(() => void globalThis.gc?.({ execution: 'async' }), COLLECTED_AFTER_MS).unref();
  const onJob: Metrics['maintenanceJob'] = (...told) => {
    tell({ kind: 'job', told });
    pause.refresh();
  };
  try {
    await maintain({ config, catalog, store, log, onJob }, stop.signal);
  } finally {
    await store.close();
    await catalog.close();
  }
}

// A Ctrl-C in a terminal comes to the whole group: the parent says when it is time.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
process.on('disconnect', () => process.exit(1));
process.on('message', (message: ToMaintenance) => {
  if (message.kind === 'stop') return stop.abort();
  run(message).then(
    () => process.exit(0),
    (error: unknown) => {
      process.stderr.write(`maintenance: ${messageOf(error)}\n`);
      process.exit(1);
    },
  );
});
