import { promisify } from 'node:util';
import { constants, inflateRaw } from 'node:zlib';
import { PackhouseError } from '../base/mod.ts';
import type { Pack } from '../catalog/mod.ts';
import { adler32, type ChunkRecipe, SHA256_BYTES } from '../chunking/mod.ts';
import type { Location } from './location.ts';
import type { PackBytes, PackExtent } from './pack-bytes.ts';

const inflate = promisify<Buffer, object, Buffer>(inflateRaw);

/** Segments that stand this close together in a chunk pack are read at once: between neighbours are 11 bytes or a few more. */
const GAP_BYTES_MAX = 16 << 10;
/** The longest read of neighbouring segments, and how many are under way at a time. */
const RUN_BYTES_MAX = 4 << 20;
const RUNS_AHEAD = 2;
/** Recipes that are kept, by their bytes. */
const RECIPES_BYTES_MAX = 16 << 20;
/** Recipes that one statement brings. */
const RECIPES_AT_ONCE = 16;
/** No chunk is larger: bounds what inflating one of an unknown size may make. */
const CHUNK_BYTES_MAX = 2 ** 30;

/** A chunked blob where one of its packs has it. */
export interface ChunkedLocation extends Location {
  readonly chunkedOid: Buffer;
}

/** As much of it as tells which blob is meant. */
export type ChunkedBlobName = Pick<ChunkedLocation, 'pack' | 'chunkedOid' | 'sizeBytes'>;

export function isChunked(location: Location): location is ChunkedLocation {
  return location.chunkedOid !== undefined;
}

/** Where chunks are stored. */
export type ChunkPlaces = Pick<ChunkRecipe, 'packIds' | 'offsets' | 'lengths'>;

/** Neighbouring segments, read at once: those of chunks that are asked for one after the other. */
interface Run {
  readonly chunks: readonly number[];
  readonly packId: number;
  readonly offset: number;
  readonly lengthBytes: number;
}

/**
 * Large blobs of one pool that are kept as chunks: by their recipes, and only the chunks that are asked for. Nothing here holds a blob whole
 * but `whole`, which has a bound. Chunks move only when packs
 * of chunks are replaced: then `forget`.
 */
export class ChunkedBlobs {
  readonly #bytes: PackBytes;
  readonly #poolId: number;
  readonly #packs = new Map<number, PackExtent>();
  readonly #recipes = new Map<string, ChunkRecipe>();
  #recipesBytes = 0;
  /** How often chunks have moved: what was asked for before is not kept. */
  #moves = 0;

  constructor(bytes: PackBytes, poolId: number) {
    this.#bytes = bytes;
    this.#poolId = poolId;
  }

  /** Bytes of the recipes that are kept. */
  get bytes(): number {
    return this.#recipesBytes;
  }

  /** Lets recipes go: chunks have moved. Who holds one may go on with it as long as replaced packs are readable. */
  forget(): void {
    this.#moves++;
    this.#recipes.clear();
    this.#recipesBytes = 0;
  }

  /** @throws PackhouseError `recipe-missing` */
  async recipe(location: ChunkedBlobName): Promise<ChunkRecipe> {
    const key = keyOf(location.pack.id, location.chunkedOid);
    const known = this.#recipes.get(key);
    if (known === undefined) return (await this.recipes([location]))[0]!;
    this.#recipes.delete(key);
    this.#recipes.set(key, known);
    return known;
  }

