/**
 * What work costs as what is there grows: each at three sizes a factor of ten apart, on both servers in turns. Memory is Packhouse's alone: git works in
 * a process for each request.
 */
import { createCipheriv } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Item, onePush, reads } from './items.ts';
import { measureWarm, type Servers } from './measure.ts';
import { peakMemoryBytes, resetPeakMemory } from './processes.ts';
import { fetchRequest, lsRefsRequest } from './requests.ts';
import { NO_MAINTENANCE } from './servers.ts';
import { importInto, makeSource, pushSource, readSource, type Source, tuneForServing } from './source.ts';
import { median } from './statistics.ts';
import { Connection } from './wire.ts';

/** The sizes of each kind, ascending. */
export interface Sizes {
  readonly commits: readonly number[];
  readonly refs: readonly number[];
  readonly packBytes: readonly number[];
  readonly rounds: number;
  /** Requests of a kind in a round. */
  readonly requests: number;
}

export interface Point {
  /** What it is measured at, such as `1200 objects`. */
  readonly label: string;
  readonly size: number;
  readonly packhouse: number;
  readonly git?: number;
}

/** One cost at growing sizes. */
export interface Curve {
  readonly what: string;
  readonly unit: 'ms' | 'MiB';
  readonly goal: 'flat' | 'linear';
  readonly points: readonly Point[];
}

const FACTOR = 10;
const FOLDER = 'growth';
const MIB = 2 ** 20;
const BLOB_BYTES = 100_000;

/** Three sizes from the smallest on. */
export function threeFrom(smallest: number): number[] {
  return [smallest, smallest * FACTOR, smallest * FACTOR ** 2];
}

export async function measureGrowth(servers: Servers, sizes: Sizes, work: string, say: (text: string) => void): Promise<Curve[]> {
  const histories = [];
  for (const commits of sizes.commits) {
    say(`a history of ${commits} commits`);
    const shape = { commits, files: Math.ceil(commits / 3), churn: 2, refs: 5, fanout: 12, seed: 1 };
    histories.push({ commits, source: await served(servers, work, `history-${commits}`, shape) });
  }
  const crowds = [];
  for (const refs of sizes.refs) {
    say(`a repository of ${refs} refs`);
    crowds.push({
      refs,
      source: await served(servers, work, `refs-${refs}`, { commits: 100, files: 20, churn: 1, refs, fanout: 12, seed: 1 }),
    });
  }
  say('maintenance of Packhouse');
  await servers.packhouse.maintain();
  const pushes = histories.map(({ commits, source }) => onePush(source, sizes.requests, repositoryOf(`history-${commits}`)));
  const fetches = histories.map(({ commits, source: { head, parent } }) =>
    reads('fetch', fetchRequest([head], [parent]), sizes.requests, repositoryOf(`history-${commits}`)),
  );
  const lists = crowds.map(({ refs }) => reads('ls-refs', lsRefsRequest(), sizes.requests, repositoryOf(`refs-${refs}`)));
  const timed = await medians(servers, [...pushes, ...fetches, ...lists], sizes.rounds, say);
  const points = (from: number, labels: readonly { readonly label: string; readonly size: number }[]): Point[] =>
    labels.map((label, i) => ({ ...label, ...(timed[from + i] as (typeof timed)[number]) }));
  const objects = histories.map(({ source }) => ({ label: `${source.objects} objects`, size: source.objects }));
  const commits = histories.map(({ commits: size }) => ({ label: `${size} commits`, size }));
  const refs = crowds.map(({ source }) => ({ label: `${source.refs} refs`, size: source.refs }));
  return [
    { what: 'push of 1 commit', unit: 'ms', goal: 'flat', points: points(0, objects) },
    { what: 'fetch of 1 commit', unit: 'ms', goal: 'flat', points: points(pushes.length, commits) },
    { what: 'ls-refs', unit: 'ms', goal: 'linear', points: points(pushes.length + fetches.length, refs) },
    ...(await measureMemory(servers, sizes.packBytes, work, say)),
  ];
}

async function medians(
  servers: Servers,
  items: readonly Item[],
  rounds: number,
  say: (text: string) => void,
): Promise<{ packhouse: number; git: number }[]> {
  const results = await measureWarm(servers, items, rounds, say);
  return results.map(({ packhouse, git }) => ({ packhouse: median(packhouse.milliseconds), git: median(git.milliseconds) }));
}

function repositoryOf(name: string): string {
  return `${FOLDER}/${name}.git`;
}

/** A synthetic repository on both servers, git's through gc. */
async function served(
  { git, packhouse }: Servers,
  work: string,
  name: string,
  shape: Parameters<typeof makeSource>[1],
): Promise<Source> {
  const folder = join(work, name);
  mkdirSync(folder);
  const source = readSource(await makeSource(folder, shape));
  for (const { url } of [git, packhouse]) await pushSource(source, `${url}/${repositoryOf(name)}`);
  tuneForServing(join(git.folder, repositoryOf(name)));
  return source;
}

