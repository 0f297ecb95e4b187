/**
 * `exists` of the object store in this process, on an embedded PostgreSQL and a folder: 1,000 oids a call, half of them stored.
 *
 *   node bench/exists.ts [objects] [seconds]
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openObjectStore } from '../cmd/packhouse/object-store.ts';
import { createLogger } from '../internal/base/mod.ts';
import { openCatalog } from '../internal/catalog/mod.ts';
import { loadConfig } from '../internal/config/mod.ts';
import { startEmbeddedPostgres } from '../internal/embedded/mod.ts';
import { migrate } from '../internal/migrations/mod.ts';
import { PackBytes } from '../internal/packread/mod.ts';
import { createFsStore } from '../internal/packstore/mod.ts';
import { Repositories } from '../internal/reach/mod.ts';

const CALL = 1000;
const BATCH = 20_000;
const objects = Number(process.argv[2] ?? 100_000);
const seconds = Number(process.argv[3] ?? 5);
const scope = { owner: 'bench', name: 'exists' };

const dataDir = await mkdtemp(join(tmpdir(), 'packhouse-bench-exists-'));
const database = await startEmbeddedPostgres({ dataDir, log: createLogger('silent') });
await migrate(database.url);
const catalog = openCatalog({ url: database.url });
const store = createFsStore({ root: join(dataDir, 'packs') });
try {
  await catalog.createRepository({ ...scope, format: 'sha1', private: false });
  const { config } = loadConfig({ path: undefined, env: {}, flags: {} });
  const repositories = new Repositories(catalog, new PackBytes(catalog, store, 128 << 20), 1 << 30);
  const api = openObjectStore(config, { catalog, store, repositories });
  const stored: Buffer[] = [];
  const putStart = performance.now();
  for (let at = 0; at < objects; at += BATCH) {
    const batch = Array.from({ length: Math.min(BATCH, objects - at) }, () => ({ kind: 'blob', data: randomBytes(40) }) as const);
    stored.push(...(await api.putMany(scope, batch)).oids);
  }
  const putSeconds = (performance.now() - putStart) / 1000;
  const pick = (): Buffer => stored[Math.floor(Math.random() * stored.length)]!;
  const calls = Array.from({ length: 50 }, () =>
    Buffer.concat(Array.from({ length: CALL }, (_, i) => (i % 2 === 0 ? pick() : randomBytes(20)))),
  );
  for (const call of calls) await api.exists(scope, call);
  let asked = 0;
  let found = 0;
  const statements = catalog.statements;
  const cpu = process.cpuUsage();
  const start = performance.now();
  for (let i = 0; performance.now() - start < seconds * 1000; i++) {
    for (const is of await api.exists(scope, calls[i % calls.length]!)) found += is;
    asked += CALL;
  }
  const took = (performance.now() - start) / 1000;
  const used = process.cpuUsage(cpu);
  if (found * 2 !== asked) throw new Error(`${found} of ${asked} were found: half of them are stored`);
  const rate = (n: number, s: number): string => Math.round(n / s).toLocaleString('en');
  process.stdout.write(
    `put      ${rate(objects, putSeconds)} objects/s in batches of ${BATCH}\n` +
      `exists   ${rate(asked, took)} oids/s, ${((took * 1e6 * CALL) / asked / 1000).toFixed(2)} ms a call of ${CALL}, ` +
      `${((used.user + used.system) / 1000 / (asked / CALL)).toFixed(2)} ms of CPU, ${((catalog.statements - statements) * CALL) / asked} statements\n`,
  );
} finally {
  await store.close();
  await catalog.close();
  await database.stop();
  await rm(dataDir, { recursive: true, force: true });
}
