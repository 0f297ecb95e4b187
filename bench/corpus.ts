/**
 * `make corpus`: what the packing house makes of whole histories, beside `git gc` on bare repositories of the same: a source tree, versions of
 * a large binary file, a large text file with many edits, many small repositories pushed one commit at a time, forks.
 *
 * Every push is a real client's. Says for each part the bytes stored and the bytes that a clone is sent, for git and for Packhouse after sealing
 * and compaction, then the objects of the store, its requests for the whole ingest and for all clones, and the peak memory of the server.
 * Bytes stored are those of packs; sidecars (indexes, manifests, snapshots) are told apart.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import pg from 'pg';
import { findRunningEmbedded } from '../internal/embedded/mod.ts';
import { bytesBelow, cloneBytes, gitRun, objectBytes } from './corpus/git.ts';
import { FULL, type Part, partsOf, QUICK, type Scale } from './corpus/parts.ts';
import { peakMemoryBytes, resetPeakMemory } from './processes.ts';
import { type PackhouseServer, startPackhouse } from './servers.ts';

interface Options {
  readonly store: 'fs' | 's3';
  readonly work: string;
  readonly parts?: string;
  readonly json?: string;
  readonly quick: boolean;
  readonly set: readonly string[];
  readonly threshold?: string;
}

/** Bytes of one part, for git and for Packhouse. */
interface PartResult {
  readonly part: string;
  readonly repositories: number;
  readonly gitStored: number;
  /** With core.bigFileThreshold=1m, as servers set it to bear large files. */
  readonly gitStoredWithoutDeltas: number | null;
  readonly gitCloned: number;
  stored: number;
  cloned: number;
}

const MAIN = fileURLToPath(new URL('../cmd/packhouse/main.ts', import.meta.url));
/** Clones of the many small repositories that are measured: the rest is like them. */
const CLONES_MAX = 20;

const options = new Command('corpus')
  .description('Measures what is stored and sent of whole histories, beside git gc.')
  .addOption(new Option('--store <kind>', 'fs, or s3: the store of PACKHOUSE_TEST_S3_*').choices(['fs', 's3']).default('fs'))
  .option('--parts <names>', 'only these, separated by commas: source, asset, huge, text, small (forks go with source)')
  .option('--work <folder>', 'where data is kept while it runs', tmpdir())
  .option('--set <name=number...>', 'another size of a part: assetVersions, assetBytes, textBytes, smallRepositories …', [])
  .option('--threshold <size>', "the server's chunking.threshold")
  .option('--json <file>', 'write every figure there')
  .option('--quick', 'small and short: to see that it works, not to compare', false)
  .parse()
  .opts<Options>();
await corpus(options);