/** The peak of the server while it takes one pack, and while it gives it back with nothing in its caches. */
async function measureMemory(
  { packhouse }: Servers,
  sizes: readonly number[],
  work: string,
  say: (text: string) => void,
): Promise<Curve[]> {
  const pushed: Point[] = [];
  const cloned: Point[] = [];
  for (const size of sizes) {
    say(`a pack of ${size} bytes`);
    const folder = join(work, `pack-${size}`);
    mkdirSync(folder);
    const source = readSource(await importInto(folder, noise(size)));
    const repository = repositoryOf(`pack-${size}`);
    const label = { label: `${(size / MIB).toPrecision(3)} MiB`, size };
    const peak = async (part: () => Promise<unknown>): Promise<Point> => {
      await packhouse.restart(NO_MAINTENANCE);
      resetPeakMemory(packhouse.pid);
      await part();
      return { ...label, packhouse: peakMemoryBytes(packhouse.pid) / MIB };
    };
    pushed.push(await peak(() => pushSource(source, `${packhouse.url}/${repository}`)));
    const connection = new Connection(packhouse.url);
    cloned.push(await peak(() => connection.post(repository, 'git-upload-pack', fetchRequest(source.tips))));
    connection.close();
    rmSync(folder, { recursive: true });
  }
  return [
    { what: 'memory of a push', unit: 'MiB', goal: 'flat', points: pushed },
    { what: 'memory of a clone', unit: 'MiB', goal: 'flat', points: cloned },
  ];
}

/** Two commits with blobs that do not compress, for `git fast-import`. */
function* noise(bytes: number): Generator<Buffer> {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16));
  for (let i = 0; i < 2; i++) {
    yield Buffer.from(`commit refs/heads/main\ncommitter C <c@example.com> ${1_600_000_000 + i} +0000\ndata 0\n`);
    for (let at = 0; i === 1 && at < bytes; at += BLOB_BYTES) {
      const blob = cipher.update(Buffer.alloc(Math.min(BLOB_BYTES, bytes - at)));
      yield Buffer.from(`M 100644 inline ${at}\ndata ${blob.length}\n`);
      yield blob;
      yield Buffer.from('\n');
    }
  }
  yield Buffer.from('done\n');
}

/** From the smallest size to the largest one: how much more of it, for how much more of what it is measured at. */
export function growthOf({ points }: Curve, server: 'packhouse' | 'git'): { readonly cost: number; readonly size: number } {
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined) return { cost: Number.NaN, size: Number.NaN };
  return { cost: (last[server] ?? Number.NaN) / (first[server] ?? Number.NaN), size: last.size / first.size };
}

/** Half as much again at a hundred times the size is noise and the depth of trees. */
const FLAT_MAX = 1.5;

/** Whether Packhouse's cost stays, or grows no faster than what it is measured at. */
export function isMet(curve: Curve): boolean {
  const { cost, size } = growthOf(curve, 'packhouse');
  return cost <= (curve.goal === 'flat' ? FLAT_MAX : size * FLAT_MAX);
}

const BAR_WIDTH = 32;
const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/** A bar as long as its share of the longest one, to an eighth of a character. */
function bar(share: number): string {
  const eighths = Math.round(share * BAR_WIDTH * 8);
  return '█'.repeat(Math.floor(eighths / 8)) + (EIGHTHS[eighths % 8] ?? '');
}

/** Figures with bars that begin at zero; both servers of one kind have one scale. */
export function plotOf(curve: Curve): string {
  const { what, unit, goal, points } = curve;
  const longest = Math.max(...points.flatMap(({ packhouse, git = 0 }) => [packhouse, git]));
  const labels = Math.max(...points.map(({ label }) => label.length));
  const { cost, size } = growthOf(curve, 'packhouse');
  const gits = growthOf(curve, 'git').cost;
  const grown = `× ${cost.toFixed(2)} for × ${size.toFixed(0)}${Number.isNaN(gits) ? '' : `, git × ${gits.toFixed(2)}`}`;
  const line = (label: string, server: string, value: number): string =>
    `  ${label.padStart(labels)}  ${server.padEnd(9)}  ${value.toPrecision(3).padStart(6)} ${bar(value / longest)}`;
  return [
    `${what}, ${unit}: ${grown}; goal ${goal}: ${isMet(curve) ? 'met' : 'missed'}`,
    ...points.flatMap(({ label, packhouse, git }) => [
      line(label, 'Packhouse', packhouse),
      ...(git === undefined ? [] : [line('', 'git', git)]),
    ]),
  ].join('\n');
}
