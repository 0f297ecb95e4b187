import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { NewPack } from '../catalog/mod.ts';
import type { PackPlace, ReceivedPack } from '../ingest/mod.ts';
import { type PieceReader, tableBlocks, writeStorePack } from '../packing/mod.ts';
import { crateKey, sidecarKey } from '../packstore/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';
import type { PushSettings } from './settings.ts';

const PIECE_BYTES = 1 << 20;

/** What is known of a received pack by the time it is placed. */
export interface PackFacts {
  readonly allReached: boolean;
  readonly based: boolean;
  readonly hasDuplicates: boolean;
  readonly tips: Buffer;
}

/** A pack that is ready to be published; `undo` takes it back if it is not. */
export interface PlacedPack {
  readonly pack: NewPack;
  undo(): Promise<void>;
}

/** Gives a received pack its place: a small one stays at hand for the push's transaction, a large one is uploaded under an intent row. */
export async function placePack(
  received: ReceivedPack,
  facts: PackFacts,
  view: RepositoryView,
  settings: PushSettings,
  signal: AbortSignal,
): Promise<PlacedPack> {
  const id = await reserveYoungest(settings, view);
  const { pack, place } = received;
  const { format, graph } = pack;
  const staysThin = pack.bases.length > 0 && received.bases.length === 0;
  if (place.kind === 'memory' && (staysThin || pack.lengthBytes <= settings.tailBytesMax)) {
    return {
      pack: {
        id,
        ...facts,
        graph,
        place: { kind: 'tail', bytes: place.bytes },
        lengthBytes: pack.lengthBytes,
        objectCount: pack.objectCount,
        chunkedCount: 0,
        chunkPackId: null,
        checksum: pack.checksum,
        blocks: tableBlocks(pack, format),
      },
      undo: async () => {},
    };
  }
  const key = crateKey(randomUUID());
  const lease = randomUUID();
  await settings.catalog.beginStorePack(view.pool.poolId, id, key, lease);
  const undo = (): Promise<void> =>
    settings.catalog.abortStorePack(view.pool.poolId, id, async () => {
      await settings.store.delete(key);
      await settings.store.delete(sidecarKey(key, 'idx'));
    });
  try {
    const stored = await writeStorePack(
      settings.store,
      key,
      {
        format,
        table: pack,
        lengthBytes: pack.lengthBytes,
        checksum: pack.checksum,
        read: pieces(place),
        extras: received.bases,
        readExtras: pieces(received.basesPlace),
      },
      signal,
    );
    return {
      pack: {
        id,
        ...facts,
        graph,
        place: { kind: 'store', lease, crateKey: key },
        lengthBytes: stored.lengthBytes,
        objectCount: stored.table.objectCount,
        chunkedCount: 0,
        chunkPackId: null,
        checksum: stored.checksum,
        blocks: tableBlocks(stored.table, format),
      },
      undo,
    };
  } catch (error) {
    // What cannot be taken back now is left to its intent row; the first error is the one to tell.
    await undo().catch(() => {});
    throw error;
  }
}

/**
 * An id above those of all packs that this pack may have found its bases in. Processes reserve ids in advance, and readers take the copy
 * in the oldest pack: with ids out of order a chain of thin deltas could lead back to itself.
 */
async function reserveYoungest(settings: PushSettings, view: RepositoryView): Promise<number> {
  let youngest = 0;
  for (const known of view.pool.index.packs.keys()) youngest = Math.max(youngest, known);
  let id = await settings.catalog.reservePackId();
  while (id < youngest) id = await settings.catalog.reservePackId();
  return id;
}

function pieces(place: PackPlace): PieceReader {
  return async function* read(from, to) {
    if (to <= from) return;
    if (place.kind === 'memory') {
      for (let at = from; at < to; at += PIECE_BYTES) yield place.bytes.subarray(at, Math.min(at + PIECE_BYTES, to));
    } else {
      yield* createReadStream(place.path, { start: from, end: to - 1, highWaterMark: PIECE_BYTES });
    }
  };
}
