import { join } from 'node:path';
import { type Logger, messageOf } from '../../internal/base/mod.ts';
import type { Config } from '../../internal/config/mod.ts';
import { DiskCache } from '../../internal/packread/mod.ts';
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

/** What a server keeps of an object store's packs on its disk; none for a store that is one, and where there is no place. */
export async function openDiskCache(
  config: Config,
  log: Logger,
  onLookup: (hit: boolean) => void,
): Promise<DiskCache | undefined> {
  const folder = config.data.dir;
  if (config.store.kind === 'fs' || config.cache.diskBytesMax === 0) return undefined;
  const onFault = (error: Error): void => log.warn({ error: messageOf(error), folder }, 'the disk takes no more ranges of packs');
  try {
    return await DiskCache.open({ folder, bytesMax: config.cache.diskBytesMax, onLookup, onFault });
  } catch (error) {
    log.warn({ error: messageOf(error), folder }, 'ranges of packs are kept in memory alone');
    return undefined;
  }
}
