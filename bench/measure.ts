import type { Item, Target } from './items.ts';
import { peakMemoryBytes, resetPeakMemory } from './processes.ts';
import { type CountStatements, NO_MAINTENANCE, type PackhouseServer, type Server, type StoreOperations } from './servers.ts';
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
  /** Packhouse only, as the others below. */
  readonly store: Record<string, number>;
  peakMemoryBytes: number;
}

/** What one operation asks of PostgreSQL and of the pack store, while no maintenance runs. */
export interface Counts {
  readonly statements: number;
  readonly transactions: number;
  readonly store: StoreOperations;
}

export interface ItemResult {
  readonly item: string;
  readonly git: Sample;
  readonly packhouse: Sample;
  /** Of items whose requests come one after the other, warm. */
  counts?: Counts;
}

export interface Servers {
  readonly git: Server;
  readonly packhouse: PackhouseServer;
}

/** What is measured, and how often. */
export interface Plan {
  readonly items: readonly Item[];
  /** Names of those that are also run right after a start of Packhouse. */
  readonly cold: ReadonlySet<string>;
  readonly rounds: number;
}

const COUNTED_RUNS = 4;
/** Of what takes longer one run is enough to be counted, and to warm up. */
const LONG_MS = 5_000;

/** Runs every item on both servers as they are, the order of the two changing from round to round. */
export async function measureWarm(
  servers: Servers,
  items: readonly Item[],
  rounds: number,
  say: (text: string) => void,
): Promise<ItemResult[]> {
  return withTargets(servers, (targets) => runWarm(servers, targets, items, rounds, say));
}

async function withTargets<T>(servers: Servers, work: (targets: Targets) => Promise<T>): Promise<T> {
  const targets = { git: targetOf(servers.git), packhouse: targetOf(servers.packhouse) };
  try {
    return await work(targets);
  } finally {
    for (const { connection } of Object.values(targets)) connection.close();
  }
}

async function runWarm(
  servers: Servers,
  targets: Targets,
  items: readonly Item[],
  rounds: number,
  say: (text: string) => void,
): Promise<ItemResult[]> {
  const results = items.map((item) => resultOf(item.name));
  say('warming up');
  await warmUp(items, servers, targets, 2);
  for (let round = 0; round < rounds; round++) {
    say(`round ${round + 1} of ${rounds}`);
    for (const [i, item] of items.entries()) await runItem(item, results[i] as ItemResult, servers, targets, round % 2 === 1);
  }
  return results;
}

async function warmUp(items: readonly Item[], servers: Servers, targets: Targets, runs: number): Promise<void> {
  for (const item of items.filter(({ isWarm }) => !isWarm)) {
    const result = resultOf(item.name);
    const [first, count] = item.atOnce ? [1, undefined] : [0, 1];
    for (let run = first; run < runs && !isLong(result); run++) await runItem(item, result, servers, targets, false, count);
  }
}

/** Measures all that the plan says: warm in rounds, counted, cold. Leaves Packhouse running without maintenance. */
export async function measureAll(servers: Servers, plan: Plan, say: (text: string) => void): Promise<ItemResult[]> {
  return withTargets(servers, async (targets) => {
    const { items, rounds } = plan;
    const results = await runWarm(servers, targets, items, rounds, say);
    say('counting statements and store requests');
    await servers.packhouse.restart(NO_MAINTENANCE);
    await warmUp(items, servers, targets, 1);
    await servers.packhouse.withStatementLog(async (count) => {
      for (const [i, item] of items.entries()) {
        const result = results[i] as ItemResult;
        if (!item.atOnce) result.counts = await countsOf(item, isLong(result) ? 1 : COUNTED_RUNS, count, servers, targets);
      }
    });
    return [...results, ...(await measureCold(plan, servers, targets, say))];
  });
}

/** After a restart of Packhouse: nothing in its caches. git's processes start cold each time. The files' pages stay in memory. */
async function measureCold(
  { items, cold }: Plan,
  servers: Servers,
  targets: Targets,
  say: (text: string) => void,
): Promise<ItemResult[]> {
  const results: ItemResult[] = [];
  for (const item of items.filter(({ name }) => cold.has(name))) {
    say(`cold: ${item.name}`);
    const result = resultOf(`${item.name}, cold`);
    await runItem(item, result, servers, targets, false, 1, () => servers.packhouse.restart(NO_MAINTENANCE));
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
  beforePackhouse?: () => Promise<unknown>,
): Promise<void> {
  const { setUp, work, tearDown } = item.prepare(count);
  const names = ['packhouse', 'git'] as const;
  for (const name of swapped ? [...names].reverse() : names) {
    const target = targets[name];
    const sample = result[name];
    const packhouse = name === 'packhouse' ? servers.packhouse : undefined;
    await setUp?.(target);
    if (packhouse !== undefined) await beforePackhouse?.();
    const before = await packhouse?.storeOperations();
    if (packhouse !== undefined) resetPeakMemory(packhouse.pid);
    const cpu = await servers[name].cpuSeconds();
    const run = await work(target);
    sample.cpuSeconds += (await servers[name].cpuSeconds()) - cpu;
    if (packhouse !== undefined) {
      sample.peakMemoryBytes = Math.max(sample.peakMemoryBytes, peakMemoryBytes(packhouse.pid));
      addTo(sample.store, await packhouse.storeOperations(), before);
    }
    await tearDown?.(target);
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
async function countsOf(
  item: Item,
  runs: number,
  count: CountStatements,
  { packhouse }: Servers,
  targets: Targets,
): Promise<Counts> {
  const { setUp, work, tearDown } = item.prepare(runs);
  for (const target of [targets.git, targets.packhouse]) await setUp?.(target);
  await work(targets.git);
  const before = await packhouse.storeOperations();
  let operations = 0;
  const asked = await count(async () => {
    ({ operations } = await work(targets.packhouse));
  });
  const store: Record<string, number> = {};
  addTo(store, await packhouse.storeOperations(), before);
  for (const target of [targets.git, targets.packhouse]) await tearDown?.(target);
  return {
    statements: asked.statements / operations,
    transactions: asked.transactions / operations,
    store: perOperation(store, operations),
  };
}

function isLong({ packhouse }: ItemResult): boolean {
  return packhouse.milliseconds.some((milliseconds) => milliseconds > LONG_MS);
}

/** Adds what happened between two readings. */
export function addTo(sum: Record<string, number>, after: StoreOperations, before: StoreOperations = {}): void {
  for (const [name, count] of Object.entries(after)) {
    const more = count - (before[name] ?? 0);
    if (more > 0) sum[name] = (sum[name] ?? 0) + more;
  }
}

export function perOperation(store: StoreOperations, operations: number): StoreOperations {
  return Object.fromEntries(Object.entries(store).map(([name, count]) => [name, count / operations]));
}

function targetOf({ name, url }: Server): Target {
  return { name, url, connection: new Connection(url) };
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
    store: {},
    peakMemoryBytes: 0,
  };
}
