import type { ChunkingParameters, ChunkRecipe } from '../chunking/mod.ts';
import type { PackPlace } from './incoming-reader.ts';

/** Where the pool has chunks: for each its pack (0 where the pool has none), and its segment's place in it. */
export type FoundChunks = Pick<ChunkRecipe, 'packIds' | 'offsets' | 'lengths'>;

/** A chunked blob of the pool that deltas of the push are based on. */
export interface LargeBase {
  readonly sizeBytes: number;
  /** Writes the blob's plain bytes into a new file. */
  writeTo(path: string): Promise<void>;
}

/** How the large blobs of a push are cut, and what the pool has of them. */
export interface ChunkingOptions extends ChunkingParameters {
  /** Looks for n chunks, given as n * 32 bytes of SHA-256. */
  findChunks(sha256s: Buffer): Promise<FoundChunks>;
  /** A chunked blob outside the pack that one of its deltas is based on; null when the pool has no chunked blob of that oid. */
  readLargeBase(oid: Buffer): Promise<LargeBase | null>;
}

/** A blob of the push that was cut. */
export interface ChunkedBlob {
  readonly oid: Buffer;
  readonly recipe: ChunkRecipe;
}

/** The new chunks of a push as a pack of blob entries, header to trailer, and its index. */
export interface ChunkPack {
  readonly place: PackPlace;
  readonly lengthBytes: number;
  readonly checksum: Buffer;
  readonly objectCount: number;
  readonly idx: Buffer;
}
