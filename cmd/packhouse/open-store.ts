import { join } from 'node:path';
import type { Logger } from '../../internal/base/mod.ts';
import type { Config } from '../../internal/config/mod.ts';
import {
  createFsStore,
  createS3Store,
  type OnRequest,
  type PackStore,
  withBlockSums,
  withCounters,
} from '../../internal/packstore/mod.ts';

export interface OpenStoreOptions {
  /** Told of each request, those for checksums too. */
  readonly onRequest?: OnRequest;
  /** Hears of bytes that were not what was put. */
  readonly log?: Logger;
  readonly around?: (store: PackStore) => PackStore;
}

/** The store of the configuration; what is read of crates is compared with their checksums. */
export function openStore(config: Config, { onRequest, log, around = (store) => store }: OpenStoreOptions = {}): PackStore {
  const opened =
    config.store.kind === 'fs' ? createFsStore({ root: join(config.data.dir, 'packs') }) : createS3Store(config.store.s3);
  const store = around(opened);
  return withBlockSums(onRequest === undefined ? store : withCounters(store, onRequest), (key, offset) =>
    log?.warn({ key, offset }, 'bytes of the store are not what was put: read again'),
  );
}
