import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { git, scratchFolder, testStores } from '../internal/testkit/mod.ts';
import { budgetLines, budgetsOf } from './budgets.ts';
import { type Curve, growthOf, isMet, plotOf, threeFrom } from './growth.ts';
import { type ItemResult, resultOf } from './measure.ts';
import { cpuSecondsOf, parseStat } from './processes.ts';
import { PushChain } from './pushes.ts';
import { differencesIn, type Row, rowsOf, tableOf } from './report.ts';
import { fetchRequest, pushRequest } from './requests.ts';
import { resultsTable } from './results-table.ts';
import { storeOperationsIn } from './servers.ts';
import { makeSource, readSource } from './source.ts';
import { countStatements } from './statements.ts';
import { median, quantile } from './statistics.ts';
import { type Shape, syntheticHistory } from './synthetic.ts';
import { objectsIn } from './wire.ts';

const SHAPE: Shape = { commits: 40, files: 30, churn: 2, refs: 8, fanout: 4, seed: 7 };

test('quantiles lie between samples', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(quantile([10, 20], 0.25), 12.5);
  assert.equal(quantile([5], 0.99), 5);
  assert.ok(Number.isNaN(median([])));
});

test('a fetch request is framed as protocol v2 wants it', () => {
  const [want, have] = ['a'.repeat(40), 'b'.repeat(40)];
  const text = fetchRequest([want], [have], ['deepen 1']).toString('latin1');
  assert.match(text, /^0012command=fetch\n[0-9a-f]{4}agent=\S+0001000eofs-delta\n/);
  assert.ok(text.endsWith(`000ddeepen 1\n0032want ${want}\n0032have ${have}\n0009done\n0000`), text);
});

test('objects of a pack are counted across packets', () => {
  const band = (bytes: string): string => `${(bytes.length + 5).toString(16).padStart(4, '0')}\x01${bytes}`;
  const answer = (...packets: string[]): Buffer => Buffer.from(`000dpackfile\n${packets.join('')}0000`, 'latin1');
  assert.equal(objectsIn(answer(band('PACK\0\0\0\x02\0\0\x01'), band('\x02rest'))), 258);
  assert.equal(objectsIn(answer(band('PACK\0\0\0\x02\0\0\0\0'))), 0);
  assert.equal(objectsIn(answer()), undefined);
  assert.equal(objectsIn(Buffer.from('no packet')), undefined);
});

describe('the synthetic history', () => {
  const hashOf = (shape: Shape): string => {
    const hash = createHash('sha256');
    for (const part of syntheticHistory(shape)) hash.update(part);
    return hash.digest('hex');
  };

  test('is the same in every run, and another with every flag', () => {
    const variants = Object.keys(SHAPE).map((key) => hashOf({ ...SHAPE, [key]: SHAPE[key as keyof Shape] + 1 }));
    assert.equal(hashOf(SHAPE), hashOf(SHAPE));
    assert.equal(new Set([hashOf(SHAPE), ...variants]).size, Object.keys(SHAPE).length + 1);
  });

  test('is a repository of the asked shape', async () => {
    const folder = await makeSource(scratchFolder('bench'), SHAPE);
    await git(['fsck', '--strict'], { cwd: folder });
    const source = readSource(folder);
    assert.equal(source.refs, SHAPE.refs + 1);
    assert.equal(await git(['rev-list', '--count', '--first-parent', 'main'], { cwd: folder }), String(SHAPE.commits));
    const files = (await git(['ls-tree', '-r', '--name-only', 'main', 'src'], { cwd: folder })).split('\n');
    assert.equal(files.length, SHAPE.files);
    assert.ok(Number(await git(['rev-list', '--count', '--merges', 'main'], { cwd: folder })) > 0);
  });

  test('takes pushes on top of it that git finds sound', async () => {
    const folder = await makeSource(scratchFolder('bench'), SHAPE);
    const { base } = readSource(folder);
    const pushes = new PushChain('refs/heads/x', base).take(3);
    for (const { pack } of pushes) await git(['index-pack', '--stdin', '--strict'], { cwd: folder, input: pack });
    const last = pushes.at(-1)?.to ?? '';
    assert.equal(await git(['rev-parse', `${last}~3`], { cwd: folder }), base.commit);
    assert.equal(await git(['diff', '--name-only', base.commit, last], { cwd: folder }), 'packhouse-bench.txt');
    assert.deepEqual(pushes, new PushChain('refs/heads/x', base).take(3));
    assert.equal(pushes[1]?.from, pushes[0]?.to);
    assert.match(pushRequest(pushes[0] as never).toString('latin1', 0, 120), /^[0-9a-f]{4}0{40} [0-9a-f]{40} refs\/heads\/x\0/);
  });
});

