import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { type Catalog, openCatalog } from '../catalog/mod.ts';

import { createFsStore, type PackStore } from '../packstore/mod.ts';
import { type FsckSummary, fsck } from './fsck.ts';
import type { Problem } from './problems.ts';

const TABLES = [
  'pools',
  'repositories',
  'packs',
  'tail_bytes',
  'object_blocks',
  'graph_blocks',
  'refs',
  'pushes',
  'ref_updates',
  'chunks',
  'chunked_blobs',
] as const;

/** A database and a packs folder that tests damage and put back. */
export class Bench {
  readonly catalog: Catalog;
  readonly store: PackStore;
  readonly packsFolder: string;
  readonly #saved: string;
  readonly #client: pg.Client;

  constructor(url: string, packsFolder: string, savedFolder: string) {
    this.catalog = openCatalog({ url, poolMax: 2 });
    this.store = createFsStore({ root: packsFolder });
    this.packsFolder = packsFolder;
    this.#saved = join(savedFolder, 'packs');
    this.#client = new pg.Client({ connectionString: url });
  }

  async open(): Promise<void> {
    await this.#client.connect();
  }

  async query<T extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []): Promise<T[]> {
    return (await this.#client.query<T>(sql, [...values])).rows;
  }

  /** Keeps what there is now. */
  async save(): Promise<void> {
    cpSync(this.packsFolder, this.#saved, { recursive: true });
    for (const table of TABLES) await this.query(`create table saved_${table} as table ${table}`);
  }

  /** Puts back what was kept. */
  async restore(): Promise<void> {
    rmSync(this.packsFolder, { recursive: true });
    cpSync(this.#saved, this.packsFolder, { recursive: true });
    const restores = TABLES.map((table) => `insert into ${table} overriding system value select * from saved_${table};`);
    await this.query(`begin; truncate ${TABLES.join(', ')} cascade; ${restores.join('\n')} commit;`);
  }

  async check(
    options: { repository?: readonly [owner: string, name: string]; connectivityOnly?: boolean; memoryBytesMax?: number } = {},
  ): Promise<{ summary: FsckSummary; problems: Problem[] }> {
    const { repository, connectivityOnly = false, memoryBytesMax = 8 << 20 } = options;
    const problems: Problem[] = [];
    // A store of its own: files that a test has put in the place of others must not be read through an open handle.
    const store = createFsStore({ root: this.packsFolder });
    try {
      const summary = await fsck({
        catalog: this.catalog,
        store,
        repository: repository === undefined ? null : await this.catalog.findRepository(...repository),
        connectivityOnly,
        memoryBytesMax,
        cacheBytesMax: 64 << 20,
        retentionMs: 86_400_000,
        onProblem: (problem) => problems.push(problem),
      });
      return { summary, problems };
    } finally {
      await store.close();
    }
  }

  async close(): Promise<void> {
    await this.#client.end();
    await this.catalog.close();
    await this.store.close();
  }
}
