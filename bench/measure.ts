import { type Effort, type Item, itemsOf, type Target } from './items.ts';
import { peakMemoryBytes, resetPeakMemory } from './processes.ts';
import type { CountStatements, PackhouseServer, Server } from './servers.ts';
import type { Source } from './source.ts';
import { Connection } from './wire.ts';

/** What one server did for one item, over all rounds. */
export interface Sample {
  readonly milliseconds: number[];
  readonly packMilliseconds: number[];
  readonly bytes: number[];
  /** Of the last answer that had a pack. */
  objects: number | undefined;
  /** Operations a second and MiB a second of each run. */
  readonly perSecond: number[];
  readonly mebibytesPerSecond: number[];
  operations: number;
  cpuSeconds: number;
  /** Packhouse only. */
  storeRequests: number;
  peakMemoryBytes: number;
}

/** PostgreSQL statements and transactions of one operation. */
export interface Statements {
  readonly statements: number;
  readonly transactions: number;
}

export interface ItemResult {
  readonly item: string;
  readonly git: Sample;
  readonly packhouse: Sample;
  /** Of items whose requests come one after the other. */
  statements?: Statements;
}

export interface Servers {
  readonly git: Server;
  readonly packhouse: PackhouseServer;
}

const COUNTED_RUNS = 4;
const COLD_ITEMS: ReadonlySet<string> = new Set(['clone', 'push of 1 commit']);

/** Runs every item on both servers, the order of the two changing from round to round. */
export async function measureAll(
  servers: Servers,
  source: Source,
  effort: Effort,
  say: (text: string) => void,
): Promise<ItemResult[]> {
  const items = itemsOf(source, effort);
  const results = items.map((item) => resultOf(item.name));
  const targets = { git: targetOf(servers.git), packhouse: targetOf(servers.packhouse) };
  try {
    say('warming up');
    for (const item of items) if (!item.atOnce) await runItem(item, resultOf(item.name), servers, targets, false, 2);
    for (let round = 0; round < effort.rounds; round++) {
      say(`round ${round + 1} of ${effort.rounds}`);
      for (const [i, item] of items.entries()) await runItem(item, results[i] as ItemResult, servers, targets, round % 2 === 1);
    }
    say('counting statements');
    await servers.packhouse.withStatementLog(async (count) => {
      for (const [i, item] of items.entries()) {
        if (!item.atOnce) (results[i] as ItemResult).statements = await countStatementsOf(item, count, targets);
      }
    });
    results.push(...(await measureCold(items, servers, targets, say)));
  } finally {
    for (const { connection } of Object.values(targets)) connection.close();
  }
  return results;
}

/** After a restart of Packhouse: nothing in its caches. git's processes start cold each time. The files' pages stay in memory. */
async function measureCold(
  items: readonly Item[],
  servers: Servers,
  targets: Targets,
  say: (text: string) => void,
): Promise<ItemResult[]> {
  const results: ItemResult[] = [];
  for (const item of items.filter(({ name }) => COLD_ITEMS.has(name))) {
    say(`cold: ${item.name}`);
    await servers.packhouse.restart();
    const result = resultOf(`${item.name}, cold`);
    await runItem(item, result, servers, targets, false, 1);
    results.push(result);
  }
  return results;
}

interface Targets {
  readonly git: Target;
  readonly packhouse: Target;
}

async function runItem(
  item: Item,
  result: ItemResult,
  servers: Servers,
  targets: Targets,
  swapped: boolean,
  count?: number,
): Promise<void> {
  const { setUp, work } = item.prepare(count);
  const names = ['packhouse', 'git'] as const;
  for (const name of swapped ? [...names].reverse() : names) {
    const target = targets[name];
    const sample = result[name];
    const packhouse = name === 'packhouse' ? servers.packhouse : undefined;
    await setUp?.(target);
    const requests = (await packhouse?.storeRequests()) ?? 0;
    if (packhouse !== undefined) resetPeakMemory(packhouse.pid);
    const cpu = await servers[name].cpuSeconds();
    const run = await work(target);
    sample.cpuSeconds += (await servers[name].cpuSeconds()) - cpu;
    if (packhouse !== undefined) {
      sample.peakMemoryBytes = Math.max(sample.peakMemoryBytes, peakMemoryBytes(packhouse.pid));
      sample.storeRequests += (await packhouse.storeRequests()) - requests;
    }
    sample.operations += run.operations;
    let bytes = 0;
    for (const answer of run.answers) {
      bytes += answer.bytes;
      sample.milliseconds.push(answer.milliseconds);
      sample.bytes.push(answer.bytes);
      if (answer.packMilliseconds !== undefined) sample.packMilliseconds.push(answer.packMilliseconds);
      sample.objects = answer.objects ?? sample.objects;
    }
    sample.perSecond.push((run.operations / run.milliseconds) * 1000);
    sample.mebibytesPerSecond.push(((bytes / run.milliseconds) * 1000) / 2 ** 20);
  }
}

/** Both servers do the same work, so that their branches stay the same; only Packhouse is counted. */
async function countStatementsOf(item: Item, count: CountStatements, targets: Targets): Promise<Statements> {
  const { work } = item.prepare(COUNTED_RUNS);
  await work(targets.git);
  const { statements, transactions } = await count(() => work(targets.packhouse));
  return { statements: statements / COUNTED_RUNS, transactions: transactions / COUNTED_RUNS };
}

function targetOf({ url }: Server): Target {
  return { url, connection: new Connection(url) };
}

export function resultOf(item: string): ItemResult {
  return { item, git: emptySample(), packhouse: emptySample() };
}

function emptySample(): Sample {
  return {
    milliseconds: [],
    packMilliseconds: [],
    bytes: [],
    objects: undefined,
    perSecond: [],
    mebibytesPerSecond: [],
    operations: 0,
    cpuSeconds: 0,
    storeRequests: 0,
    peakMemoryBytes: 0,
  };
}
