import { PackhouseError } from '../../internal/base/mod.ts';
import { type Catalog, openCatalog } from '../../internal/catalog/mod.ts';
import type { Config } from '../../internal/config/mod.ts';
import { migrate } from '../../internal/migrations/mod.ts';
import type { PackStore } from '../../internal/packstore/mod.ts';
import { withDatabase } from './cli.ts';
import { openStore } from './open-store.ts';

/** Runs the work of a verb with catalog and store; SIGINT and SIGTERM abort its signal, so that it tidies up before the process ends. `migrates`: a new database gets its schema. */
export async function withStore<T>(
  config: Config,
  work: (catalog: Catalog, store: PackStore, signal: AbortSignal) => Promise<T>,
  options: { readonly migrates?: boolean } = {},
): Promise<T> {
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => stop.abort(new PackhouseError('stopped', `stopped by ${name}`));
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, onSignal);
  try {
    return await withDatabase(config, async (url) => {
      if (options.migrates) await migrate(url);
      const catalog = openCatalog({ url, poolMax: 4, statementTimeoutMs: config.database.statementTimeoutMs });
      const store = openStore(config);
      try {
        await store.check();
        return await work(catalog, store, stop.signal);
      } finally {
        await store.close();
        await catalog.close();
      }
    });
  } finally {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.off(name, onSignal);
  }
}

/** The pool of a repository; null for no repository: all pools. */
export async function poolOf(
  catalog: Catalog,
  id: { readonly owner: string; readonly name: string } | undefined,
): Promise<number | null> {
  if (id === undefined) return null;
  const repository = await catalog.findRepository(id.owner, id.name);
  if (repository === null) throw new PackhouseError('repository-not-found', `repository ${id.owner}/${id.name} does not exist`);
  return repository.poolId;
}

/** Shows one line that the next one replaces, on a terminal only. */
export function progressLine(): (text: string) => void {
  if (!process.stderr.isTTY) return () => undefined;
  return (text) => void process.stderr.write(`\r\u001b[K${text}`);
}
