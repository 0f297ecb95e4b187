/**
 * `make bench`: Packhouse beside `git http-backend` on loopback, the same work on both in turns, in two views: on the wire, by a client that speaks
 * the protocol and does nothing with the answers; and as the user waits, by git's own commands. Prints both figures, their ratio and what an
 * operation costs.
 *
 * Fair: one machine, one client, one keep-alive connection each; git's repository has been through gc and has bitmaps and a commit graph;
 * both sync to disk as they do by default. The bridge in front of git is a Node process whose CPU is not counted as git's, PostgreSQL's is
 * counted as Packhouse's; that of an object store is nobody's. Packhouse has done the maintenance that was due. Figures are warm, unless they say cold.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { budgetLines, budgetsOf } from './budgets.ts';
import { measureGrowth, plotOf, threeFrom } from './growth.ts';
import { COLD_ON_WIRE, type Effort, INITIAL_PUSH, INITIAL_PUSH_COLD, type Item, itemsOf, MANY_REFS, SOURCE } from './items.ts';
import { addTo, type ItemResult, measureAll, resultOf, type Servers } from './measure.ts';
import { peakMemoryBytes, resetPeakMemory } from './processes.ts';
import { differencesIn, markdownOf, rowsOf, tableOf } from './report.ts';
import { cpuModel, NO_MAINTENANCE, startGit, startPackhouse } from './servers.ts';
import { makeSource, pushSource, readSource, type Source, tuneForServing } from './source.ts';
import { COLD_FOR_USER, type UserEffort, userItemsOf } from './user.ts';

interface Options {
  readonly commits?: number;
  readonly files?: number;
  readonly churn: number;
  readonly refs?: number;
  readonly fanout: number;
  readonly seed: number;
  readonly repo?: string;
  readonly store: 'fs' | 's3';
  readonly rounds?: number;
  readonly only?: string;
  readonly work: string;
  readonly json?: string;
  readonly markdown: boolean;
  readonly quick: boolean;
  readonly growth: boolean;
  readonly view: 'wire' | 'user' | 'both';
}

const USUAL = { commits: 3000, files: 1500, refs: 240 };
const QUICK = { commits: 400, files: 200, refs: 40 };
const USUAL_EFFORT: Effort = { rounds: 5, reads: 12, pushes: 40, pushesPerClient: 20 };
const QUICK_EFFORT: Effort = { rounds: 2, reads: 4, pushes: 5, pushesPerClient: 2 };
const USUAL_USER_EFFORT: UserEffort = { rounds: 3, commands: 8, pushesPerClient: 8 };
const QUICK_USER_EFFORT: UserEffort = { rounds: 1, commands: 1, pushesPerClient: 1 };
const USUAL_GROWTH = { commits: 100, refs: 50, packBytes: 2 ** 20, rounds: 3, requests: 10 };
const QUICK_GROWTH = { commits: 10, refs: 10, packBytes: 2 ** 16, rounds: 1, requests: 4 };
/** Pushes of everything to a process that has taken one, for the median. */
const WARM_PUSHES = 3;
/** Of both servers' first ones together; those of larger repositories are not repeated. */
const LONG_PUSHES_MS = 30_000;
const MANY = 5000;
const QUICK_MANY = 500;
const MANY_REFS_SHAPE = { commits: 500, files: 40, churn: 1, fanout: 12, seed: 1 };

const options = new Command('bench')
  .description('Measures Packhouse beside git http-backend, on the wire and as the user waits.')
  .addOption(
    new Option('--view <view>', 'wire: what the servers answer; user: git commands')
      .choices(['wire', 'user', 'both'])
      .default('both'),
  )
  .option('--repo <path>', 'a repository to use instead of a synthetic one; it is only read')
  .option('--commits <n>', `commits of the synthetic history (${USUAL.commits}, quick ${QUICK.commits})`, positive)
  .option('--files <n>', `its files (${USUAL.files}, quick ${QUICK.files})`, positive)
  .option('--churn <n>', 'files that a commit edits', positive, 3)
  .option('--refs <n>', `its branches and tags (${USUAL.refs}, quick ${QUICK.refs})`, positive)
  .option('--fanout <n>', 'entries of a folder', positive, 12)
  .option('--seed <n>', 'another history of the same shape', positive, 1)
  .addOption(new Option('--store <kind>', 'fs, or s3: the store of PACKHOUSE_TEST_S3_*').choices(['fs', 's3']).default('fs'))
  .option(
    '--rounds <n>',
    `rounds of each view (${USUAL_EFFORT.rounds} and ${USUAL_USER_EFFORT.rounds}; quick ${QUICK_EFFORT.rounds} and ${QUICK_USER_EFFORT.rounds})`,
    positive,
  )
  .option('--only <regexp>', 'the items whose names it matches, and the initial push')
  .option('--work <folder>', 'where data is kept while it runs; its disk is part of what is measured', tmpdir())
  .option('--json <file>', 'write every figure there')
  .option('--markdown', 'print the table in the short form of the README too', false)
  .option('--growth', 'instead: cost at three sizes a factor of ten apart; --commits and --refs set the smallest', false)
  .option('--quick', 'small and short: to see that it works, not to compare', false)
  .parse()
  .opts<Options>();
