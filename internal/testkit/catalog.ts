import { after, before } from 'node:test';
import pg from 'pg';
import { type Catalog, openCatalog } from '../catalog/mod.ts';
import { startTestDatabase, type TestDatabase } from './database.ts';

/** A database of a suite's own, with a catalog and a plain connection on it. */
export interface CatalogBench {
  readonly database: TestDatabase;
  readonly catalog: Catalog;
  readonly client: pg.Client;
}

/** Hands a new one to `use` before the suite's tests, and closes it after them. */
export function useCatalog(poolMax: number, use: (bench: CatalogBench) => void): void {
  let bench: CatalogBench | undefined;
  before(async () => {
    const database = await startTestDatabase();
    const client = new pg.Client({ connectionString: database.url });
    bench = { database, catalog: openCatalog({ url: database.url, poolMax }), client };
    await client.connect();
    use(bench);
  });
  after(async () => {
    await bench?.client.end();
    await bench?.catalog.close();
    await bench?.database.stop();
  });
}
