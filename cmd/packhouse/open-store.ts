import { join } from 'node:path';
import type { Config } from '../../internal/config/mod.ts';
import { createFsStore, createS3Store, type PackStore } from '../../internal/packstore/mod.ts';

export function openStore(config: Config): PackStore {
  if (config.store.kind === 'fs') return createFsStore({ root: join(config.data.dir, 'packs') });
  return createS3Store(config.store.s3);
}
