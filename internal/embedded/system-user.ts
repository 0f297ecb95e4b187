import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { PackhouseError } from '../base/mod.ts';

/** Whom PostgreSQL runs as when we are root: it refuses to be root. */
export interface SystemUser {
  readonly uid: number;
  readonly gid: number;
}

const NAME = 'postgres';

/**
 * The user to run PostgreSQL as, or undefined when we are an ordinary user: then it runs as ourselves. As root it is who owns
 * `cluster` already, else the system user `postgres`, which is created when it is missing, else `nobody`.
 */
export function systemUser(cluster: string): SystemUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const owner = statSync(cluster, { throwIfNoEntry: false });
  if (owner && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const user = lookUp(NAME) ?? create(NAME) ?? lookUp('nobody');
  if (user) return user;
  throw new PackhouseError(
    'embedded-no-user',
    `PostgreSQL cannot run as root, and the system user '${NAME}' could not be created`,
  );
}

function lookUp(name: string): SystemUser | undefined {
  const uid = run('id', ['-u', name]);
  const gid = run('id', ['-g', name]);
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) };
}

/** By Debian's and Red Hat's useradd, else by BusyBox's adduser. */
function create(name: string): SystemUser | undefined {
  run('useradd', ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin', name]) ??
    run('adduser', ['-S', '-D', '-H', '-s', '/sbin/nologin', name]);
  return lookUp(name);
}

function run(command: string, args: readonly string[]): string | undefined {
  try {
    const path = `${process.env.PATH ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`;
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], env: { PATH: path } }).trim();
  } catch {
    return undefined;
  }
}
