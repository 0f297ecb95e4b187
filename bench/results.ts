/**
 * Reports of the benchmark (`--json`) side by side, as the table of the README: ratios to git, then budgets, each beside its goal.
 *
 *   node bench/results.ts source-fs.json source-s3.json …
 */
import { readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Budget } from './budgets.ts';
import type { Row } from './report.ts';
import { resultsTable } from './results-table.ts';

const reports = process.argv.slice(2).map((file) => JSON.parse(readFileSync(file, 'utf8')) as Report);
if (reports.length === 0) throw new Error('expected files that --json wrote');
process.stdout.write(
  `${resultsTable(reports.map(({ repository, store, rows, budgets }) => ({ title: titleOf(repository, store), rows, budgets })))}\n`,
);

interface Report {
  readonly store: string;
  readonly repository: { readonly path: string; readonly objects: number };
  readonly rows: readonly Row[];
  readonly budgets: readonly Budget[];
}

/** `/srv/linux.git` and `/srv/linux/repo` are both `linux`. */
function titleOf({ path, objects }: Report['repository'], store: string): string {
  const last = basename(path, '.git');
  const name = last === 'repo' ? basename(dirname(path)).replace(/^.*\+/, '') : last;
  return `${name}, ${Math.round(objects / 1000)}k objects, ${store === 's3' ? 'Ceph RGW' : 'folder'}`;
}
