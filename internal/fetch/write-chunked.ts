import { PackhouseError } from '../base/mod.ts';
import { type ChunkRecipe, deltaBetween, wireEntryHead, wireEntryTail } from '../chunking/mod.ts';
import { encodeEntryHeader } from '../packformat/mod.ts';
import { allChunks, type ChunkedBlobName, type ChunkedBlobs } from '../packread/mod.ts';
import { type PlannedBlob, planVersions } from './plan-versions.ts';
import type { ReadOptions } from './range-pieces.ts';
import { deflatedPieces, versionDelta } from './version-delta.ts';

export interface ChunkedPart {
  /** Chunked blobs of the answer. */
  readonly blobs: readonly ChunkedBlobName[];
  /** Chunked blobs that the client has and takes deltas on. */
  readonly clients: readonly ChunkedBlobName[];
}

export interface ChunkedOptions extends ReadOptions {
  readonly ofsDelta: boolean;
  /** Told of each blob that is written as a delta. */
  readonly onExpanded: () => void;
}

/** Entries of chunked blobs: whole ones are their stored segments between head and tail, versions of others are deltas. */
export async function* chunkedEntries(
  chunked: ChunkedBlobs,
  { blobs, clients }: ChunkedPart,
  options: ChunkedOptions,
): AsyncGenerator<Buffer> {
  const starts = new Map<string, number>();
  let written = 0;
  let count = 0;
  for await (const planned of planVersions(chunked, blobs, clients)) {
    options.signal.throwIfAborted();
    starts.set(keyOf(planned.blob), written);
    const baseStart = planned.base === null || planned.isClientsBase ? undefined : starts.get(keyOf(planned.base));
    const distance = baseStart === undefined || !options.ofsDelta ? null : written - baseStart;
    for await (const piece of entryPieces(chunked, planned, distance, options)) {
      written += piece.length;
      yield piece;
    }
    count++;
  }
  if (count !== blobs.length) throw new PackhouseError('chunked-count', `${count} of ${blobs.length} chunked blobs were written`);
}

/** One entry; a base goes by its distance, or (null) by its oid. */
async function* entryPieces(
  chunked: ChunkedBlobs,
  { blob, base }: PlannedBlob,
  distance: number | null,
  options: ChunkedOptions,
): AsyncGenerator<Buffer> {
  const recipe = await chunked.recipe(blob);
  const from = base === null ? null : await chunked.recipe(base);
  const plan = from === null ? null : deltaBetween(from, recipe);
  if (from === null || plan === null) return yield* wholeEntry(chunked, recipe, options);
  options.onExpanded();
  const delta = await versionDelta(chunked, from, recipe, plan, options.signal);
  yield encodeEntryHeader(0, delta.deltaBytes, distance ?? base!.chunkedOid);
  yield* deflatedPieces(delta.pieces);
}

async function* wholeEntry(chunked: ChunkedBlobs, recipe: ChunkRecipe, options: ChunkedOptions): AsyncGenerator<Buffer> {
  yield wireEntryHead(recipe.sizeBytes);
  yield* chunked.segments(recipe, allChunks(recipe), options.signal, options.pieceBytes());
  yield wireEntryTail(recipe.adler);
}

function keyOf({ chunkedOid }: ChunkedBlobName): string {
  return chunkedOid.toString('hex');
}
