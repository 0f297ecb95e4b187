import { INITIAL_PUSH, INITIAL_PUSH_COLD } from './items.ts';
import { type ItemResult, perOperation, type Sample } from './measure.ts';
import { sumOf } from './servers.ts';
import { median, quantile } from './statistics.ts';
import { CLONE_BY_URL } from './user.ts';

/** One figure of both servers. */
export interface Row {
  readonly item: string;
  readonly unit: 'ms' | 'MiB' | 'MiB/s' | 'pushes/s' | 'clones/s' | 'CPU s';
  readonly packhouse: number;
  readonly git: number;
  /** Packhouse / git. */
  readonly ratio: number;
  /** What the ratio should be: `<= 0.25`, `>= 4`; undefined where there is no goal. */
  readonly goal: string | undefined;
  readonly met: boolean | undefined;
  /** On the first row of an item. */
  readonly costs?: Costs;
}

/** What one operation costs. */
export interface Costs {
  readonly packhouseCpuSeconds: number;
  readonly gitCpuSeconds: number;
  readonly statements: number | undefined;
  readonly transactions: number | undefined;
  readonly storeRequests: number;
  readonly storeGets: number;
  readonly storePuts: number;
  /** Of Packhouse's Node process with its threads, while the item ran. */
  readonly peakMebibytes: number;
}

interface Figure {
  readonly label?: string;
  readonly unit: Row['unit'];
  readonly goal?: string;
  of(sample: Sample): number;
}

const p50: Figure['of'] = (sample) => median(sample.milliseconds);
const firstByte: Figure = {
  label: 'first pack byte',
  unit: 'ms',
  goal: '<= 0.3',
  of: (sample) => median(sample.packMilliseconds),
};
const size: Figure = { label: 'size', unit: 'MiB', of: (sample) => median(sample.bytes) / 2 ** 20 };
const cpu: Figure = { label: 'server CPU', unit: 'CPU s', goal: '<= 0.3', of: (sample) => sample.cpuSeconds / sample.operations };
const rate: Figure['of'] = (sample) => median(sample.perSecond);
const pushRate: Figure = { unit: 'pushes/s', goal: '>= 4', of: rate };
/** As the user waits: the client's own work is most of it. */
const waits: Figure = { unit: 'ms', goal: '<= 0.9', of: p50 };

const FIGURES: Readonly<Record<string, readonly Figure[]>> = {
  [INITIAL_PUSH]: [{ label: 'with git push', unit: 'ms', goal: '<= 1.0', of: p50 }],
  [INITIAL_PUSH_COLD]: [{ unit: 'ms', of: p50 }],
  'ls-refs': [{ unit: 'ms', goal: '<= 0.15', of: p50 }],
  'ls-refs of 5000 refs': [{ unit: 'ms', goal: '<= 0.15', of: p50 }],
  'ls-refs of 500 refs': [{ unit: 'ms', of: p50 }],
  clone: [{ label: 'last byte', unit: 'ms', goal: '<= 0.6', of: p50 }, firstByte, cpu, size],
  'depth 1': [{ unit: 'ms', goal: '<= 0.4', of: p50 }, size],
  'blob:none': [{ unit: 'ms', goal: '<= 0.6', of: p50 }, size],
  'no-op fetch': [{ unit: 'ms', goal: '<= 0.15', of: p50 }],
  'fetch of 1 commit': [{ unit: 'ms', goal: '<= 0.25', of: p50 }],
  'push of 1 commit': [
    { label: 'p50', unit: 'ms', goal: '<= 0.25', of: p50 },
    { label: 'p99', unit: 'ms', goal: '<= 0.25', of: (sample) => quantile(sample.milliseconds, 0.99) },
  ],
  '8 pushers, 8 repositories': [pushRate],
  '8 pushers, 8 branches': [pushRate],
  '8 clones': [{ unit: 'MiB/s', goal: '>= 2', of: (sample) => median(sample.mebibytesPerSecond) }],
  'clone, cold': [
    { label: 'last byte', unit: 'ms', of: p50 },
    { ...firstByte, goal: '' },
  ],
  'depth 1, cold': [{ unit: 'ms', of: p50 }],
  'fetch of 1 commit, cold': [{ unit: 'ms', of: p50 }],
  'push of 1 commit, cold': [{ unit: 'ms', of: p50 }],
  'git push of everything': [{ unit: 'ms', goal: '<= 1.0', of: p50 }],
  'git clone --mirror': [waits],
  [CLONE_BY_URL]: [waits],
  'git clone --depth 1': [waits],
  'git clone --filter=blob:none': [waits],
  'git ls-remote': [waits],
  'git fetch of nothing': [waits],
  'git fetch of 1 commit': [waits],
  'git push of 1 commit': [waits],
  '8 × git clone': [{ unit: 'clones/s', goal: '>= 1.11', of: rate }],
  '8 × git push, 8 repositories': [{ unit: 'pushes/s', goal: '>= 1.11', of: rate }],
  '8 × git push, 8 branches': [{ unit: 'pushes/s', goal: '>= 1.11', of: rate }],
  'git clone --mirror, cold': [{ unit: 'ms', of: p50 }],
  'git clone --depth 1, cold': [{ unit: 'ms', of: p50 }],
  'git fetch of 1 commit, cold': [{ unit: 'ms', of: p50 }],
  'git push of 1 commit, cold': [{ unit: 'ms', of: p50 }],
};