async function corpus({ store, quick, parts: names, json, work: parent, set, threshold }: Options): Promise<void> {
  const work = mkdtempSync(join(resolve(parent), 'packhouse-corpus-'));
  const scale = scaleWith(quick ? QUICK : FULL, set);
  const chosen = partsOf(scale).filter(({ name }) => names === undefined || names.split(',').includes(name));
  const data = join(work, 'packhouse');
  mkdirSync(data);
  // The maintenance that is measured is run by hand.
  const settings = {
    PACKHOUSE_MAINTENANCE_ENABLED: 'false',
    PACKHOUSE_SNAPSHOT_INTERVAL: '0s',
    ...(threshold === undefined ? {} : { PACKHOUSE_CHUNKING_THRESHOLD: threshold }),
  };
  const server = await startPackhouse(data, store, settings);
  try {
    resetPeakMemory(server.pid);
    const before = await server.storeRequests();
    const results: PartResult[] = [];
    for (const part of chosen) results.push(await ingest(part, work, server));
    if (results.some(({ part }) => part === 'source')) await makeForks(server, data, scale);
    const ingestRequests = (await server.storeRequests()) - before;
    for (const verb of [['seal', '--now'], ['compact']]) packhouse(data, settings, verb);
    const beforeClones = await server.storeRequests();
    for (const result of results) await measureClones(result, server, work);
    const cloneRequests = (await server.storeRequests()) - beforeClones;
    const stored = await storedBytes(data);
    for (const result of results) result.stored = stored.get(result.part) ?? 0;
    const report = { scale, results, ingestRequests, cloneRequests, peakMemoryBytes: peakMemoryBytes(server.pid) };
    if (json !== undefined) writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`);
    process.stdout.write(`${tableOf(results)}\n`);
    const { crates, bytes } = await liveCrates(data);
    say(`crates: ${crates}, ${mebibytes(bytes / Math.max(crates, 1))} MiB of live packs in one on average`);
    const all = bytesBelow(join(data, 'packs'));
    const packs = bytesBelow(join(data, 'packs'), (name) => name.endsWith('.pack'));
    say(
      `objects of the store: ${all.files}, of them ${packs.files} crates (replaced ones wait for their readers) of ${mebibytes(packs.bytes)} MiB; ` +
        `sidecars ${mebibytes(all.bytes - packs.bytes)} MiB`,
    );
    say(`store requests: ${ingestRequests} for the ingest, ${cloneRequests} for the clones`);
    say(`peak memory of the server: ${mebibytes(report.peakMemoryBytes)} MiB`);
  } finally {
    await server.stop();
    rmSync(work, { recursive: true, force: true });
  }
}

function scaleWith(scale: Scale, changes: readonly string[]): Scale {
  const changed: Record<string, number> = { ...scale };
  for (const change of changes) {
    const [name, value] = change.split('=');
    if (name === undefined || !(name in scale) || !/^\d+$/.test(value ?? '')) throw new Error(`--set ${change}: no such size`);
    changed[name] = Number(value);
  }
  return { ...scale, ...changed };
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Makes the part's repositories, pushing as they grow; what git makes of them is measured on the way, and thrown away. */
async function ingest(part: Part, work: string, server: PackhouseServer): Promise<PartResult> {
  let gitStored = 0;
  let gitStoredWithoutDeltas = 0;
  let gitCloned = 0;
  const isBig = part.name === 'asset' || part.name === 'huge';
  const from = performance.now();
  let pushes = 0;
  for (let index = 0; index < part.repositories; index++) {
    const folder = join(work, `${part.name}-${index}`);
    await part.make(folder, index, async (repository) => {
      const what = part.name === 'source' ? ['refs/heads/*:refs/heads/*', 'refs/tags/*:refs/tags/*'] : ['main'];
      await gitRun(repository, 'push', '-q', urlOf(server, part.name, index), ...what);
      pushes++;
    });
    const bare = join(work, 'bare.git');
    const source = part.name === 'source' ? join(folder, 'source.git') : folder;
    await gitRun('.', 'clone', '-q', '--mirror', source, bare);
    if (isBig) {
      // Each version is one loose object of the work folder, deflated whole: what git keeps and sends above core.bigFileThreshold.
      gitStoredWithoutDeltas += objectBytes(join(folder, '.git'));
      // Versions stand next to each other by size: a window of 2 finds the deltas of the usual 10, in a fifth of the time.
      await gitRun(bare, 'repack', '-q', '-a', '-d', '-f', '--window=2');
    }
    await gitRun(bare, 'gc', '-q');
    gitStored += objectBytes(bare);
    if (index < CLONES_MAX) gitCloned += await cloneBytes(`file://${bare}`, join(work, 'clone.git'));
    rmSync(join(work, 'clone.git'), { recursive: true, force: true });
    rmSync(bare, { recursive: true, force: true });
    rmSync(folder, { recursive: true, force: true });
  }
  say(
    `${part.name}: ${pushes} pushes to ${part.repositories} repositories, ${Math.round((performance.now() - from) / 1000)} s with git's gc`,
  );
  return {
    part: part.name,
    repositories: part.repositories,
    gitStored,
    gitStoredWithoutDeltas: isBig ? gitStoredWithoutDeltas : null,
    gitCloned,
    stored: 0,
    cloned: 0,
  };
}

