import assert from 'node:assert/strict';
import { join } from 'node:path';
import { createLogger } from '../../../internal/base/mod.ts';
import { type Catalog, openCatalog } from '../../../internal/catalog/mod.ts';
import { type Config, loadConfig } from '../../../internal/config/mod.ts';
import { compact, planCompaction, removeOrphans, retire, seal, sweepPool } from '../../../internal/maintenance/mod.ts';
import {
  createFaultyStore,
  createFsStore,
  type FaultRule,
  type FaultyStore,
  type PackStore,
  withBlockSums,
} from '../../../internal/packstore/mod.ts';
import { startServer, startTestDatabase, type TestDatabase, type TestServer } from '../../../internal/testkit/mod.ts';
import { rewriteSettings } from '../maintenance-wiring.ts';
import { retireSettings, sweepSettings } from '../sweep-wiring.ts';
import { runServer } from '../wiring.ts';
import { SMALL_IS_LARGE } from './fault-pushes-testing.ts';
import { assertNothingLeft } from './leftovers-testing.ts';

/** Leases and graces that pass within a test. */
const ENV = {
  ...SMALL_IS_LARGE,
  PACKHOUSE_MAINTENANCE_LEASE: '1s',
  PACKHOUSE_MAINTENANCE_UPLOAD_LEASE: '20s',
  PACKHOUSE_MAINTENANCE_READER_MARGIN: '10s',
  PACKHOUSE_SWEEP_RETENTION: '0s',
  PACKHOUSE_SWEEP_CONDEMNED_PERCENT_MAX: '100',
};
const GRACE_MS = 1_200;

export type Step = 'seal' | 'compact' | 'sweep' | 'retire';

/** A server and its maintenance in the test's own process, whose store goes wrong by plan, and one beside it that nothing happens to. */
export class FaultyHouse {
  readonly calm: TestServer;
  readonly faults: FaultyStore;
  readonly databaseUrl: string;
  /** Of the server whose store goes wrong. */
  url = '';
  /** Rounds of maintenance that a fault has ended. */
  stopped = 0;
  readonly #config: Config;
  readonly #database: TestDatabase;
  readonly #catalog: Catalog;
  readonly #store: PackStore;
  readonly #stop = new AbortController();
  #served: Promise<void> = Promise.resolve();

  private constructor(database: TestDatabase, calm: TestServer, cacheBytes: string, seed: number) {
    this.#database = database;
    this.databaseUrl = database.url;
    this.calm = calm;
    const env = {
      ...ENV,
      PACKHOUSE_DATABASE_URL: database.url,
      PACKHOUSE_DATA_DIR: calm.dataDir,
      PACKHOUSE_HTTP_LISTEN: '127.0.0.1:0',
      PACKHOUSE_MAINTENANCE_ENABLED: 'false',
      PACKHOUSE_CACHE_BYTES_MAX: cacheBytes,
    };
    this.#config = loadConfig({ path: undefined, env, flags: {} }).config;
    this.faults = createFaultyStore(createFsStore({ root: join(calm.dataDir, 'packs') }), { seed });
    this.#store = withBlockSums(this.faults);
    this.#catalog = openCatalog({ url: database.url, poolMax: 4 });
  }

  /** With a small cache whatever is read comes from the store. */
  static async start({ cacheBytes = '64KiB', seed = 1 }: { cacheBytes?: string; seed?: number } = {}): Promise<FaultyHouse> {
    const database = await startTestDatabase();
    const calm = await startServer({ env: { ...ENV, PACKHOUSE_DATABASE_URL: database.url } });
    const house = new FaultyHouse(database, calm, cacheBytes, seed);
    await new Promise<void>((listens, failed) => {
      house.#served = runServer({
        config: house.#config,
        databaseUrl: database.url,
        log: createLogger('silent'),
        signal: house.#stop.signal,
        aroundStore: () => house.faults,
        onListening: (url) => {
          house.url = url;
          listens();
        },
      });
      house.#served.catch(failed);
    });
    return house;
  }

  async close(): Promise<void> {
    this.faults.setRules([]);
    this.#stop.abort();
    await this.#served;
    await this.#catalog.close();
    await this.calm.close();
    await this.#database.stop();
  }

  setFaults(...rules: FaultRule[]): void {
    this.faults.setRules(rules);
  }

  /** All there is of maintenance, once: for a pool, or for all. What a fault stops is left for the next time. */
  async maintain(poolId: number | null, what: readonly Step[]): Promise<void> {
    const { signal } = new AbortController();
    const log = createLogger('silent');
    const rewrite = rewriteSettings(this.#config, this.#catalog, this.#store, log);
    const leaving = retireSettings(this.#config, this.#catalog, this.#store);
    const pools = poolId === null ? (await this.#catalog.pools(null)).map(({ id }) => id) : [poolId];
    const sweeping = { ...sweepSettings(this.#config, rewrite), confirmed: true, thorough: true };
    const steps: Record<Step, () => Promise<unknown>> = {
      seal: () => seal(rewrite, { poolId, now: true }, signal),
      compact: async () => compact(rewrite, await planCompaction(rewrite, { poolId, full: true }), signal),
      async sweep() {
        for (const pool of pools) await sweepPool(sweeping, pool, signal);
      },
      async retire() {
        await retire(leaving);
        await removeOrphans({ ...leaving, confirmed: true });
      },
    };
    for (const step of what) {
      await steps[step]().catch((error: unknown) => {
        const { code } = error as { code?: string };
        assert(code?.startsWith('store-'), `${step} failed by something else than the store: ${String(error)}`);
        this.stopped++;
      });
    }
  }

  /** How often each fault was made to happen. */
  injected(): string {
    const counts = new Map<string, number>();
    for (const { operation, fault } of this.faults.injected) {
      const name = `${operation} ${fault.kind}`;
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    const each = [...counts].map(([name, count]) => `${name} ${count}`).join(', ');
    return `faults injected ${this.faults.injected.length}: ${each}`;
  }

  async assertNothingLeft(): Promise<void> {
    this.faults.setRules([]);
    await assertNothingLeft(this.calm, GRACE_MS);
  }
}
