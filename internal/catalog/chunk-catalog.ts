import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import * as queries from '../../db/queries/chunks.ts';
import { numberArray } from '../../db/queries/publish.ts';
import { PackhouseError } from '../base/mod.ts';
import { type ChunkRecipe, SHA256_BYTES } from '../chunking/mod.ts';
import { OidMap } from '../object/mod.ts';

/** A chunked blob of a pack and how it is put together. */
export interface ChunkedBlob {
  readonly oid: Buffer;
  readonly recipe: ChunkRecipe;
}

/** A pack of chunks: where it is, and what it is. */
export interface ChunkPackRow {
  readonly id: number;
  readonly crateKey: string;
  readonly extentOffset: number;
  readonly lengthBytes: number;
  readonly objectCount: number;
  readonly checksum: Buffer;
}

/** Hashes that one statement asks for or notes. */
const BATCH_CHUNKS = 5000;

/** Large blobs of the catalog: which chunks a pool keeps and where, and the recipes of blobs. */
export class ChunkCatalog {
  readonly #pool: pg.Pool;
  readonly #onStatement: () => void;

  constructor(pool: pg.Pool, onStatement: () => void = () => {}) {
    this.#pool = pool;
    this.#onStatement = onStatement;
  }

  /** Where the pool keeps chunks, given as n * 32 bytes of SHA-256: pack 0 for those that it does not have. */
  async find(poolId: number, sha256s: Buffer): Promise<Pick<ChunkRecipe, 'packIds' | 'offsets' | 'lengths'>> {
    const count = sha256s.length / SHA256_BYTES;
    const found = {
      packIds: new Float64Array(count),
      offsets: new Float64Array(count),
      lengths: new Float64Array(count),
    };
    for (let from = 0; from < count; from += BATCH_CHUNKS) {
      const hashes = [...eachHash(sha256s, from, Math.min(from + BATCH_CHUNKS, count))];
      this.#onStatement();
      for (const row of await queries.findChunks(this.#pool, poolId, hashes)) {
        const i = from + row.at - 1;
        found.packIds[i] = row.pack_id;
        found.offsets[i] = row.pack_offset;
        found.lengths[i] = row.pack_length;
      }
    }
    return found;
  }

  /** Makes the intent of a chunk pack durable, before its first byte is uploaded. */
  async beginPack(poolId: number, packId: number, crateKey: string, lease: string): Promise<void> {
    this.#onStatement();
    await queries.insertChunkPackIntent(this.#pool, poolId, packId, crateKey, lease);
  }

  /** Notes what was uploaded for the intent of a chunk pack. @throws PackhouseError `lease-lost` */
  async setUploaded(
    poolId: number,
    packId: number,
    lease: string,
    pack: Pick<ChunkPackRow, 'lengthBytes' | 'objectCount' | 'checksum'>,
  ): Promise<void> {
    this.#onStatement();
    if (await queries.setChunkPackUploaded(this.#pool, poolId, packId, lease, pack)) return;
    throw new PackhouseError('lease-lost', `the upload of chunk pack ${packId} took too long and was given up`);
  }

  /** The chunk packs of a pool: those that are named, even if others have taken their place a moment ago; or all live ones. */
  async packs(poolId: number, ids: readonly number[] | null): Promise<ChunkPackRow[]> {
    this.#onStatement();
    return (await queries.chunkPacks(this.#pool, poolId, ids)).map((row) => ({
      id: row.id,
      crateKey: row.crate_key,
      extentOffset: row.extent_offset,
      lengthBytes: row.extent_length,
      objectCount: row.object_count,
      checksum: row.checksum,
    }));
  }

  /** Recipes of blobs, each named by a pack that holds it; in no order, and without those that are gone. */
  async recipes(
    poolId: number,
    wanted: readonly { readonly packId: number; readonly oid: Buffer }[],
  ): Promise<(ChunkedBlob & { readonly packId: number })[]> {
    this.#onStatement();
    const rows = await queries.recipes(
      this.#pool,
      poolId,
      wanted.map(({ packId }) => packId),
      wanted.map(({ oid }) => oid),
    );
    return rows.map((row) => ({
      packId: row.pack_id,
      oid: row.oid,
      recipe: recipeOfRow(row),
    }));
  }

  /** The chunked blobs of a pack, ascending by oid. */
  async blobsOf(poolId: number, packId: number): Promise<{ oid: Buffer; sizeBytes: number }[]> {
    this.#onStatement();
    return (await queries.chunkedBlobsOf(this.#pool, poolId, packId)).map(({ oid, size }) => ({ oid, sizeBytes: size }));
  }

  /** Chunks that deduplication looks for in a pack, in order of place. */
  async *chunksOf(
    poolId: number,
    packId: number,
  ): AsyncGenerator<{ readonly sha256: Buffer; readonly offset: number; readonly lengthBytes: number }> {
    for (let after = -1; ; ) {
      this.#onStatement();
      const rows = await queries.chunksOf(this.#pool, poolId, packId, after, BATCH_CHUNKS);
      for (const row of rows) yield { sha256: row.sha256, offset: row.pack_offset, lengthBytes: row.pack_length };
      if (rows.length < BATCH_CHUNKS) return;
      after = rows.at(-1)!.pack_offset;
    }
  }
}

/**
 * Copies the recipes of a pack inside the caller's transaction, and notes the push's new chunks, which are those of pack 0 in the recipes.
 * The chunk packs of before that they name are held as they are until the transaction ends.
 * @throws PackhouseError `chunks-moved` when one of those is not live any more: then its chunks are to be looked for again
 */
export async function copyChunkTables(
  client: pg.PoolClient,
  poolId: number,
  packId: number,
  chunked: readonly ChunkedBlob[],
  chunkPackId: number | null,
): Promise<void> {
  const named = new Set<number>();
  const fresh = new OidMap(SHA256_BYTES);
  const offsets: number[] = [];
  const lengths: number[] = [];
  for (const { recipe } of chunked) {
    for (let i = 0; i < recipe.packIds.length; i++) {
      if (recipe.packIds[i] !== 0) {
        named.add(recipe.packIds[i]!);
        continue;
      }
      if (fresh.add(recipe.sha256s, i * SHA256_BYTES) < offsets.length) continue;
      offsets.push(recipe.offsets[i]!);
      lengths.push(recipe.lengths[i]!);
    }
  }
  if (fresh.size > 0 && chunkPackId === null) throw new Error('new chunks without a pack');
  // Also when none is named: chunks are noted under the pool's lock only, or whoever moves chunks and this could wait for each other.
  const live = new Set(await queries.holdChunkPacks(client, poolId, [...named]));
  const moved = [...named].filter((id) => !live.has(id));
  if (moved.length > 0)
    throw new PackhouseError('chunks-moved', `chunk packs ${moved.join(', ')} are not live any more`, { moved });
  const sorted = inOrder(fresh);
  for (let from = 0; from < sorted.length; from += BATCH_CHUNKS) {
    const part = Array.from(sorted.subarray(from, from + BATCH_CHUNKS));
    await queries.insertChunks(
      client,
      poolId,
      chunkPackId!,
      part.map((i) => fresh.oid(i)),
      part.map((i) => offsets[i]!),
      part.map((i) => lengths[i]!),
    );
  }
  await copyRecipeRows(client, 'chunked_blobs', poolId, packId, chunked, chunkPackId);
}

/** Indexes of hashes, ascending by hash. */
function inOrder(hashes: OidMap): Uint32Array {
  const slab = hashes.slab();
  const compare = (a: number, b: number): number =>
    slab.compare(slab, b * SHA256_BYTES, (b + 1) * SHA256_BYTES, a * SHA256_BYTES, (a + 1) * SHA256_BYTES);
  return Uint32Array.from({ length: hashes.size }, (_, i) => i).sort(compare);
}

export function recipeOfRow(row: queries.RecipeRow): ChunkRecipe {
  return {
    sizeBytes: row.size,
    adler: row.adler,
    sha256s: row.sha256s,
    packIds: row.chunk_packs,
    offsets: row.offsets,
    lengths: row.lengths,
    sizes: row.sizes,
    adlers: Uint32Array.from(row.adlers),
  };
}

/** Copies recipes into `table`, as rows of chunked_blobs. */
export async function copyRecipeRows(
  client: pg.ClientBase,
  table: string,
  poolId: number,
  packId: number,
  chunked: readonly ChunkedBlob[],
  chunkPackId: number | null,
): Promise<void> {
  const columns = 'pool_id, pack_id, oid, size, adler, sha256s, chunk_packs, offsets, lengths, sizes, adlers';
  const into = client.query(copyFrom(`copy ${table} (${columns}) from stdin`));
  await pipeline(Readable.from(recipeLines(poolId, packId, chunked, chunkPackId)), into);
}

function* recipeLines(
  poolId: number,
  packId: number,
  chunked: readonly ChunkedBlob[],
  chunkPackId: number | null,
): Generator<string> {
  for (const { oid, recipe } of chunked) {
    const packs = recipe.packIds.map((id) => (id === 0 ? chunkPackId! : id));
    const arrays = [packs, recipe.offsets, recipe.lengths, recipe.sizes, recipe.adlers].map(numberArray);
    const row = [poolId, packId, `\\\\x${oid.toString('hex')}`, recipe.sizeBytes, recipe.adler];
    yield `${[...row, `\\\\x${recipe.sha256s.toString('hex')}`, ...arrays].join('\t')}\n`;
  }
}

/**
 * Gives a pack that takes the place of others their recipes of `oids`, inside the caller's transaction.
 * @throws PackhouseError `recipe-missing` when one has none
 */
export async function copyRecipes(
  client: pg.PoolClient,
  poolId: number,
  fromPackIds: readonly number[],
  toPackId: number,
  oids: readonly Buffer[],
): Promise<void> {
  if (oids.length === 0) return;
  const copied = await queries.copyRecipes(client, poolId, fromPackIds, toPackId, oids);
  if (copied === oids.length) return;
  throw new PackhouseError(
    'recipe-missing',
    `${oids.length - copied} of ${oids.length} chunked blobs have no recipe in their packs`,
  );
}

function* eachHash(sha256s: Buffer, from: number, to: number): Generator<Buffer> {
  for (let i = from; i < to; i++) yield sha256s.subarray(i * SHA256_BYTES, (i + 1) * SHA256_BYTES);
}
