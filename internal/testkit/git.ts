import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ObjectFormat } from '../object/mod.ts';
import { scratchFolder } from './folder.ts';

export interface GitOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: Uint8Array | string;
}

export interface GitResult {
  /** Null when a signal ended it. */
  readonly status: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

const GIT_WAIT_MS_MAX = 300_000;

const SETTINGS = `[user]
	name = Test
	email = test@example.com
[init]
	defaultBranch = main
[gc]
	auto = 0
[maintenance]
	auto = false
[core]
	fsync = none
[advice]
	detachedHead = false
[safe]
	directory = *
[credential]
	helper =
[transfer]
	fsckObjects = false
`;

let environment: Record<string, string> | undefined;

/** Nothing of the caller's settings reaches git: a home of its own, no system file, no prompt, fixed names and dates. */
function hermetic(): Record<string, string> {
  if (environment === undefined) {
    const home = scratchFolder('home');
    const config = join(home, 'gitconfig');
    writeFileSync(config, SETTINGS);
    environment = {
      PATH: process.env.PATH ?? '',
      HOME: home,
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_GLOBAL: config,
      GIT_TERMINAL_PROMPT: '0',
      GIT_ASKPASS: 'true',
      GIT_ALLOW_PROTOCOL: 'http:file',
      GIT_AUTHOR_DATE: '1700000000 +0000',
      GIT_COMMITTER_DATE: '1700000000 +0000',
      LC_ALL: 'C',
      TZ: 'UTC',
    };
  }
  return environment;
}

/** Runs the machine's git and tells how it ended. */
export async function tryGit(args: readonly string[], options: GitOptions = {}): Promise<GitResult> {
  const child = spawn('git', args, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...hermetic(), ...options.env },
    stdio: 'pipe',
    timeout: GIT_WAIT_MS_MAX,
    killSignal: 'SIGKILL',
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  // git may end without reading its input.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { status, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString('utf8') };
}

/** Runs git, which must succeed; its output without the last line end. */
export async function git(args: readonly string[], options: GitOptions = {}): Promise<string> {
  const { status, stdout, stderr } = await tryGit(args, options);
  if (status !== 0) throw new Error(`git ${args.join(' ').slice(0, 300)} ended with ${status}: ${stderr.slice(-2000)}`);
  return stdout.toString('utf8').replace(/\n$/, '');
}

/** An empty bare repository. */
export async function makeRepository(format: ObjectFormat = 'sha1', folder = scratchFolder('repo.git')): Promise<string> {
  mkdirSync(folder, { recursive: true });
  await git(['init', '-q', '--bare', '--template=', `--object-format=${format}`, folder]);
  return folder;
}

/** Every object that the refs of `cwd` reach, sorted: two repositories with the same answer hold the same. */
export async function reachableObjects(cwd: string, ...revisions: readonly string[]): Promise<string[]> {
  const args = revisions.length > 0 ? revisions : ['--all'];
  const lines = (await git(['rev-list', '--objects', '--no-object-names', ...args], { cwd })).split('\n');
  return [...new Set(lines)].sort();
}

/** `oid name` of every ref, sorted by name; what two repositories show must be equal when they are the same. */
export async function refLines(cwd: string): Promise<string> {
  return git(['for-each-ref', '--format=%(objectname) %(refname)'], { cwd });
}