await bench(options);

async function bench(asked: Options): Promise<void> {
  const work = mkdtempSync(join(resolve(asked.work), 'packhouse-bench-'));
  const stops: (() => Promise<void> | void)[] = [() => rmSync(work, { recursive: true, force: true })];
  let stopping: Promise<void> | undefined;
  // Once, in reverse order: a signal comes in the middle of work, which then fails and wants to stop everything as well.
  const stopAll = (): Promise<void> => {
    stopping ??= (async () => {
      for (let stop = stops.pop(); stop !== undefined; stop = stops.pop()) await stop();
    })();
    return stopping;
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stopAll().finally(() => process.exit(1)));
  try {
    say('starting the servers');
    const folders = { packhouse: join(work, 'packhouse'), git: join(work, 'git') };
    for (const folder of Object.values(folders)) mkdirSync(folder);
    const packhouse = await startPackhouse(folders.packhouse, asked.store, {}, NO_MAINTENANCE);
    stops.push(() => packhouse.stop());
    const git = await startGit(folders.git);
    stops.push(() => git.stop());
    await (asked.growth ? growth : compare)({ packhouse, git }, work, asked);
  } finally {
    await stopAll();
  }
}

async function prepareSource(work: string, asked: Options): Promise<Source> {
  if (asked.repo !== undefined) return readSource(resolve(asked.repo));
  const usual = asked.quick ? QUICK : USUAL;
  const { commits = usual.commits, files = usual.files, refs = usual.refs, churn, fanout, seed } = asked;
  return readSource(await makeSource(work, { commits, files, refs, churn, fanout, seed }));
}