test('CPU of a server is its own and that of all it started', () => {
  const line = (pid: number, parent: number, times: string): string =>
    `${pid} (a (b) c) S ${parent} 1 1 0 -1 4194560 1 1 1 1 ${times} 20 0 1 0 100 1 1`;
  const stats = [line(10, 1, '100 50 7 3'), line(11, 10, '20 0 5 0'), line(12, 11, '1 1 0 0'), line(13, 1, '900 0 0 0')].map(
    parseStat,
  );
  assert.deepEqual(stats[0], { pid: 10, parent: 1, own: 150, reaped: 10 });
  assert.deepEqual(cpuSecondsOf(10, stats), { self: 1.5, descendants: 0.37 });
  assert.throws(() => cpuSecondsOf(99, stats), /no process 99/);
});

test('statements and transactions are counted from the log of PostgreSQL', () => {
  const log = [
    '2026-01-01 00:00:00.000 UTC [7] LOG:  execute <unnamed>: \n\tselect 1\n\tfrom t',
    '2026-01-01 00:00:00.000 UTC [7] DETAIL:  Parameters: $1 = 1',
    '2026-01-01 00:00:00.000 UTC [8] LOG:  statement: begin',
    '2026-01-01 00:00:00.000 UTC [8] LOG:  execute named: insert into t values ($1)',
    '2026-01-01 00:00:00.000 UTC [7] LOG:  statement: SELECT 2',
    '2026-01-01 00:00:00.000 UTC [8] LOG:  statement: update t set a = 1',
    '2026-01-01 00:00:00.000 UTC [8] LOG:  statement: commit',
    '2026-01-01 00:00:00.000 UTC [9] LOG:  checkpoint starting: time',
  ].join('\n');
  assert.deepEqual(countStatements(log), { statements: 4, transactions: 3 });
});

test('store requests are counted by operation', () => {
  const name = 'packhouse_store_requests_total';
  const text =
    `# TYPE ${name} counter\n${name}{operation="get",outcome="ok"} 3\n${name}{operation="get",outcome="error"} 1\n` +
    `${name}{operation="put",outcome="ok"} 2\n${name}_x{operation="put"} 9\n`;
  assert.deepEqual(storeOperationsIn(text), { get: 4, put: 2 });
  assert.deepEqual(storeOperationsIn(''), {});
});

test('the report compares figures with their goals', () => {
  const result = resultOf('ls-refs');
  result.packhouse.milliseconds.push(1, 2, 3);
  result.git.milliseconds.push(10);
  Object.assign(result.packhouse, { operations: 4, cpuSeconds: 2, store: { get: 8 }, peakMemoryBytes: 2 ** 21, objects: 1 });
  assert.partialDeepStrictEqual(rowsOf([result])[0]?.costs, { storeRequests: 2, storeGets: 2, storePuts: 0 });
  Object.assign(result, { counts: { statements: 1.5, transactions: 1, store: { put: 3 } } });
  const rows = rowsOf([result]);
  const expected: Partial<Row> = { item: 'ls-refs', packhouse: 2, git: 10, ratio: 0.2, goal: '<= 0.15', met: false };
  assert.partialDeepStrictEqual(rows, [expected]);
  assert.partialDeepStrictEqual(rows[0]?.costs, {
    packhouseCpuSeconds: 0.5,
    statements: 1.5,
    storeRequests: 3,
    storePuts: 3,
    peakMebibytes: 2,
  });
  assert.match(tableOf(rows), /ls-refs +ms +2 +10 +0\.20 +<= 0\.15 +missed/);
  assert.deepEqual(differencesIn([result]), ['ls-refs: Packhouse sends 1 objects, git undefined']);
});

test('budgets are those of single operations', () => {
  const [push, clone, cold] = ['push of 1 commit', 'clone', 'clone, cold'].map(resultOf) as [ItemResult, ItemResult, ItemResult];
  Object.assign(push, { counts: { statements: 7, transactions: 1, store: { get: 1, list: 3 } } });
  clone.packhouse.bytes.push(101 * 2 ** 20);
  Object.assign(cold.packhouse, { operations: 2, store: { get: 66 } });
  const met = Object.fromEntries(budgetsOf([push, clone, cold], 1500).map(({ what, figure, max }) => [what, [figure, max]]));
  assert.deepEqual(met, {
    'push of 1 commit: statements': [7, 6],
    'push of 1 commit, warm: PUTs': [0, 0],
    'push of 1 commit, warm: GETs': [1, 0],
    'clone, cold: store requests': [33, 32],
    'start to ready on existing data, ms': [1500, 2000],
  });
  assert.match(budgetLines(budgetsOf([push], 1500)), /^push of 1 commit: statements +7 +<= 6 +missed$/m);
});