  /** Recipes in the order of the locations. The caller bounds how many it asks for. @throws PackhouseError `recipe-missing` */
  async recipes(locations: readonly ChunkedBlobName[]): Promise<ChunkRecipe[]> {
    const found = new Map<string, ChunkRecipe>();
    const missing: { packId: number; oid: Buffer }[] = [];
    for (const { pack, chunkedOid } of locations) {
      const known = this.#recipes.get(keyOf(pack.id, chunkedOid));
      if (known === undefined) missing.push({ packId: pack.id, oid: chunkedOid });
      else found.set(keyOf(pack.id, chunkedOid), known);
    }
    for (let from = 0; from < missing.length; from += RECIPES_AT_ONCE) {
      const moves = this.#moves;
      const rows = await this.#bytes.catalog.chunks.recipes(this.#poolId, missing.slice(from, from + RECIPES_AT_ONCE));
      for (const { packId, oid, recipe } of rows) {
        found.set(keyOf(packId, oid), recipe);
        if (moves === this.#moves) this.#keep(keyOf(packId, oid), recipe);
      }
    }
    return locations.map(({ pack, chunkedOid }) => {
      const recipe = found.get(keyOf(pack.id, chunkedOid));
      if (recipe !== undefined) return recipe;
      const oid = chunkedOid.toString('hex');
      throw new PackhouseError('recipe-missing', `pack ${pack.id} has no recipe of blob ${oid}`, { pack: pack.id, oid });
    });
  }

  /** The chunked blobs of a pack, ascending by oid. */
  async blobsOf(pack: Pack): Promise<ChunkedBlobName[]> {
    const rows = await this.#bytes.catalog.chunks.blobsOf(this.#poolId, pack.id);
    return rows.map(({ oid, sizeBytes }) => ({ pack, chunkedOid: oid, sizeBytes }));
  }

  #keep(key: string, recipe: ChunkRecipe): void {
    if (this.#recipes.has(key)) return;
    this.#recipes.set(key, recipe);
    this.#recipesBytes += recipeBytes(recipe);
    for (const [oldest, old] of this.#recipes) {
      if (this.#recipesBytes <= RECIPES_BYTES_MAX) break;
      this.#recipes.delete(oldest);
      this.#recipesBytes -= recipeBytes(old);
    }
  }

  /** Chunks of a blob, by their numbers, as they are stored: deflate segments that may be joined as they come. */
  async *segments(
    recipe: ChunkPlaces,
    chunks: readonly number[],
    signal?: AbortSignal,
    runBytesMax = RUN_BYTES_MAX,
  ): AsyncGenerator<Buffer> {
    const runs = runsOf(recipe, chunks, runBytesMax);
    await this.#locate(runs.map((run) => run.packId));
    const read = (run: Run): Promise<Buffer> => {
      const bytes = this.#bytes.read(this.#poolId, this.#packs.get(run.packId)!, run.offset, run.lengthBytes, signal);
      bytes.catch(() => {});
      return bytes;
    };
    const ahead = runs.slice(0, RUNS_AHEAD).map(read);
    for (let r = 0; r < runs.length; r++) {
      const bytes = await ahead.shift()!;
      if (r + RUNS_AHEAD < runs.length) ahead.push(read(runs[r + RUNS_AHEAD]!));
      const run = runs[r]!;
      for (const i of run.chunks) {
        const at = recipe.offsets[i]! - run.offset;
        yield bytes.subarray(at, at + recipe.lengths[i]!);
      }
    }
  }

  /**
   * Plain bytes of chunks, by their numbers, a buffer a chunk, compared with the size and the Adler-32 that the recipe says.
   * @throws PackhouseError `chunk-corrupt`
   */
  async *plain(recipe: ChunkRecipe, chunks: readonly number[], signal?: AbortSignal): AsyncGenerator<Buffer> {
    let at = 0;
    for await (const segment of this.segments(recipe, chunks, signal)) yield await this.#inflate(recipe, chunks[at++]!, segment);
  }

  /** Chunks of which nothing but their places is known: as they are stored, and their plain bytes, null when they do not inflate. */
  async *stored(
    places: ChunkPlaces,
    chunks: readonly number[],
    signal?: AbortSignal,
  ): AsyncGenerator<{ readonly segment: Buffer; readonly plain: Buffer | null }> {
    const options = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: CHUNK_BYTES_MAX };
    for await (const segment of this.segments(places, chunks, signal)) {
      yield { segment, plain: await inflate(segment, options).catch(() => null) };
    }
  }

  async #inflate(recipe: ChunkRecipe, i: number, segment: Buffer): Promise<Buffer> {
    const options = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: Math.max(1, recipe.sizes[i]!) };
    const plain = await inflate(segment, options).catch(() => null);
    if (plain !== null && plain.length === recipe.sizes[i] && adler32(plain) === recipe.adlers[i]) return plain;
    const sha256 = recipe.sha256s.toString('hex', i * SHA256_BYTES, (i + 1) * SHA256_BYTES);
    const message = `chunk ${sha256} in pack ${recipe.packIds[i]} at offset ${recipe.offsets[i]} is not what its recipe says`;
    throw new PackhouseError('chunk-corrupt', message, { pack: recipe.packIds[i], offset: recipe.offsets[i], sha256 });
  }

  /** Plain bytes [`from`, `to`) of a blob, as far as it goes: only the chunks that they lie in are read. */
  async *range(recipe: ChunkRecipe, from: number, to: number, signal?: AbortSignal): AsyncGenerator<Buffer> {
    const stop = Math.min(to, recipe.sizeBytes);
    if (from >= stop) return;
    let first = 0;
    let at = 0;
    while (at + recipe.sizes[first]! <= from) at += recipe.sizes[first++]!;
    let end = first;
    for (let behind = at; behind < stop; end++) behind += recipe.sizes[end]!;
    for await (const plain of this.plain(recipe, numbers(first, end), signal)) {
      yield plain.subarray(Math.max(0, from - at), stop - at);
      at += plain.length;
    }
  }

  /** A blob held whole. @throws PackhouseError `object-too-large` above `bytesMax` */
  async whole(location: ChunkedLocation, bytesMax: number, signal?: AbortSignal): Promise<Buffer> {
    if (location.sizeBytes > bytesMax) {
      const oid = location.chunkedOid.toString('hex');
      const message = `blob ${oid} has ${location.sizeBytes} bytes: more than the ${bytesMax} that may be held at once`;
      throw new PackhouseError('object-too-large', message, { oid, sizeBytes: location.sizeBytes, bytesMax });
    }
    const recipe = await this.recipe(location);
    const parts: Buffer[] = [];
    for await (const part of this.plain(recipe, allChunks(recipe), signal)) parts.push(part);
    return Buffer.concat(parts, recipe.sizeBytes);
  }

  async #locate(packIds: readonly number[]): Promise<void> {
    const missing = [...new Set(packIds)].filter((id) => !this.#packs.has(id));
    if (missing.length === 0) return;
    for (const pack of await this.#bytes.catalog.chunks.packs(this.#poolId, missing))
      this.#packs.set(pack.id, { ...pack, tier: 'chunks' });
    const gone = missing.filter((id) => !this.#packs.has(id));
    // A recipe from before its chunks have moved: the next one who asks reads it anew.
    if (gone.length > 0) this.forget();
    if (gone.length > 0) throw new PackhouseError('pack-gone', `chunk packs ${gone.join(', ')} are gone`, { packs: gone });
  }
}

/** The numbers of all chunks of a blob. */
export function allChunks(recipe: ChunkRecipe): number[] {
  return numbers(0, recipe.sizes.length);
}

function numbers(first: number, end: number): number[] {
  return Array.from({ length: end - first }, (_, i) => first + i);
}

/** Chunks that stand one after the other in one pack, grouped for reading. */
function runsOf({ packIds, offsets, lengths }: ChunkPlaces, chunks: readonly number[], runBytesMax: number): Run[] {
  const runs: Run[] = [];
  for (let at = 0; at < chunks.length; ) {
    const from = at;
    const first = chunks[at++]!;
    const [packId, offset] = [packIds[first]!, offsets[first]!];
    let behind = offset + lengths[first]!;
    for (; at < chunks.length; at++) {
      const next = chunks[at]!;
      const end = offsets[next]! + lengths[next]!;
      // A chunk that comes again, as in a file of zeros.
      if (packIds[next] === packId && offsets[next]! >= offset && end <= behind) continue;
      const gap = offsets[next]! - behind;
      if (packIds[next] !== packId || gap < 0 || gap > GAP_BYTES_MAX) break;
      if (end - offset > runBytesMax) break;
      behind = end;
    }
    runs.push({ chunks: chunks.slice(from, at), packId, offset, lengthBytes: behind - offset });
  }
  return runs;
}

function keyOf(packId: number, oid: Buffer): string {
  return `${packId} ${oid.toString('hex')}`;
}

function recipeBytes({ sizes }: ChunkRecipe): number {
  return 300 + sizes.length * (SHA256_BYTES + 4 * 8 + 4);
}
