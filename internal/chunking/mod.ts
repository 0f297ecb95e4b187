/**
 * chunking: large blobs as content-defined chunks that stand in ordinary git packs. Pure bytes, no I/O.
 *
 * A chunk pack is a valid git pack v2 of blob entries, one a chunk; a blob's entry on the wire is made of the same segments:
 *
 *   entry of a chunk      entry header (blob, size of the chunk)   78 01   segment              03 00   Adler-32 of the chunk
 *   entry of a blob       entry header (blob, size of the blob)    78 01   segment segment …    03 00   Adler-32 of the blob
 *
 * A segment is raw deflate (RFC 1951) that ends at a byte and is not final: deflated and closed by a full flush (`00 00 00 ff ff`), or
 * stored blocks. It refers to nothing before it. `03 00` is an empty final block; Adler-32 is big-endian, and that of a blob is
 * combined from its chunks'. So a blob is served by copying bytes that are stored.
 */
export { adler32, combineAdler32 } from './adler32.ts';
export { type CutSizes, type Cutter, FastCdcCutter } from './cutter.ts';
export {
  type CopyStep,
  type DeltaPlan,
  deltaBetween,
  encodeCopy,
  encodeDeltaHead,
  encodeInsert,
  type InsertStep,
  narrowInsert,
} from './delta-between.ts';
export { encodeSegment, storedBlocks } from './encode-chunk.ts';
export { type ChunkingParameters, type ChunkRecipe, SHA256_BYTES } from './types.ts';
export { wireEntryBytes, wireEntryHead, wireEntryTail } from './wire-entry.ts';
