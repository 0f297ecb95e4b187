import { type ChildProcess, fork } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Logger, messageOf } from '../../internal/base/mod.ts';
import type { Config } from '../../internal/config/mod.ts';
import type { Metrics } from '../../internal/http/mod.ts';

/** What the server tells its process of maintenance; the first message begins it, `stop` lets it put its jobs back. */
export type ToMaintenance =
  | { readonly kind: 'begin'; readonly config: Config; readonly databaseUrl: string }
  | { readonly kind: 'stop' };

/** What that process tells the server, for the counters. */
export type FromMaintenance =
  | { readonly kind: 'job'; readonly told: Parameters<Metrics['maintenanceJob']> }
  | { readonly kind: 'store'; readonly told: Parameters<Metrics['storeRequest']> };

export interface MaintenanceProcessParts {
  readonly config: Config;
  readonly databaseUrl: string;
  readonly log: Logger;
  readonly metrics: Metrics;
}

const SCRIPT = fileURLToPath(new URL('./maintenance-child.ts', import.meta.url));
/** glibc: memory of the buffers of a job goes back to the system when the job is over. */
const MALLOC = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '131072', MALLOC_TRIM_THRESHOLD_: '131072' };
const STOP_MS_MAX = 20_000;
const RESTART_MS_MIN = 1_000;
const RESTART_MS_MAX = 60_000;

/**
 * The maintenance of a server, in a process of its own until the signal: it compresses and reads for seconds at a time, and would hold up whoever pushes or
 * fetches. That process gives way to others (`maintenance-child.ts`), ends with this one, and is started again when it ends by itself.
 */
export async function runMaintenanceProcess(parts: MaintenanceProcessParts, signal: AbortSignal): Promise<void> {
  if (!parts.config.maintenance.enabled) return;
  let waitMs = RESTART_MS_MIN;
  while (!signal.aborted) {
    const began = performance.now();
    const end = await runOnce(parts, signal).catch(messageOf);
    if (signal.aborted) return;
    waitMs = performance.now() - began > RESTART_MS_MAX ? RESTART_MS_MIN : Math.min(waitMs * 2, RESTART_MS_MAX);
    parts.log.error({ end, waitMs }, 'the process of maintenance ended; starting it again');
    await sleep(waitMs, undefined, { signal, ref: false }).catch(() => {});
  }
}

/** How it ended. */
async function runOnce({ config, databaseUrl, log, metrics }: MaintenanceProcessParts, signal: AbortSignal): Promise<string> {
  const child = fork(SCRIPT, {
    serialization: 'advanced',
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    execArgv: [...process.execArgv, '--expose-gc', '--max-semi-space-size=4'],
    env: { ...process.env, ...MALLOC },
  });
  child.once('spawn', () => log.info({ pid: child.pid }, 'maintenance runs in a process of its own'));
  let killing: NodeJS.Timeout | undefined;
  const stop = (): void => {
    tell(child, { kind: 'stop' });
    killing = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
  };
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, killed) => resolve(`${code ?? killed}`));
      child.on('message', (message: FromMaintenance) => {
        if (message.kind === 'job') metrics.maintenanceJob(...message.told);
        else metrics.storeRequest(...message.told);
      });
      tell(child, { kind: 'begin', config, databaseUrl });
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
    });
  } finally {
    clearTimeout(killing);
    signal.removeEventListener('abort', stop);
  }
}

/** To one that has ended already nothing is told: its exit says so. */
function tell(child: ChildProcess, message: ToMaintenance): void {
  if (child.connected) child.send(message, () => {});
}
