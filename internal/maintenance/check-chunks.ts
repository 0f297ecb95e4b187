import { createHash, hash } from 'node:crypto';
import { codeOf, messageOf } from '../base/mod.ts';
import type { ChunkPackRow, Pack } from '../catalog/mod.ts';
import { type ChunkRecipe, combineAdler32, SHA256_BYTES, wireEntryBytes } from '../chunking/mod.ts';
import { KIND_BLOB, type OidMap, oidLength } from '../object/mod.ts';
import { allChunks, type ChunkedBlobName } from '../packread/mod.ts';
import { compareIdx } from './check-idx.ts';
import { checkBytes, type PackCheckParts, verifyBytes } from './check-pack.ts';
import type { PoolContent } from './pool-content.ts';
import { type Problem, ProblemList } from './problems.ts';

/** One row of a pack's index that is a chunked blob. */
interface ChunkedRow extends ChunkedBlobName {
  readonly kind: number;
  readonly lengthBytes: number;
}

/** Chunks of the pool's packs of chunks that are looked at together. */
const BATCH_CHUNKS = 256;

/**
 * The chunked blobs of one pack: a row and a recipe for each, that fit each other and the chunk packs; with `deep` their bytes too, whose
 * hash must be the oid. The oids of those with a row. Chunk packs that were merged since `chunkPacks` was read are added to it.
 */
export async function checkChunkedBlobs(
  parts: PackCheckParts,
  content: PoolContent,
  pack: Pack,
  chunkPacks: Map<number, ChunkPackRow>,
  deep: boolean,
  problems: ProblemList,
): Promise<OidMap> {
  const rows = rowsOf(content, pack);
  const oids = content.newSet();
  for (const { chunkedOid } of rows) oids.add(chunkedOid);
  if (rows.length !== pack.chunkedCount) {
    problems.add('index', `packs.chunked_count is ${pack.chunkedCount}, object_blocks has ${rows.length} chunked blobs`);
  }
  for (const { oid } of await parts.catalog.chunks.blobsOf(content.poolId, pack.id)) {
    if (!oids.has(oid))
      problems.add('chunks', 'chunked_blobs has a recipe of it, object_blocks no row', { oid: oid.toString('hex') });
  }
  for (const row of rows) {
    const oid = row.chunkedOid.toString('hex');
    try {
      const recipe = await content.chunked.recipe(row);
      if (recipe.packIds.some((id) => !chunkPacks.has(id)))
        for (const merged of await parts.catalog.chunks.packs(content.poolId, null)) chunkPacks.set(merged.id, merged);
      const wrong = recipeProblems(row, recipe, chunkPacks);
      for (const message of wrong) problems.add('chunks', message, { oid });
      if (deep && wrong.length === 0) await checkBlob(content, row, recipe, problems);
    } catch (error) {
      if (!TELLING.test(codeOf(error) ?? '')) throw error;
      problems.add('chunks', messageOf(error), { oid });
    }
  }
  return oids;
}

/** What a recipe or its chunks being absent or damaged is called. */
const TELLING = /^(recipe-missing|chunk-corrupt|pack-gone|store-.*)$/;

function rowsOf(content: PoolContent, pack: Pack): ChunkedRow[] {
  const width = oidLength(content.format);
  const rows: ChunkedRow[] = [];
  for (const block of content.index.blocksOf(pack)) {
    for (let i = 0; i < block.kinds.length; i++) {
      if (block.offsets[i]! >= 0) continue;
      const chunkedOid = block.oids.subarray(i * width, (i + 1) * width);
      rows.push({ pack, chunkedOid, kind: block.kinds[i]!, sizeBytes: block.sizes[i]!, lengthBytes: block.lengths[i]! });
    }
  }
  return rows;
}

