/**
 * packstore: where the bytes of crates and their sidecars live: a file system, a bucket of an S3 service (Ceph RGW first), or
 * memory. Everything above knows the interface `PackStore` and nothing of what is behind it; its rules (all or nothing,
 * retries, idempotence, which error means what) are stated on the interface and held by one conformance suite that runs
 * against every implementation.
 *
 * Promises
 * - What a put has acknowledged is whole and durable; a put that failed shows nothing.
 * - "Missing" is believed only of a store that is there: a vanished disk or bucket is an error.
 * - A get gives exactly the range asked for or rejects; short, broken and misplaced answers of the network are asked for again.
 * - `withBlockSums`: a byte of a crate that is not the one that was put is not given, whoever damaged it.
 * - Memory is bounded: the file system holds 1 MiB of a put, S3 (concurrency + 1) parts, whatever the source's size.
 * - No error carries a credential.
 *
 * Key layout: `crates/<first two hex digits of the id>/<id>.pack` holds a crate; its sidecars lie beside it under the same name
 * with `.idx`, `.reach`, `.manifest` or `.sums` (`crateKey`, `sidecarKey`). Keys are never reused. The file system store keeps
 * a key as the file of that name under its root, and unfinished puts in `<root>/.tmp`, which no key can name.
 *
 * Ranges of objects in a bucket are read by `S3Ranges`, which does without an HTTP library and leaves every answer that is not plainly good to the SDK.
 * In a bucket a put of up to one part is one PutObject, a larger one a multipart upload with parts in parallel; each body is covered by
 * `x-amz-content-sha256`, which the service verifies. No request is conditional.
 */
export { withBlockSums } from './block-sums.ts';
export { type OnRequest, withCounters } from './counters.ts';
export type { StoreOperation } from './faults.ts';
export { createFaultyStore, type Fault, type FaultRule, type FaultyStore } from './faulty-store.ts';
export { createFsStore, type FsStoreOptions } from './fs-store.ts';
export { crateKey, sidecarKey } from './keys.ts';
export { createMemoryStore } from './memory-store.ts';
export { createS3Store, type S3StoreOptions } from './s3.ts';
export type { Allocate, GetOptions, PackStore, PutOptions, PutSource, StoredObject } from './store.ts';
