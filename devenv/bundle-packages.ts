/**
 * Makes one file of each package that every command loads and that has many: its entry in node_modules, in place. A module costs Node about a
 * millisecond, whatever is in it: kysely's 255 took 250 ms, its one takes 33. Without it all works the same, later.
 */
import { existsSync } from 'node:fs';
import { copyFile, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const PACKAGES = ['kysely', 'zod', 'yaml', 'hono', 'prom-client'];

for (const name of PACKAGES) {
  const entry = fileURLToPath(import.meta.resolve(name));
  // Made of what npm installed, whose other files may have changed since: npm lets a package be that has the right version.
  const original = join(dirname(entry), `unbundled-${basename(entry)}`);
  const made = `${entry}.made`;
  if (!existsSync(original)) {
    await copyFile(entry, made);
    await rename(made, original);
  }
  const exported = Object.keys(await import(name));
  const isCommon = exported.includes('module.exports');
  // From what a CommonJS module seems to assign to module.exports, Node knows which names can be imported.
  const names = exported.filter((key) => key !== 'default' && key !== 'module.exports');
  await build({
    entryPoints: [original],
    outfile: made,
    bundle: true,
    platform: 'node',
    target: 'node24',
    keepNames: true,
    format: isCommon ? 'cjs' : 'esm',
    ...(isCommon ? { footer: { js: `0 && (module.exports = { ${names.join(', ')} });` } } : {}),
    logLevel: 'warning',
  });
  await rename(made, entry);
}