/** Forks of the source repository, which add nothing to the store. */
async function makeForks(server: PackhouseServer, data: string, scale: Scale): Promise<void> {
  const before = bytesBelow(join(data, 'packs'), (name) => name.endsWith('.pack')).bytes;
  for (let fork = 0; fork < scale.forks; fork++) packhouse(data, {}, ['repo', 'fork', 'corpus/source-0', `corpus/fork-${fork}`]);
  const after = bytesBelow(join(data, 'packs'), (name) => name.endsWith('.pack')).bytes;
  say(`${scale.forks} forks: ${after - before} bytes more in the store, ${urlOf(server, 'fork', 0)} and so on`);
}

async function measureClones(result: PartResult, server: PackhouseServer, work: string): Promise<void> {
  for (let index = 0; index < Math.min(result.repositories, CLONES_MAX); index++) {
    const folder = join(work, 'clone.git');
    result.cloned += await cloneBytes(urlOf(server, result.part, index), folder);
    await gitRun(folder, 'fsck', '--strict');
    rmSync(folder, { recursive: true, force: true });
  }
}

function urlOf(server: PackhouseServer, part: string, index: number): string {
  return `${server.url}/corpus/${part}-${index}.git`;
}

/** Runs a verb of the command line beside the server, on its data. */
function packhouse(data: string, settings: Readonly<Record<string, string>>, args: readonly string[]): string {
  const env = { ...process.env, ...settings, PACKHOUSE_DATA_DIR: data };
  return execFileSync(process.execPath, [MAIN, ...args], { cwd: data, env, encoding: 'utf8', maxBuffer: 2 ** 28 });
}

/** Bytes of live packs by part: of tails, store packs and chunk packs. */
async function storedBytes(data: string): Promise<Map<string, number>> {
  // A fork shares its parent's pool.
  const rows = await queryCatalog<{ part: string; bytes: string }>(
    data,
    `select split_part(r.name, '-', 1) as part, sum(k.extent_length) as bytes
       from packs k join (select pool_id, min(id) as id from repositories group by pool_id) f on f.pool_id = k.pool_id
       join repositories r on r.id = f.id where k.state = 'live' group by 1`,
  );
  return new Map(rows.map(({ part, bytes }) => [part, Number(bytes)]));
}

/** Crates that hold a live pack, and the bytes of those packs. */
async function liveCrates(data: string): Promise<{ crates: number; bytes: number }> {
  const [row] = await queryCatalog<{ crates: string; bytes: string | null }>(
    data,
    `select count(distinct crate_key) as crates, sum(extent_length) as bytes from packs where state = 'live' and crate_key is not null`,
  );
  return { crates: Number(row?.crates ?? 0), bytes: Number(row?.bytes ?? 0) };
}

async function queryCatalog<Row extends object>(data: string, sql: string): Promise<Row[]> {
  const url = findRunningEmbedded(data);
  if (url === null) throw new Error(`no PostgreSQL runs on ${data}`);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.end();
  }
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}

function tableOf(results: readonly PartResult[]): string {
  const head = ['part', 'git gc MiB', 'Packhouse', 'ratio', 'without deltas', 'ratio', 'clone git MiB', 'Packhouse', 'ratio'];
  const rows = results.map((result) => {
    const { part, gitStored, stored, gitStoredWithoutDeltas: flat, gitCloned, cloned } = result;
    const ratio = (of: number, to: number | null): string => (to === null || to === 0 ? '' : (of / to).toFixed(3));
    return [
      part,
      mebibytes(gitStored),
      mebibytes(stored),
      ratio(stored, gitStored),
      flat === null ? '' : mebibytes(flat),
      ratio(stored, flat),
      mebibytes(gitCloned),
      mebibytes(cloned),
      ratio(cloned, gitCloned),
    ];
  });
  return [head, ...rows]
    .map((cells) => cells.map((cell, i) => (i === 0 ? cell.padEnd(8) : cell.padStart(15))).join(''))
    .join('\n');
}
