import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { git } from '../source.ts';

/** Runs git without holding this process up; throws when it fails. */
export async function gitRun(folder: string, ...args: readonly string[]): Promise<void> {
  const client = spawn('git', ['-c', 'safe.directory=*', '-C', folder, ...args], {
    env: { ...process.env, GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null', LC_ALL: 'C' },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [status] = await once(client, 'close');
  if (status !== 0) throw new Error(`git ${args.join(' ')} in ${folder} ended with ${status}`);
}

/** A repository with a work tree and an author, small settings that make commits cheap. */
export function initWork(folder: string): string {
  mkdirSync(folder, { recursive: true });
  git(folder, 'init', '-q', '--template=', '-b', 'main', '.');
  for (const [key, value] of [
    ['user.name', 'Corpus'],
    ['user.email', 'corpus@example.com'],
    ['gc.auto', '0'],
    ['core.fsync', 'none'],
  ] as const)
    git(folder, 'config', key, value);
  return folder;
}

/** Bytes of all files below a folder whose names pass. */
export function bytesBelow(folder: string, passes: (name: string) => boolean = () => true): { bytes: number; files: number } {
  let bytes = 0;
  let files = 0;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !passes(entry.name)) continue;
    bytes += statSync(join(entry.parentPath, entry.name)).size;
    files++;
  }
  return { bytes, files };
}

const isPack = (name: string): boolean => name.endsWith('.pack') || /^[0-9a-f]{38}$/.test(name);

/** Bytes of packs and loose objects of a repository. */
export function objectBytes(bare: string): number {
  return bytesBelow(join(bare, 'objects'), isPack).bytes;
}

/** Clones and says how long the pack was that came: a clone's pack is kept as it is sent. */
export async function cloneBytes(url: string, folder: string): Promise<number> {
  await gitRun('.', 'clone', '-q', '--mirror', '--no-local', url, folder);
  return objectBytes(folder);
}
