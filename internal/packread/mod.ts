/**
 * packread: oids to bytes. `PoolIndex` says where an object of a pool is stored, `PackBytes` brings the bytes of packs and caches them in memory,
 * `DiskCache` those of a bucket on a disk, `ObjectReader` makes whole objects of entries and deltas, `ChunkedBlobs` reads large blobs by their chunks.
 * Packs are immutable: nothing cached here can be stale.
 */
export { breath } from './breath.ts';
export { ByteCache } from './byte-cache.ts';
export { allChunks, type ChunkedBlobName, ChunkedBlobs, type ChunkedLocation, isChunked } from './chunked-blobs.ts';
export { DiskCache } from './disk-cache.ts';
export type { Location } from './location.ts';
export { ObjectReader, type StoredObject } from './object-reader.ts';
export { type LentViews, PackBytes, type PackExtent } from './pack-bytes.ts';
export type { Lent } from './passing-reads.ts';
export { PoolIndex } from './pool-index.ts';