function writeReport(report: unknown, { json }: Options): void {
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`);
}

async function compare(servers: Servers, work: string, asked: Options): Promise<void> {
  say('preparing the repository');
  const source = await prepareSource(work, asked);
  say(`${source.objects} objects, ${source.refs} refs`);
  const { packhouse } = servers;
  const results = await prepareServers(servers, source, work, asked);
  try {
    await measureViews(servers, source, work, asked, results);
  } catch (error) {
    // Hours may have gone into what is there.
    writeReport(reportOf(results, source, Number.NaN, asked), asked);
    throw error;
  }
  writeReport(reportOf(results, source, await packhouse.restart(), asked), asked);
}

/** Adds the results of each view when it is through. */
async function measureViews(
  servers: Servers,
  source: Source,
  work: string,
  asked: Options,
  results: ItemResult[],
): Promise<void> {
  const isAsked = ({ name }: Item): boolean => new RegExp(asked.only ?? '').test(name);
  if (asked.view !== 'user') {
    const effort = withRounds(asked.quick ? QUICK_EFFORT : USUAL_EFFORT, asked);
    results.push(
      ...(await measureAll(
        servers,
        { items: itemsOf(source, effort, manyRefs(asked)).filter(isAsked), cold: COLD_ON_WIRE, rounds: effort.rounds },
        say,
      )),
    );
  }
  if (asked.view !== 'wire') {
    say('as the user waits');
    if (asked.view === 'both') await servers.packhouse.restart();
    const effort = withRounds(asked.quick ? QUICK_USER_EFFORT : USUAL_USER_EFFORT, asked);
    const items = userItemsOf(source, effort, work, asked.store).filter(isAsked);
    results.push(...(await measureAll(servers, { items, cold: COLD_FOR_USER, rounds: effort.rounds }, say)));
  }
}

async function growth(servers: Servers, work: string, asked: Options): Promise<void> {
  const usual = asked.quick ? QUICK_GROWTH : USUAL_GROWTH;
  const { commits = usual.commits, refs = usual.refs, rounds = usual.rounds } = asked;
  const sizes = { commits: threeFrom(commits), refs: threeFrom(refs), packBytes: threeFrom(usual.packBytes) };
  const curves = await measureGrowth(servers, { ...sizes, rounds, requests: usual.requests }, work, say);
  process.stdout.write(`${curves.map(plotOf).join('\n\n')}\n`);
  writeReport({ machine: machine(), store: asked.store, curves }, asked);
}

function withRounds<T extends { readonly rounds: number }>(effort: T, { rounds = effort.rounds }: Options): T {
  return { ...effort, rounds };
}

/** Both servers get the repositories, and do with them what is done in time by itself: gc, and maintenance. */
async function prepareServers(servers: Servers, source: Source, work: string, asked: Options): Promise<ItemResult[]> {
  const { packhouse, git } = servers;
  const initial = await initialPushes(servers, source);
  const repositories = [SOURCE];
  if (asked.view !== 'user') {
    const folder = join(work, 'many-refs');
    mkdirSync(folder);
    const many = readSource(await makeSource(folder, { ...MANY_REFS_SHAPE, refs: manyRefs(asked) }));
    for (const { url } of [git, packhouse]) await pushSource(many, `${url}/${MANY_REFS}`);
    repositories.push(MANY_REFS);
  }
  say('git gc with bitmaps and commit graph; maintenance of Packhouse');
  for (const repository of repositories) tuneForServing(join(git.folder, repository));
  await packhouse.maintain();
  return initial;
}

function manyRefs({ quick }: Options): number {
  return quick ? QUICK_MANY : MANY;
}

function reportOf(results: readonly ItemResult[], source: Source, startMilliseconds: number, asked: Options): unknown {
  const rows = rowsOf(results);
  const budgets = budgetsOf(results, startMilliseconds);
  const repository = { path: asked.repo ?? 'synthetic', objects: source.objects, refs: source.refs };
  const differences = differencesIn(results);
  const { git, cpus, model } = machine();
  process.stdout.write(
    [
      `Packhouse (store ${asked.store}) and git http-backend ${git}, ${cpus} × ${model}`,
      `Repository: ${repository.path}, ${source.objects} objects, ${source.refs} refs`,
      '',
      tableOf(rows),
      '',
      budgetLines(budgets),
      '',
      'Costs are those of one operation. CPU: Packhouse with PostgreSQL; git without the bridge. stmts, trans: statements that Packhouse',
      'sends to PostgreSQL (what a function runs inside is not counted), other than begin and commit, and transactions. store, GET, PUT:',
      'operations on the pack store, as /metrics counts them (retries and the parts of a large upload are not apart), those of single',
      'operations while no maintenance runs. RSS: the peak of the Node process with its threads while the item ran.',
      ...differences.map((difference) => `Not the same work: ${difference}`),
      ...(asked.markdown ? ['', markdownOf(rows)] : []),
      '',
    ].join('\n'),
  );
  return { machine: machine(), store: asked.store, repository, startMilliseconds, differences, rows, budgets, results };
}

function machine() {
  return {
    cpus: availableParallelism(),
    model: cpuModel(),
    node: process.version,
    git: execFileSync('git', ['--version'], { encoding: 'utf8' }).trim().replace('git version ', ''),
  };
}

/** The push of everything, by a real client; the first to a process by itself, unless it takes so long that the start is no part of it. */
async function initialPushes(servers: Servers, source: Source): Promise<ItemResult[]> {
  const began = performance.now();
  const cold = resultOf(INITIAL_PUSH_COLD);
  const warm = resultOf(INITIAL_PUSH);
  await initialPush(cold, servers, source, SOURCE);
  if (performance.now() - began >= LONG_PUSHES_MS) return [{ ...cold, item: INITIAL_PUSH }];
  for (let run = 1; run <= WARM_PUSHES; run++)
    await initialPush(warm, servers, source, `bench/initial-${run}.git`, run % 2 === 1);
  return [warm, cold];
}

async function initialPush(
  result: ItemResult,
  { packhouse, git }: Servers,
  source: Source,
  repository: string,
  gitFirst = true,
): Promise<void> {
  for (const server of gitFirst ? [git, packhouse] : [packhouse, git]) {
    say(`initial push to ${server.name}`);
    const sample = result[server.name];
    if (server === packhouse) resetPeakMemory(packhouse.pid);
    const before = await packhouse.storeOperations();
    const cpu = await server.cpuSeconds();
    sample.milliseconds.push(await pushSource(source, `${server.url}/${repository}`));
    sample.cpuSeconds += (await server.cpuSeconds()) - cpu;
    sample.operations++;
    if (server !== packhouse) continue;
    addTo(sample.store, await packhouse.storeOperations(), before);
    sample.peakMemoryBytes = Math.max(sample.peakMemoryBytes, peakMemoryBytes(packhouse.pid));
  }
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('expected a whole number above 0');
  return value;
}

function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}