export function rowsOf(results: readonly ItemResult[]): Row[] {
  return results.flatMap((result) => (FIGURES[result.item] ?? []).map((figure, i) => rowOf(result, figure, i === 0)));
}

function rowOf(result: ItemResult, { label, unit, goal = '', of }: Figure, withCosts: boolean): Row {
  const [packhouse, git] = [of(result.packhouse), of(result.git)];
  const ratio = packhouse / git;
  return {
    item: label === undefined ? result.item : `${result.item}: ${label}`,
    unit,
    packhouse,
    git,
    ratio,
    goal: goal === '' ? undefined : goal,
    met: goal === '' ? undefined : isMet(ratio, goal),
    ...(withCosts ? { costs: costsOf(result) } : {}),
  };
}

function isMet(ratio: number, goal: string): boolean {
  const [sign, bound] = goal.split(' ');
  return sign === '<=' ? ratio <= Number(bound) : ratio >= Number(bound);
}

function costsOf({ packhouse, git, counts }: ItemResult): Costs {
  const store = counts?.store ?? perOperation(packhouse.store, packhouse.operations);
  return {
    packhouseCpuSeconds: packhouse.cpuSeconds / packhouse.operations,
    gitCpuSeconds: git.cpuSeconds / git.operations,
    statements: counts?.statements,
    transactions: counts?.transactions,
    storeRequests: sumOf(store),
    storeGets: store.get ?? 0,
    storePuts: store.put ?? 0,
    peakMebibytes: packhouse.peakMemoryBytes / 2 ** 20,
  };
}

/** Answers in which the two servers do not send as many objects: then the times do not compare the same work. */
export function differencesIn(results: readonly ItemResult[]): string[] {
  return results.flatMap(({ item, packhouse, git }) =>
    packhouse.objects === git.objects ? [] : [`${item}: Packhouse sends ${packhouse.objects} objects, git ${git.objects}`],
  );
}

const HEADER = [
  '',
  'unit',
  'Packhouse',
  'git',
  'ratio',
  'goal',
  '',
  'CPU ms',
  'git CPU ms',
  'stmts',
  'trans',
  'store',
  'GET',
  'PUT',
  'RSS MiB',
];

/** Aligned columns; costs are those of one operation. */
export function tableOf(rows: readonly Row[]): string {
  const lines = [HEADER, ...rows.map(cellsOf)];
  const widths = HEADER.map((_, column) => Math.max(...lines.map((cells) => cells[column]?.length ?? 0)));
  const pad = (cell: string, column: number): string =>
    column < 2 || column === 6 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0);
  return lines.map((cells) => cells.map(pad).join('  ').trimEnd()).join('\n');
}

function cellsOf({ item, unit, packhouse, git, ratio, goal, met, costs }: Row): string[] {
  const figures = [
    item,
    unit,
    short(packhouse),
    short(git),
    ratio.toFixed(2),
    goal ?? '',
    met === undefined ? '' : met ? 'met' : 'missed',
  ];
  if (costs === undefined) return figures;
  const { packhouseCpuSeconds, gitCpuSeconds, statements, transactions, storeRequests, storeGets, storePuts, peakMebibytes } =
    costs;
  const counts = [statements, transactions, storeRequests, storeGets, storePuts].map((count) =>
    count === undefined ? '' : short(count),
  );
  return [...figures, short(packhouseCpuSeconds * 1000), short(gitCpuSeconds * 1000), ...counts, peakMebibytes.toFixed(0)];
}

/** The README's form: what was measured, both figures, their ratio and the goal. */
export function markdownOf(rows: readonly Row[]): string {
  const lines = rows
    .filter(({ goal }) => goal !== undefined)
    .map(({ item, unit, packhouse, git, ratio, goal, met }) => {
      const judged = `${goal?.replace('<=', '≤').replace('>=', '≥')} ${met ? 'met' : 'missed'}`;
      return `| ${item} | ${short(packhouse)} ${unit} | ${short(git)} ${unit} | ${ratio.toFixed(2)} | ${judged} |`;
    });
  return ['| | Packhouse | git | ratio | goal |', '|---|---|---|---|---|', ...lines].join('\n');
}

/** Three digits, or whole numbers from 100. */
function short(value: number): string {
  return Number.isInteger(value) || value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
