import type { Command } from 'commander';
import { type Catalog, openCatalog } from '../../internal/catalog/mod.ts';
import type { Config } from '../../internal/config/mod.ts';
import { PackBytes } from '../../internal/packread/mod.ts';
import type { PackStore } from '../../internal/packstore/mod.ts';
import { Repositories } from '../../internal/reach/mod.ts';
import { loadCommandConfig, withDatabase } from './cli.ts';
import { openStore } from './open-store.ts';

/** What a verb that reads objects works with. */
export interface Rooms {
  readonly config: Config;
  readonly catalog: Catalog;
  readonly store: PackStore;
  readonly bytes: PackBytes;
  readonly repositories: Repositories;
}

/** Runs `work` with the catalog and the store of a command's configuration. */
export async function withRooms<T>(command: Command, work: (rooms: Rooms) => Promise<T>): Promise<T> {
  const { config } = loadCommandConfig(command);
  return withDatabase(config, async (url) => {
    const catalog = openCatalog({ url, poolMax: 2, statementTimeoutMs: config.database.statementTimeoutMs });
    const store = openStore(config);
    try {
      await store.check();
      const bytes = new PackBytes(catalog, store, config.cache.bytesMax / 2);
      return await work({
        config,
        catalog,
        store,
        bytes,
        repositories: new Repositories(catalog, bytes, config.cache.bytesMax / 2),
      });
    } finally {
      await store.close();
      await catalog.close();
    }
  });
}
