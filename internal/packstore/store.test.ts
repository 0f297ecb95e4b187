import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { withBlockSums } from './block-sums.ts';
import { packStoreConformance } from './conformance.ts';
import { withCounters } from './counters.ts';
import { createFaultyStore } from './faulty-store.ts';
import { createFsStore } from './fs-store.ts';
import { createMemoryStore } from './memory-store.ts';
import { createS3Store } from './s3.ts';
import { s3TestSettings } from './s3-testing.ts';
import type { PackStore } from './store.ts';

packStoreConformance('fs', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'packstore-'));
  // The root itself is absent, and so are the folders above it.
  const store = createFsStore({ root: join(folder, 'not', 'there', 'yet'), openFilesMax: 2 });
  const dispose = async () => {
    await store.close();
    await rm(folder, { recursive: true });
  };
  return { store, dispose };
});

packStoreConformance('memory', async () => ({ store: createMemoryStore(), dispose: async () => {} }));

packStoreConformance('faulty without faults', async () => {
  const store = createFaultyStore(createMemoryStore());
  return { store, dispose: () => store.close() };
});

packStoreConformance('counted', async () => {
  const store = withCounters(createMemoryStore(), () => {});
  return { store, dispose: () => store.close() };
});

packStoreConformance('with checksums', async () => {
  const summed = withBlockSums(createMemoryStore());
  // Its sidecars are no objects of the caller's.
  async function* list(prefix: string) {
    for await (const object of summed.list(prefix)) if (!object.key.endsWith('.sums')) yield object;
  }
  const store: PackStore = {
    kind: summed.kind,
    put: (key, source, options) => summed.put(key, source, options),
    get: (key, options) => summed.get(key, options),
    head: (key) => summed.head(key),
    delete: (key) => summed.delete(key),
    list,
    removeUnfinished: (olderThanSeconds) => summed.removeUnfinished(olderThanSeconds),
    check: () => summed.check(),
    close: () => summed.close(),
  };
  return { store, dispose: () => store.close() };
});

const s3 = s3TestSettings('conformance');
if (s3 === undefined) {
  test('s3: conformance', { skip: 'PACKHOUSE_TEST_S3_ENDPOINT is not set' }, () => {});
} else {
  packStoreConformance(
    's3',
    async () => {
      // Small pages and parts: many of each without many keys and bytes.
      const store = createS3Store({ ...s3, partSizeBytes: 5 * 1024 * 1024, listPageKeys: 50, createBucket: true });
      return { store, dispose: () => store.close() };
    },
    { listedKeys: 320 },
  );
}
