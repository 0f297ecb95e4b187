import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { createLogger } from '../base/mod.ts';
import { type Catalog, openCatalog } from '../catalog/mod.ts';

import { PackBytes } from '../packread/mod.ts';
import { createFsStore, type PackStore, sidecarKey } from '../packstore/mod.ts';
import { DEFAULT_REPACK_SETTINGS } from '../repack/mod.ts';
import {
  FastImport,
  git,
  makeRepository,
  scratchFolder,
  startServer,
  startTestDatabase,
  type TestDatabase,
  type TestServer,
} from '../testkit/mod.ts';
import { fsck } from './fsck.ts';
import { type Problem, problemLine } from './problems.ts';
import { Rest } from './rest.ts';
import type { RewriteSettings } from './settings.ts';
import { Throttle } from './throttle.ts';

/** A running server, and beside it maintenance in the test's own process on the same catalog and store. */
export class Yard {
  readonly server: TestServer;
  readonly catalog: Catalog;
  readonly store: PackStore;
  readonly settings: RewriteSettings;
  readonly #database: TestDatabase;
  readonly #client: pg.Client;

  private constructor(database: TestDatabase, server: TestServer, client: pg.Client) {
    this.#database = database;
    this.#client = client;
    this.server = server;
    this.catalog = openCatalog({ url: database.url, poolMax: 6 });
    this.store = createFsStore({ root: join(server.dataDir, 'packs') });
    this.settings = {
      catalog: this.catalog,
      store: this.store,
      bytes: new PackBytes(this.catalog, this.store, 16 << 20),
      repack: DEFAULT_REPACK_SETTINGS,
      throttle: new Throttle(Number.POSITIVE_INFINITY),
      rest: new Rest(),
      log: createLogger('silent'),
      leaseMs: 60_000,
      bitmapObjectsMin: 1000,
      seal: { bytes: 8 << 20, packs: 500, ageMs: 600_000, crateBytes: 64 << 20 },
      compaction: { ratio: 2, packBytesMax: 4 * 2 ** 30, deadPercent: 30 },
    };
  }

  static async start(flags: readonly string[] = []): Promise<Yard> {
    const database = await startTestDatabase();
    const server = await startServer({ env: { PACKHOUSE_DATABASE_URL: database.url }, flags });
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    return new Yard(database, server, client);
  }

  async close(): Promise<void> {
    await this.#client.end();
    await this.catalog.close();
    await this.store.close();
    await this.server.close();
    await this.#database.stop();
  }

  async query<T extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []): Promise<T[]> {
    return (await this.#client.query<T>(sql, [...values])).rows;
  }

  get databaseUrl(): string {
    return this.#database.url;
  }

  url(name: string): string {
    return `${this.server.url}/o/${name}.git`;
  }

  async poolOf(name: string): Promise<number> {
    return (await this.catalog.findRepository('o', name))!.poolId;
  }

  /** Makes a repository of `count` commits, each pushed on its own: as many tail packs, all but the first thin. Its local twin. */
  async pushOneByOne(name: string, count: number, local?: string): Promise<string> {
    const folder = local ?? (await makeRepository());
    for (let i = 0; i < count; i++) await this.pushOne(name, folder, i, local === undefined && i === 0);
    return folder;
  }

  async pushOne(name: string, folder: string, seed: number, first = false): Promise<void> {
    const importer = new FastImport(1_760_000_000 + seed);
    const lines = Array.from({ length: 200 }, (_, line) =>
      line === (seed * 7) % 200 ? `changed by ${seed}` : `line ${line} of ${name}`,
    );
    const files = { 'text.txt': lines.join('\n'), [`dir/file${seed % 10}.txt`]: `of commit ${seed} in ${name}\n` };
    importer.commit('refs/heads/main', files, { parents: first ? [] : ['refs/heads/main'] });
    await importer.into(folder);
    await git(['push', '-q', this.url(name), 'main'], { cwd: folder });
  }

  /** Clones and compares with the local twin; the clone is checked by git. */
  async assertClones(name: string, local: string): Promise<void> {
    const clone = scratchFolder('clone');
    await git(['clone', '-q', '--mirror', this.url(name), clone]);
    await git(['fsck', '--strict', '--full'], { cwd: clone });
    assert.equal(await git(['rev-parse', 'main'], { cwd: clone }), await git(['rev-parse', 'main'], { cwd: local }));
    const objects = (cwd: string): Promise<string> => git(['rev-list', '--objects', '--no-object-names', 'main'], { cwd });
    assert.equal(await objects(clone), await objects(local));
  }

  /** Every problem there is: none, when all is well. */
  async problems(): Promise<string[]> {
    const found: Problem[] = [];
    await fsck({
      catalog: this.catalog,
      store: this.store,
      repository: null,
      connectivityOnly: false,
      memoryBytesMax: 8 << 20,
      cacheBytesMax: 64 << 20,
      retentionMs: 86_400_000,
      onProblem: (problem) => found.push(problem),
    });
    return found.map(problemLine);
  }

  async livePacks(
    name: string,
  ): Promise<{ id: number; tier: string; crateKey: string | null; extentOffset: number; lengthBytes: number }[]> {
    return this.catalog.maintenance.packs(await this.poolOf(name), ['live']);
  }

  /** Gives each store pack of a repository to git, cut out of its crate: git must find it sound, and write the index that lies beside it. */
  async assertOrdinaryPacks(name: string): Promise<void> {
    for (const pack of await this.catalog.packs(await this.poolOf(name), null)) {
      if (pack.tier !== 'store') continue;
      const bytes = await this.store.get(pack.crateKey!, { offset: pack.extentOffset, lengthBytes: pack.lengthBytes });
      const idxKey = sidecarKey(pack.crateKey!, 'idx');
      const all = await this.store.get(idxKey, { offset: 0, lengthBytes: (await this.store.head(idxKey))!.lengthBytes });
      const folder = scratchFolder('cut');
      await git(['init', '-q', '--bare', folder]);
      const path = join(folder, 'objects', 'pack', `pack-${pack.checksum.toString('hex')}.pack`);
      writeFileSync(path, bytes);
      await git(['index-pack', '--fsck-objects', path], { cwd: folder });
      await git(['verify-pack', path], { cwd: folder });
      const idx = readFileSync(path.replace(/pack$/, 'idx'));
      assert(all.indexOf(idx) >= 0, `the crate's .idx has the index that git writes for pack ${pack.id}`);
    }
  }
}
