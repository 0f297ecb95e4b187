import { crateSizes as selectCrates, poolSizes as selectPools } from '../../db/queries/sizes.ts';
import type { Catalog } from './catalog.ts';

/** What live packs of one pool come to. Bytes are of packs as they are stored, but for the logical ones. */
export interface PoolSize {
  readonly poolId: number;
  /** `owner/name` of its repositories, the oldest first; deleted ones are not among them. */
  readonly repositories: readonly string[];
  readonly packs: number;
  /** Rows of the index; distinct ones count an object once that several packs have. */
  readonly objects: number;
  readonly distinctObjects: number;
  /** Bytes of the objects themselves, of every row. */
  readonly logicalBytes: number;
  readonly tailBytes: number;
  readonly storeBytes: number;
  readonly chunkBytes: number;
  readonly packedBytes: number;
  /** Of packedBytes: entries of objects that another pack has too. */
  readonly repeatedBytes: number;
  readonly chunkedBlobs: number;
  readonly chunkedPlainBytes: number;
  /** Stored bytes of chunks that would be there again if blobs did not share them. */
  readonly deduplicatedBytes: number;
}

/** Sizes of all pools, or of one, the largest first. Reads the whole object index: seconds for millions of objects. */
export async function poolSizes(catalog: Catalog, poolId: number | null): Promise<PoolSize[]> {
  return (await selectPools(catalog.kysely, poolId)).map((row) => ({
    poolId: row.pool_id,
    repositories: row.names ?? [],
    packs: row.packs,
    objects: row.objects,
    distinctObjects: row.distinct_objects,
    logicalBytes: row.logical_bytes,
    tailBytes: row.tail_bytes,
    storeBytes: row.store_bytes,
    chunkBytes: row.chunk_bytes,
    packedBytes: row.packed_bytes,
    repeatedBytes: row.repeated_bytes,
    chunkedBlobs: row.chunked_blobs,
    chunkedPlainBytes: row.chunked_plain_bytes,
    deduplicatedBytes: row.deduplicated_bytes,
  }));
}

/** How many crates there are, what live packs have of them, and what waits to be published or deleted. */
export async function crateSizes(catalog: Catalog): Promise<{ crates: number; liveBytes: number; otherBytes: number }> {
  const row = await selectCrates(catalog.kysely);
  return { crates: row.crates, liveBytes: row.live_bytes, otherBytes: row.other_bytes };
}