test('reports stand side by side, with what has a goal', () => {
  const row = { unit: 'ms', packhouse: 1, git: 4 } as const;
  const goals = { ...row, item: 'clone', ratio: 0.25, goal: '<= 0.6', met: true };
  const none = { ...row, item: 'size', ratio: 1, goal: undefined, met: undefined };
  const budget = { what: 'PUTs', figure: 1, max: 0, met: false };
  const missed = { ...goals, ratio: 0.7, met: false };
  const table = resultsTable([
    { title: 'a', rows: [goals, none], budgets: [] },
    { title: 'b', rows: [missed, { ...goals, item: 'by URL' }], budgets: [budget] },
  ]);
  assert.deepEqual(table.split('\n'), [
    '| Packhouse / git | goal | a | b |',
    '|---|---|---|---|',
    '| clone | ≤ 0.6 | 0.25 | 0.70, missed |',
    '| by URL | ≤ 0.6 |  | 0.25 |',
    '',
    '| Packhouse alone | goal | a | b |',
    '|---|---|---|---|',
    '| PUTs | ≤ 0 |  | 1, missed |',
  ]);
});

test('a curve is judged from its smallest to its largest size, and drawn from zero', () => {
  const curve: Curve = {
    what: 'x',
    unit: 'ms',
    goal: 'flat',
    points: [
      { label: '1 ref', size: 1, packhouse: 1, git: 8 },
      { label: '100 refs', size: 100, packhouse: 2, git: 8 },
    ],
  };
  assert.deepEqual(growthOf(curve, 'packhouse'), { cost: 2, size: 100 });
  assert.equal(isMet(curve), false);
  assert.equal(isMet({ ...curve, goal: 'linear' }), true);
  assert.deepEqual(plotOf(curve).split('\n'), [
    'x, ms: × 2.00 for × 100, git × 1.00; goal flat: missed',
    `     1 ref  Packhouse    1.00 ${'█'.repeat(4)}`,
    `            git          8.00 ${'█'.repeat(32)}`,
    `  100 refs  Packhouse    2.00 ${'█'.repeat(8)}`,
    `            git          8.00 ${'█'.repeat(32)}`,
  ]);
  assert.deepEqual(threeFrom(5), [5, 50, 500]);
});

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));

interface Report {
  readonly rows: Row[];
  readonly differences: string[];
  readonly curves: Curve[];
  readonly budgets: { readonly what: string }[];
}

async function benchOf(...flags: readonly string[]): Promise<{ stdout: string; report: Report }> {
  const json = join(scratchFolder('bench'), 'report.json');
  const small = ['--quick', '--commits', '30', '--files', '20', '--refs', '6', '--rounds', '1', '--json', json];
  const { stdout } = await promisify(execFile)(process.execPath, [MAIN, ...small, ...flags], { cwd: scratchFolder('cwd') });
  return { stdout, report: JSON.parse(readFileSync(json, 'utf8')) as Report };
}

test('a small run measures everything on the wire on both servers', async () => {
  const store = testStores().at(-1) ?? 'fs';
  const { stdout, report } = await benchOf('--view', 'wire', '--store', store);
  assert.deepEqual(report.differences, []);
  assert.equal(new Set(report.rows.map(({ item }) => item.split(':')[0])).size, 17);
  for (const { item, packhouse, git: other } of report.rows)
    assert.ok(packhouse >= 0 && other >= 0, `${item}: ${packhouse}, ${other}`);
  const push = report.rows.find(({ item }) => item === 'push of 1 commit: p50');
  assert.ok((push?.costs?.statements ?? 0) >= 1 && (push?.costs?.transactions ?? 0) >= 1, 'statements of a push were counted');
  assert.match(stdout, /^push of 1 commit: p99 +ms /m);
  assert.equal(new Set(report.budgets.map(({ what }) => what)).size, 15);
});

test('a small run measures what users wait for', async () => {
  const { stdout, report } = await benchOf('--view', 'user', '--markdown');
  assert.equal(report.rows.length, 2 + 11 + 4);
  for (const { item, packhouse, git: other } of report.rows)
    assert.ok(packhouse > 0 && other > 0, `${item}: ${packhouse}, ${other}`);
  const push = report.rows.find(({ item }) => item === 'git push of 1 commit');
  assert.ok((push?.costs?.statements ?? 0) >= 2, 'statements of a push were counted');
  assert.match(stdout, /^\| 8 × git push, 8 branches \| \S+ pushes\/s \| \S+ pushes\/s \| \S+ \| ≥ 1\.11 (met|missed) \|$/m);
});

test('a small run measures how costs grow', async () => {
  const { stdout, report } = await benchOf('--growth', '--commits', '3', '--refs', '2');
  const names = ['push of 1 commit', 'fetch of 1 commit', 'ls-refs', 'memory of a push', 'memory of a clone'];
  assert.deepEqual(
    report.curves.map(({ what }) => what),
    names,
  );
  for (const { what, points } of report.curves) {
    assert.equal(points.length, 3, what);
    for (const [i, { label, size, packhouse }] of points.entries())
      assert.ok(packhouse > 0 && size > (points[i - 1]?.size ?? 0), `${what}: ${label}`);
  }
  assert.match(stdout, /^ls-refs, ms: × \S+ for × 67, git × \S+; goal linear: (met|missed)$/m);
});
