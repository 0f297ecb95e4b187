import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { promisify } from 'node:util';
import { FastImport } from './fast-import.ts';
import { scratchFolder } from './folder.ts';

const run = promisify(execFile);
const CACHE = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'packhouse-tests', 'npm');

/**
 * A history of real content: each published version of a package is a commit on main with that version's files, tagged. Tarballs come
 * through the npm client once and stay in the user's cache folder.
 */
export async function npmHistory(name: string, versions: readonly string[]): Promise<FastImport> {
  const importer = new FastImport();
  let tip: number | undefined;
  for (const version of versions) {
    const tarball = await fetchTarball(name, version);
    const folder = scratchFolder('npm');
    await run('tar', ['-xzf', tarball, '-C', folder]);
    const files = Object.fromEntries(filesUnder(folder).map((path) => [pathInPackage(folder, path), readFileSync(path)]));
    rmSync(folder, { recursive: true });
    const parents = tip === undefined ? [] : [tip];
    tip = importer.commit('refs/heads/main', files, { parents, clean: true, message: `${name} ${version}\n` });
    importer.tag(`v${version}`, tip, `${name} ${version}\n`);
  }
  return importer;
}

async function fetchTarball(name: string, version: string): Promise<string> {
  const path = join(CACHE, `${name}-${version}.tgz`);
  if (existsSync(path)) return path;
  mkdirSync(CACHE, { recursive: true });
  const folder = scratchFolder('pack');
  const { stdout } = await run('npm', ['pack', `${name}@${version}`, '--silent', '--pack-destination', folder], { cwd: folder });
  const fresh = `${path}.${process.pid}`;
  await run('cp', [join(folder, stdout.trim()), fresh]);
  renameSync(fresh, path);
  return path;
}

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** Without the one folder that everything in the tarball lies in; the name's bytes, one char each. */
function pathInPackage(folder: string, path: string): string {
  const inside = relative(folder, path).split(sep).slice(1).join('/');
  return Buffer.from(inside, 'utf8').toString('latin1');
}
