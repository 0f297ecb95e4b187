/**
 * ingest: a pack from a stranger becomes verified objects, or an error that names the offset. Nothing here writes to a store.
 *
 *   scan      while bytes arrive: entry headers, inflate to each entry's end, CRC-32, oids of whole objects, the pack's checksum
 *   resolve   deltas, from their bases down, without recursion; bases outside the pack are asked for
 *   check     each object as `git fsck --strict` would, by a list of severities; links gathered on the way
 *
 * With `chunking`, blobs of its threshold and more are cut into chunks while they are inflated, or while a delta makes them: they are never
 * held, and not in the bytes that are kept. What is kept is written again without them, and deltas on them that make something smaller
 * become whole entries. New chunks go into a pack of their own, `chunkPack`. Deltas whose base is such a blob read it from a file.
 *
 * A small pack is worked on in memory, at once; a larger one, and one with blobs to cut, in a worker, from a spool file that nothing depends on later. Memory is
 * bounded by PackLimits whatever the pack claims: sizes are caps, large blobs are streamed, bases are dropped and inflated again.
 */
export { ChunkPackFile } from './chunk-pack-file.ts';
export type { ChunkedBlob, ChunkingOptions, ChunkPack, FoundChunks, LargeBase } from './chunking-options.ts';
export { PackError, unresolvedDeltas } from './errors.ts';
export type { ExternalBase } from './external-base.ts';
export { IncomingReader, type PackPlace } from './incoming-reader.ts';
export { prepareWorker } from './ingest-worker.ts';
export { DEFAULT_PACK_LIMITS, type PackLimits, STORED_PACK_LIMITS } from './limits.ts';
export { SpoolSource } from './pack-source.ts';
export { type ReceivedPack, type ReceiveOptions, receivePack } from './receive.ts';
export { makeSpoolFolder, removeStaleSpools } from './spool-folders.ts';
export type { AppendedEntry } from './thin-bases.ts';
export type { VerifiedPack } from './verified-pack.ts';
export { PackWork, type WorkOptions } from './work.ts';
