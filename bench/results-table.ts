import type { Budget } from './budgets.ts';
import type { Row } from './report.ts';

/** One run of the benchmark. */
export interface Results {
  readonly title: string;
  readonly rows: readonly Row[];
  readonly budgets: readonly Budget[];
}

/** What has a goal, a column for each run, as Markdown. */
export function resultsTable(runs: readonly Results[]): string {
  const ratios = linesOf(
    runs.map(({ rows }) =>
      rows.flatMap(({ item, goal, ratio, met }) =>
        goal === undefined ? [] : [{ what: item, goal, figure: ratio.toFixed(2), met }],
      ),
    ),
  );
  const budgets = linesOf(
    runs.map((run) =>
      run.budgets.map(({ what, figure, max, met }) => ({
        what,
        goal: `<= ${max}`,
        figure: Number.isInteger(figure) ? String(figure) : figure.toPrecision(3),
        met,
      })),
    ),
  );
  const head = (what: string): string[] => [
    `| ${what} | goal | ${runs.map(({ title }) => title).join(' | ')} |`,
    `|---|---|${runs.map(() => '---|').join('')}`,
  ];
  return [...head('Packhouse / git'), ...ratios, '', ...head('Packhouse alone'), ...budgets].join('\n');
}

interface Cell {
  readonly what: string;
  readonly goal: string;
  readonly figure: string;
  readonly met: boolean | undefined;
}

function linesOf(columns: readonly (readonly Cell[])[]): string[] {
  const byName = columns.map((cells) => new Map(cells.map((cell) => [cell.what, cell])));
  const names = [...new Set(columns.flatMap((cells) => cells.map(({ what }) => what)))];
  return names.map((what) => {
    const cells = byName.map((column) => column.get(what));
    const shown = cells.map((cell) => (cell === undefined ? '' : `${cell.figure}${cell.met ? '' : ', missed'}`));
    const goal = cells.find((cell) => cell !== undefined)?.goal ?? '';
    return `| ${what} | ${goal.replace('<=', '≤').replace('>=', '≥')} | ${shown.join(' | ')} |`;
  });
}