/** What in a recipe does not fit its row, itself, or the chunk packs that it names. */
function recipeProblems(row: ChunkedRow, recipe: ChunkRecipe, chunkPacks: ReadonlyMap<number, ChunkPackRow>): string[] {
  const { packIds, offsets, lengths, sizes, adlers, sha256s } = recipe;
  const count = sizes.length;
  const counts = [packIds.length, offsets.length, lengths.length, adlers.length, sha256s.length / SHA256_BYTES];
  if (counts.some((other) => other !== count))
    return [`the columns of its recipe do not fit each other: ${[count, ...counts].join(', ')}`];
  const wrong: string[] = [];
  if (row.kind !== KIND_BLOB) wrong.push(`a chunked object is of kind ${row.kind}`);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (recipe.sizeBytes !== row.sizeBytes)
    wrong.push(`its recipe is of ${recipe.sizeBytes} bytes, object_blocks says ${row.sizeBytes}`);
  if (total !== recipe.sizeBytes) wrong.push(`its chunks have ${total} bytes, its recipe says ${recipe.sizeBytes}`);
  const entryBytes = wireEntryBytes(recipe);
  if (entryBytes !== row.lengthBytes) wrong.push(`its entry has ${entryBytes} bytes, object_blocks says ${row.lengthBytes}`);
  const adler = adlers.reduce((whole, one, i) => combineAdler32(whole, one, sizes[i]!), 1);
  if (adler !== recipe.adler) wrong.push(`the Adler-32 of its chunks is ${adler}, its recipe says ${recipe.adler}`);
  for (let i = 0; i < count; i++) {
    const pack = chunkPacks.get(packIds[i]!);
    if (pack === undefined) wrong.push(`chunk ${i} is in pack ${packIds[i]}, which is no live pack of chunks`);
    else if (offsets[i]! + lengths[i]! > pack.lengthBytes) wrong.push(`chunk ${i} lies behind the end of pack ${packIds[i]}`);
    if (wrong.length > 5) break;
  }
  return wrong;
}

/** Reads a blob through its chunks: each must have its SHA-256, and all of them the oid. */
async function checkBlob(content: PoolContent, row: ChunkedRow, recipe: ChunkRecipe, problems: ProblemList): Promise<void> {
  const oid = row.chunkedOid.toString('hex');
  const whole = createHash(content.format).update(`blob ${recipe.sizeBytes}\0`);
  let i = 0;
  for await (const plain of content.chunked.plain(recipe, allChunks(recipe))) {
    whole.update(plain);
    const said = recipe.sha256s.subarray(i * SHA256_BYTES, (i + 1) * SHA256_BYTES);
    if (!hash('sha256', plain, 'buffer').equals(said))
      problems.add('chunks', `chunk ${i} has another SHA-256 than its recipe says`, { oid });
    i++;
  }
  const is = whole.digest('hex');
  if (is !== oid) problems.add('chunks', `its chunks make an object ${is}`, { oid });
}

/**
 * The live chunk packs of a pool: there, and with `deep` sound packs with git's index beside them, in which every chunk that deduplication
 * would find is what it is said to be.
 */
export async function checkChunkPacks(
  parts: PackCheckParts,
  content: PoolContent,
  chunkPacks: Iterable<ChunkPackRow>,
  deep: boolean,
  report: (problem: Problem) => void,
): Promise<void> {
  for (const row of chunkPacks) {
    const problems = new ProblemList(report, { pool: content.poolId, pack: row.id });
    const pack = { ...row, tier: 'chunks' } as const;
    if ((await checkBytes(parts, content, pack, problems)) && deep) {
      const received = await verifyBytes(parts, content, pack, problems);
      if (received !== null) {
        const { objectCount } = received.pack;
        if (objectCount !== row.objectCount)
          problems.add('index', `packs.object_count is ${row.objectCount}, the pack holds ${objectCount}`);
        await compareIdx(parts.store, pack, received.pack, problems);
        await received.dispose();
        await checkKnownChunks(parts, content, row, problems);
      }
    }
    problems.end();
  }
}

/** The rows of `chunks` that name a pack, against its bytes. */
async function checkKnownChunks(
  parts: PackCheckParts,
  content: PoolContent,
  pack: ChunkPackRow,
  problems: ProblemList,
): Promise<void> {
  type Known = { readonly sha256: Buffer; readonly offset: number; readonly lengthBytes: number };
  const check = async (batch: readonly Known[]): Promise<void> => {
    const places = {
      packIds: new Float64Array(batch.length).fill(pack.id),
      offsets: Float64Array.from(batch, ({ offset }) => offset),
      lengths: Float64Array.from(batch, ({ lengthBytes }) => lengthBytes),
    };
    let i = 0;
    for await (const { plain } of content.chunked.stored(places, [...batch.keys()])) {
      const { sha256, offset } = batch[i++]!;
      if (plain !== null && hash('sha256', plain, 'buffer').equals(sha256)) continue;
      problems.add('chunks', `no chunk ${sha256.toString('hex')} stands where chunks says`, { offset });
    }
  };
  let batch: Known[] = [];
  for await (const known of parts.catalog.chunks.chunksOf(content.poolId, pack.id)) {
    if (known.offset + known.lengthBytes > pack.lengthBytes) {
      problems.add('chunks', `chunk ${known.sha256.toString('hex')} lies behind the end of the pack`, { offset: known.offset });
      continue;
    }
    batch.push(known);
    if (batch.length < BATCH_CHUNKS) continue;
    await check(batch);
    batch = [];
  }
  await check(batch);
}
