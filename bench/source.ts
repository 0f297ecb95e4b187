import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Base } from './pushes.ts';
import { type Shape, syntheticHistory } from './synthetic.ts';

/** The repository that both servers get. */
export interface Source {
  readonly folder: string;
  /** What a full clone wants. */
  readonly tips: readonly string[];
  readonly refs: number;
  readonly objects: number;
  /** The commit of HEAD and its first parent. */
  readonly head: string;
  readonly parent: string;
  readonly base: Base;
}

/** Nothing of the user's settings changes what is measured. */
const ENVIRONMENT = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('GIT_'))),
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  LC_ALL: 'C',
};
const OUTPUT_BYTES_MAX = 2 ** 30;

/** Runs git to its end; its output without the last line end. */
export function git(folder: string, ...args: readonly string[]): string {
  return gitBytes(folder, ...args)
    .toString('utf8')
    .trimEnd();
}

function gitBytes(folder: string, ...args: readonly string[]): Buffer {
  const options = { env: ENVIRONMENT, maxBuffer: OUTPUT_BYTES_MAX, stdio: ['ignore', 'pipe', 'inherit'] as const };
  return execFileSync('git', ['-c', 'safe.directory=*', '-C', folder, ...args], { ...options, stdio: [...options.stdio] });
}

/** Makes a synthetic repository, packed as `git gc` packs it. */
export async function makeSource(folder: string, shape: Shape): Promise<string> {
  const repository = await importInto(folder, syntheticHistory(shape));
  git(repository, 'gc', '-q');
  return repository;
}

/** A bare repository of what a stream for `git fast-import` tells. */
export async function importInto(folder: string, stream: Iterable<Buffer>): Promise<string> {
  const repository = join(folder, 'source.git');
  git(folder, 'init', '-q', '--bare', '--template=', '-b', 'main', repository);
  const stdio = ['pipe', 'inherit', 'inherit'] as const;
  const importer = spawn('git', ['fast-import', '--quiet', '--done'], { cwd: repository, env: ENVIRONMENT, stdio: [...stdio] });
  const ended = once(importer, 'close');
  if (importer.stdin === null) throw new Error('git fast-import has no standard input');
  await pipeline(Readable.from(stream), importer.stdin);
  const [status] = await ended;
  if (status !== 0) throw new Error(`git fast-import ended with ${status}`);
  return repository;
}

/** Looks at a repository without changing it. Throws for one without a commit that has a parent. */
export function readSource(folder: string): Source {
  if (git(folder, 'rev-parse', '--show-object-format') !== 'sha1')
    throw new Error(`${folder}: only SHA-1 repositories are measured`);
  const refs = git(folder, 'for-each-ref', '--format=%(objectname)', 'refs/heads', 'refs/tags').split('\n');
  const head = git(folder, 'rev-parse', '--verify', 'HEAD^{commit}');
  const tips = [...new Set([...refs, head])].sort();
  return {
    folder,
    tips,
    refs: refs.length,
    objects: Number(git(folder, 'rev-list', '--objects', '--count', '--all')),
    head,
    parent: git(folder, 'rev-parse', '--verify', 'HEAD~1'),
    base: { commit: head, tree: gitBytes(folder, 'cat-file', 'tree', `${head}^{tree}`) },
  };
}

/** A branch of the source's HEAD on the servers: theirs may name another one. */
export const BENCH_HEAD = 'bench-head';

/** Pushes everything with a real client; resolves with what the user waits, in milliseconds. */
export function pushSource(source: Source, url: string): Promise<number> {
  const refspecs = ['refs/heads/*:refs/heads/*', 'refs/tags/*:refs/tags/*', `${source.head}:refs/heads/${BENCH_HEAD}`];
  return timedGit(source.folder, 'push', '-q', url, ...refspecs);
}

const CLIENT = ['safe.directory=*', 'gc.auto=0', 'maintenance.auto=false', 'core.fsync=none', 'advice.detachedHead=false'];

/** Runs a git client beside others; resolves with milliseconds from its start to its end. */
export async function timedGit(folder: string, ...args: readonly string[]): Promise<number> {
  const start = performance.now();
  const settings = CLIENT.flatMap((setting) => ['-c', setting]);
  const client = spawn('git', [...settings, '-C', folder, ...args], { env: ENVIRONMENT, stdio: ['ignore', 'ignore', 'inherit'] });
  const [status] = await once(client, 'close');
  const milliseconds = performance.now() - start;
  if (status !== 0) throw new Error(`git ${args.join(' ')} ended with ${status}`);
  return milliseconds;
}

/** What an expert does with a repository that is cloned a lot. */
export function tuneForServing(repository: string): void {
  git(repository, '-c', 'repack.writeBitmaps=true', 'gc', '-q');
  git(repository, 'commit-graph', 'write', '--reachable', '--changed-paths');
}
