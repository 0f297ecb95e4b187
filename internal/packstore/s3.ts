import { createRequire } from 'node:module';
import type { S3StoreOptions } from './s3-store.ts';
import type { PackStore } from './store.ts';

export type { S3StoreOptions };

/** A store in a bucket. No request is made before the first operation. The SDK is loaded here: who stores in files starts without it. */
export function createS3Store(options: S3StoreOptions): PackStore {
  const { S3Store } = createRequire(import.meta.url)('./s3-store.ts') as typeof import('./s3-store.ts');
  return new S3Store(options);
}
