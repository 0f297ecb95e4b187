import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { type Catalog, openCatalog } from '../catalog/mod.ts';
import type { PackStore } from '../packstore/mod.ts';
import {
  git,
  makeRepository,
  reachableObjects,
  refLines,
  scratchFolder,
  seededBytes,
  startServer,
  startTestDatabase,
  type TestDatabase,
  type TestServer,
} from '../testkit/mod.ts';
import { type RebuildReport, rebuild } from './rebuild.ts';

/** What a catalog says of names, refs and log: equal before and after a recovery. */
const TOLD = `select jsonb_build_object(
  'repositories', (select jsonb_agg(to_jsonb(r) order by r.id) from repositories r),
  'pools', (select jsonb_agg(to_jsonb(o) order by o.id) from pools o),
  'refs', (select jsonb_agg(to_jsonb(f) order by f.pool_id, f.repository_id, f.name) from refs f),
  'pushes', (select jsonb_agg(to_jsonb(s) - 'xid' - 'pack_id' order by s.id) from pushes s),
  'updates', (select jsonb_agg(to_jsonb(u) order by u.push_id, u.name) from ref_updates u),
  'tokens', (select jsonb_agg(to_jsonb(t) order by t.id) from access_tokens t),
  'packs', (select jsonb_agg(to_jsonb(k) - 'lease_until' - 'lease_token' - 'state_since' - 'has_duplicates' order by k.pool_id, k.id)
              from packs k where k.state = 'live'),
  'objects', (select jsonb_agg(jsonb_build_array(b.pool_id, b.pack_id, b.first_oid, md5(b::text)) order by b.pool_id, b.pack_id, b.first_oid)
              from object_blocks b join packs k on k.pool_id = b.pool_id and k.id = b.pack_id where k.state = 'live'),
  'recipes', (select jsonb_agg(md5(c::text) order by c.pool_id, c.pack_id, c.oid)
              from chunked_blobs c join packs k on k.pool_id = c.pool_id and k.id = c.pack_id where k.state = 'live')) as told`;

/** A server, histories that are pushed to it, and databases that its store is brought back into. */
export class Farm {
  readonly url: string;
  readonly server: TestServer;
  readonly catalog: Catalog;
  readonly #databases: TestDatabase[] = [];
  readonly #catalogs: Catalog[] = [];
  readonly #servers: TestServer[] = [];
  readonly #sources = new Map<string, string>();
  #seed = 0;

  private constructor(database: TestDatabase, server: TestServer, catalog: Catalog) {
    this.#databases.push(database);
    this.url = database.url;
    this.server = server;
    this.catalog = catalog;
  }

  static async start(): Promise<Farm> {
    const env = {
      PACKHOUSE_MAINTENANCE_ENABLED: 'false',
      // Small enough for tests to fill: packs of the store and chunked blobs.
      PACKHOUSE_PUSH_TAIL_BYTES_MAX: '20KiB',
      PACKHOUSE_CHUNKING_THRESHOLD: '512KiB',
    };
    const database = await startTestDatabase();
    const server = await startServer({ env: { ...env, PACKHOUSE_DATABASE_URL: database.url } });
    const catalog = openCatalog({ url: database.url, poolMax: 2 });
    return new Farm(database, server, catalog);
  }

  get store(): PackStore {
    return this.server.store;
  }

  /** The local repository whose refs are pushed to a name. */
  async source(name: string): Promise<string> {
    const known = this.#sources.get(name);
    if (known !== undefined) return known;
    const folder = scratchFolder(name.replace('/', '-'));
    await git(['init', '-q', folder]);
    this.#sources.set(name, folder);
    return folder;
  }

  /** A commit of one new file of so many random bytes on the branch that is checked out. */
  async commit(name: string, bytes: number, file = `file${++this.#seed}`): Promise<string> {
    const folder = await this.source(name);
    writeFileSync(join(folder, file), seededBytes(++this.#seed, bytes));
    await git(['add', '.'], { cwd: folder });
    await git(['commit', '-qm', `commit ${this.#seed}`], { cwd: folder });
    return folder;
  }

  async push(name: string, ...refspecs: readonly string[]): Promise<void> {
    const folder = await this.source(name);
    const specs = refspecs.length === 0 ? ['refs/heads/*:refs/heads/*', 'refs/tags/*:refs/tags/*'] : refspecs;
    await git(['push', '-q', '--force', `${this.server.url}/${name}.git`, ...specs], { cwd: folder });
  }

  /** A database of nobody's, at the newest schema. */
  async database(): Promise<{ url: string; catalog: Catalog }> {
    const database = await startTestDatabase();
    const catalog = openCatalog({ url: database.url, poolMax: 2 });
    this.#databases.push(database);
    this.#catalogs.push(catalog);
    return { url: database.url, catalog };
  }

  /** Brings the store back into a new database. */
  async rebuilt(
    options: { adopt?: boolean; store?: PackStore } = {},
  ): Promise<{ report: RebuildReport; url: string; catalog: Catalog }> {
    const { url, catalog } = await this.database();
    const report = await rebuild({
      catalog,
      store: options.store ?? this.store,
      memoryBytesMax: 1 << 20,
      adopt: options.adopt ?? false,
      reason: 'rebuild',
    });
    return { report, url, catalog };
  }

  /** A second server on another catalog and this server's store. */
  async serverOn(url: string, dataDir = this.server.dataDir): Promise<TestServer> {
    const env = { PACKHOUSE_DATABASE_URL: url, PACKHOUSE_DATA_DIR: dataDir, PACKHOUSE_MAINTENANCE_ENABLED: 'false' };
    const server = await startServer({ env });
    this.#servers.push(server);
    return server;
  }

  /** What a catalog tells of itself. */
  async told(url: string): Promise<Record<string, unknown>> {
    const [row] = await rowsOf<{ told: Record<string, unknown> }>(url, TOLD);
    return row!.told;
  }

  /** A clone of a name from a server has the refs and objects of its source. */
  async assertClones(server: TestServer, name: string): Promise<void> {
    const folder = await this.source(name);
    const clone = await makeRepository('sha1');
    await git(['fetch', '-q', `${server.url}/${name}.git`, '+refs/*:refs/*'], { cwd: clone });
    await git(['fsck', '--full', '--strict'], { cwd: clone });
    assert.equal(await refLines(clone), await refLines(folder));
    assert.deepEqual(await reachableObjects(clone), await reachableObjects(folder));
  }

  async close(): Promise<void> {
    for (const server of this.#servers) await server.stop();
    for (const catalog of [...this.#catalogs, this.catalog]) await catalog.close();
    await this.server.close();
    for (const database of this.#databases) await database.stop();
  }
}

/** Rows of a statement on a database. */
export async function rowsOf<T extends pg.QueryResultRow>(url: string, statement: string): Promise<T[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<T>(statement)).rows;
  } finally {
    await client.end();
  }
}
