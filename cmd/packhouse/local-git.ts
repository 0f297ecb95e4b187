import { type ChildProcess, spawn } from 'node:child_process';
import { PackhouseError } from '../../internal/base/mod.ts';

/** Objects are taken as they are, whatever refs/replace says. */
const ENVIRONMENT = { GIT_NO_REPLACE_OBJECTS: '1', LC_ALL: 'C' };

/** Starts the operator's git. */
export function spawnGit(args: readonly string[], stdin: 'pipe' | 'ignore' = 'ignore'): ChildProcess {
  return spawn('git', args, { env: { ...process.env, ...ENVIRONMENT }, stdio: [stdin, 'pipe', 'pipe'] });
}

/** How a git ended: what it wrote to stderr when it failed. @throws PackhouseError `git-absent`, `git-failed` */
export async function gitEnded(child: ChildProcess, what: string): Promise<void> {
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ENOENT' ? new PackhouseError('git-absent', 'git is not installed on this machine') : error),
    );
    child.once('close', resolve);
  });
  if (code !== 0) throw new PackhouseError('git-failed', `git ${what} failed: ${said.trim()}`);
}

/** What a git wrote, one character a byte, without the last line end. @throws PackhouseError `git-absent`, `git-failed` */
export async function gitOutput(args: readonly string[], what: string): Promise<string> {
  const child = spawnGit(args);
  const chunks: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
  await gitEnded(child, what);
  return Buffer.concat(chunks).toString('latin1').replace(/\n$/, '');
}
