/**
 * `make bench`: Packhouse beside `git http-backend` on loopback, the same work on both in turns, by a client that speaks the wire protocol
 * and does nothing with the answers. Prints both figures, their ratio and what an operation costs.
 *
 * Fair: one machine, one client, one keep-alive connection each; git's repository has been through gc and has bitmaps and a commit graph;
 * both sync to disk as they do by default. The bridge in front of git is a Node process whose CPU is not counted as git's, PostgreSQL's is
 * counted as Packhouse's; that of an object store is nobody's. Figures are warm, unless they say cold.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { type Effort, SOURCE } from './items.ts';
import { measureAll, resultOf, type Servers } from './measure.ts';
import { peakMemoryBytes, resetPeakMemory } from './processes.ts';
import { differencesIn, rowsOf, tableOf } from './report.ts';
import { cpuModel, startGit, startPackhouse } from './servers.ts';
import { makeSource, pushSource, readSource, type Source, tuneForServing } from './source.ts';

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
  readonly work: string;
  readonly json?: string;
  readonly quick: boolean;
}

const USUAL = { commits: 3000, files: 1500, refs: 240 };
const QUICK = { commits: 400, files: 200, refs: 40 };
const USUAL_EFFORT: Effort = { rounds: 5, reads: 12, pushes: 40, pushesPerClient: 20 };
const QUICK_EFFORT: Effort = { rounds: 2, reads: 6, pushes: 20, pushesPerClient: 5 };

const options = new Command('bench')
  .description('Measures Packhouse beside git http-backend on the wire.')
  .option('--repo <path>', 'a repository to use instead of a synthetic one; it is only read')
  .option('--commits <n>', `commits of the synthetic history (${USUAL.commits}, quick ${QUICK.commits})`, positive)
  .option('--files <n>', `its files (${USUAL.files}, quick ${QUICK.files})`, positive)
  .option('--churn <n>', 'files that a commit edits', positive, 3)
  .option('--refs <n>', `its branches and tags (${USUAL.refs}, quick ${QUICK.refs})`, positive)
  .option('--fanout <n>', 'entries of a folder', positive, 12)
  .option('--seed <n>', 'another history of the same shape', positive, 1)
  .addOption(new Option('--store <kind>', 'fs, or s3: the store of PACKHOUSE_TEST_S3_*').choices(['fs', 's3']).default('fs'))
  .option('--rounds <n>', `rounds (${USUAL_EFFORT.rounds}, quick ${QUICK_EFFORT.rounds})`, positive)
  .option('--work <folder>', 'where data is kept while it runs; its disk is part of what is measured', tmpdir())
  .option('--json <file>', 'write every figure there')
  .option('--quick', 'small and short: to see that it works, not to compare', false)
  .parse()
  .opts<Options>();
await bench(options);

async function bench({ quick, ...asked }: Options): Promise<void> {
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
    say('preparing the repository');
    const source = await prepareSource(work, quick, asked);
    say(`${source.objects} objects, ${source.refs} refs; starting the servers`);
    const folders = { packhouse: join(work, 'packhouse'), git: join(work, 'git') };
    for (const folder of Object.values(folders)) mkdirSync(folder);
    const packhouse = await startPackhouse(folders.packhouse, asked.store);
    stops.push(() => packhouse.stop());
    const git = await startGit(folders.git);
    stops.push(() => git.stop());
    const effort = quick ? QUICK_EFFORT : USUAL_EFFORT;
    const report = await run({ packhouse, git }, source, { ...effort, rounds: asked.rounds ?? effort.rounds }, asked);
    if (asked.json !== undefined) writeFileSync(asked.json, `${JSON.stringify(report, null, 2)}\n`);
  } finally {
    await stopAll();
  }
}

async function prepareSource(work: string, quick: boolean, asked: Omit<Options, 'quick'>): Promise<Source> {
  if (asked.repo !== undefined) return readSource(resolve(asked.repo));
  const usual = quick ? QUICK : USUAL;
  const { commits = usual.commits, files = usual.files, refs = usual.refs, churn, fanout, seed } = asked;
  return readSource(await makeSource(work, { commits, files, refs, churn, fanout, seed }));
}

async function run(servers: Servers, source: Source, effort: Effort, asked: Omit<Options, 'quick'>): Promise<unknown> {
  const { packhouse, git } = servers;
  const initial = await initialPush(servers, source);
  say('git gc with bitmaps and commit graph');
  tuneForServing(join(git.folder, SOURCE));
  const results = [initial, ...(await measureAll(servers, source, effort, say))];
  const startMilliseconds = await packhouse.restart();
  const rows = rowsOf(results);
  const machine = {
    cpus: availableParallelism(),
    model: cpuModel(),
    node: process.version,
    git: execFileSync('git', ['--version'], { encoding: 'utf8' }).trim().replace('git version ', ''),
  };
  const repository = { path: asked.repo ?? 'synthetic', objects: source.objects, refs: source.refs };
  const differences = differencesIn(results);
  process.stdout.write(
    [
      `Packhouse (store ${asked.store}) and git http-backend ${machine.git}, ${effort.rounds} rounds, ${machine.cpus} × ${machine.model}`,
      `Repository: ${repository.path}, ${source.objects} objects, ${source.refs} refs`,
      '',
      tableOf(rows),
      '',
      `Packhouse is ready ${startMilliseconds.toFixed(0)} ms after its start on existing data.`,
      'Costs are those of one operation. CPU: Packhouse with PostgreSQL; git without the bridge. stmts, trans: statements that Packhouse',
      'sends to PostgreSQL (what a function runs inside is not counted), other than begin and commit, and transactions. store: operations on',
      'the pack store, as /metrics counts them (retries and the parts of a large upload are not apart). RSS: the peak of the Node process',
      'with its threads while the item ran.',
      ...differences.map((difference) => `Not the same work: ${difference}`),
      '',
    ].join('\n'),
  );
  return { machine, store: asked.store, repository, effort, startMilliseconds, differences, rows, results };
}

/** The push of everything, by a real client: the only figure that holds a client's work. */
async function initialPush({ packhouse, git }: Servers, source: Source): Promise<ReturnType<typeof resultOf>> {
  const result = resultOf('initial push');
  for (const server of [git, packhouse]) {
    say(`initial push to ${server.name}`);
    const sample = result[server.name];
    if (server === packhouse) resetPeakMemory(packhouse.pid);
    const requests = await packhouse.storeRequests();
    const cpu = await server.cpuSeconds();
    sample.milliseconds.push(await pushSource(source, `${server.url}/${SOURCE}`));
    sample.cpuSeconds = (await server.cpuSeconds()) - cpu;
    sample.operations = 1;
    sample.storeRequests = (await packhouse.storeRequests()) - requests;
    if (server === packhouse) sample.peakMemoryBytes = peakMemoryBytes(packhouse.pid);
  }
  return result;
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('expected a whole number above 0');
  return value;
}

function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}
