import { execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { codeOf } from '../base/mod.ts';

/** Whether a process of that id runs. One that has ended and waits to be reaped does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
  return processStat(pid)?.state !== 'Z';
}

/**
 * A text that stays the same while that very process lives, and differs for another process that gets the same id later. On systems
 * without /proc it is asked from ps; empty when there is no such process.
 */
export function processIdentity(pid: number): string {
  if (process.platform === 'linux') {
    const stat = processStat(pid);
    return stat === undefined ? '' : `${bootId()}/${stat.startedAt}`;
  }
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
  } catch {
    return '';
  }
}

/**
 * Whether `pid` works in `folder`, which a postmaster always does in its data folder. Undefined when the system does not tell.
 */
export function worksIn(pid: number, folder: string): boolean | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(folder);
  } catch (error) {
    // Another user's process cannot be looked into, and is none of ours: we run as root or as the user that owns the folder.
    return codeOf(error) === 'EACCES' || codeOf(error) === 'ENOENT' ? false : undefined;
  }
}

function processStat(pid: number): { state: string; startedAt: string } | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    // proc(5): the name in parentheses may hold anything; after it come state (field 3) and, as field 22, the start time.
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? '', startedAt: fields[19] ?? '' };
  } catch {
    return undefined;
  }
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  } catch {
    return '';
  }
}
