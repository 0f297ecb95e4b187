import { Command } from 'commander';
import type { JobState } from '../../internal/catalog/mod.ts';
import { addConfigOptions, print, table, withCatalog } from './cli.ts';

/** The newest are shown. */
const SHOWN_MAX = 1000;

/** `packhouse jobs`: what maintenance works on, waits for and has given up. */
export function jobsCommand(): Command {
  const command = new Command('jobs')
    .description('list jobs of maintenance that are queued, run, or failed in the last days')
    .option('--all', 'those that ended well too')
    .option('--json', 'print JSON')
    .action(async (options: { all?: boolean; json?: boolean }, self: Command) => {
      const found = await withCatalog(self, (catalog) => catalog.maintenance.jobs.list(options.all ?? false, SHOWN_MAX));
      const jobs = found.map(plain);
      const rows = jobs.map((job) => [
        String(job.id),
        job.kind,
        String(job.pool ?? '-'),
        job.state,
        String(job.attempts),
        String(job.lost),
        job.finished_at ?? job.not_before,
        JSON.stringify(job.report ?? null).slice(0, 120),
      ]);
      print(options.json ?? false, jobs, table(['JOB', 'KIND', 'POOL', 'STATE', 'TRIES', 'LOST', 'WHEN', 'REPORT'], rows));
    });
  return addConfigOptions(command).addHelpText(
    'after',
    `
LOST counts processes that ended with the job. What ends one again and again waits longer each time; the verbs seal, compact and sweep do not wait.

Examples:
  packhouse jobs
  packhouse jobs --all --json`,
  );
}

function plain(job: JobState) {
  return {
    id: job.id,
    kind: job.kind,
    pool: job.poolId,
    state: job.state,
    attempts: job.attempts,
    lost: job.lost,
    not_before: job.notBefore.toISOString(),
    finished_at: job.finishedAt?.toISOString() ?? null,
    report: job.report,
  };
}
