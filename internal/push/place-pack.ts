import { randomUUID } from 'node:crypto';
import { open } from 'node:fs/promises';
import { failpoint, PackhouseError } from '../base/mod.ts';
import type { NewPack, PackRecord } from '../catalog/mod.ts';
import type { ChunkPack, PackPlace, ReceivedPack } from '../ingest/mod.ts';
import {
  type ManifestUpdate,
  type PieceReader,
  tableBlocks,
  writeChunkPack,
  writeManifest,
  writeStorePack,
} from '../packing/mod.ts';
import { crateKey, sidecarKey } from '../packstore/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';
import { pushedChunks, pushedPack, pushedRecipes } from './push-manifest.ts';
import type { PushSettings } from './settings.ts';

const PIECE_BYTES = 1 << 20;

/** What is known of a received pack by the time it is placed. */
export type PackFacts = Pick<PackRecord, 'allReached' | 'based' | 'hasDuplicates' | 'tips'>;

/** A pack that is ready to be published; `undo` takes it back if it is not. */
export interface PlacedPack {
  readonly pack: NewPack;
  undo(): Promise<void>;
}

/**
 * Gives a received pack its place: a small one stays at hand for the push's transaction, a large one is uploaded under an intent row. With
 * chunked blobs it always goes to the store, after a pack of their new chunks under an intent row of its own.
 */
export async function placePack(
  received: ReceivedPack,
  facts: PackFacts,
  proposed: readonly ManifestUpdate[],
  view: RepositoryView,
  settings: PushSettings,
  signal: AbortSignal,
): Promise<PlacedPack> {
  const { pack, place, chunked } = received;
  const staysThin = pack.bases.length > 0 && received.bases.length === 0;
  if (place.kind === 'memory' && chunked.length === 0 && (staysThin || pack.lengthBytes <= settings.tailBytesMax)) {
    return {
      pack: {
        id: await reserveYoungest(settings, view),
        ...facts,
        graph: pack.graph,
        place: { kind: 'tail', bytes: place.bytes },
        lengthBytes: pack.lengthBytes,
        objectCount: pack.objectCount,
        chunkedCount: 0,
        chunkPackId: null,
        checksum: pack.checksum,
        blocks: tableBlocks(pack, pack.format),
      },
      undo: async () => {},
    };
  }
  const uploads = new Uploads(settings, view.pool.poolId);
  try {
    const chunkPackId = received.chunkPack === null ? null : await placeChunks(received.chunkPack, uploads, view, signal);
    return await placeStored(received, chunkPackId, facts, proposed, uploads, view, signal);
  } catch (error) {
    // What cannot be taken back now is left to its intent row; the first error is the one to tell.
    await uploads.undo().catch(() => {});
    throw error;
  }
}

/** The uploads of one push: one lease for all of them, and all are taken back together. */
class Uploads {
  readonly settings: PushSettings;
  readonly #poolId: number;
  readonly lease = randomUUID();
  readonly #begun: { readonly id: number; readonly key: string }[] = [];

  constructor(settings: PushSettings, poolId: number) {
    this.settings = settings;
    this.#poolId = poolId;
  }

  /** Writes the intent row; the key to upload to, and when that was. */
  async begin(id: number): Promise<{ readonly key: string; readonly at: Date }> {
    const key = crateKey(randomUUID());
    const at = await this.settings.catalog.beginStorePack(this.#poolId, id, key, this.lease);
    this.#begun.push({ id, key });
    await failpoint('push.intent-written');
    return { key, at };
  }

  /** The same for a pack of chunks. */
  async beginChunks(id: number): Promise<string> {
    const key = crateKey(randomUUID());
    await this.settings.catalog.chunks.beginPack(this.#poolId, id, key, this.lease);
    this.#begun.push({ id, key });
    await failpoint('push.intent-written');
    return key;
  }

  async undo(): Promise<void> {
    const { catalog, store } = this.settings;
    for (const { id, key } of this.#begun) {
      await catalog.abortStorePack(this.#poolId, id, async () => {
        await store.delete(key);
        await store.delete(sidecarKey(key, 'idx'));
        await store.delete(sidecarKey(key, 'manifest'));
      });
    }
  }
}

async function placeChunks(chunkPack: ChunkPack, uploads: Uploads, view: RepositoryView, signal: AbortSignal): Promise<number> {
  const { catalog, store } = uploads.settings;
  const id = await catalog.reservePackId();
  const key = await uploads.beginChunks(id);
  await writeChunkPack(store, key, { ...chunkPack, format: view.format, read: pieces(chunkPack.place) }, signal);
  await failpoint('push.chunks-put');
  await writeManifest(store, key, [pushedChunks(id, chunkPack, view)], [], signal);
  await catalog.chunks.setUploaded(view.pool.poolId, id, uploads.lease, chunkPack);
  return id;
}

async function placeStored(
  received: ReceivedPack,
  chunkPackId: number | null,
  facts: PackFacts,
  proposed: readonly ManifestUpdate[],
  uploads: Uploads,
  view: RepositoryView,
  signal: AbortSignal,
): Promise<PlacedPack> {
  const { pack, place, chunked } = received;
  const id = await reserveYoungest(uploads.settings, view);
  const { key, at } = await uploads.begin(id);
  const stored = await writeStorePack(
    uploads.settings.store,
    key,
    {
      format: pack.format,
      table: pack,
      lengthBytes: pack.lengthBytes,
      checksum: pack.checksum,
      read: pieces(place),
      extras: received.bases,
      readExtras: pieces(received.basesPlace),
    },
    signal,
  );
  await failpoint('push.crate-put');
  const { store } = uploads.settings;
  const recipes = pushedRecipes(view.pool.poolId, id, chunked, chunkPackId);
  await writeManifest(store, key, [pushedPack(id, at, stored, chunked.length, facts, proposed, view)], recipes, signal);
  return {
    pack: {
      id,
      ...facts,
      graph: pack.graph,
      place: { kind: 'store', lease: uploads.lease, crateKey: key },
      lengthBytes: stored.lengthBytes,
      objectCount: stored.table.objectCount,
      chunkedCount: chunked.length,
      chunkPackId,
      chunked,
      checksum: stored.checksum,
      blocks: tableBlocks(stored.table, pack.format),
    },
    undo: () => uploads.undo(),
  };
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

/** Pieces of a received pack, each until the next one is asked for: of a file they share one buffer. */
function pieces(place: PackPlace): PieceReader {
  return async function* read(from, to) {
    if (to <= from) return;
    if (place.kind === 'memory') {
      for (let at = from; at < to; at += PIECE_BYTES) yield place.bytes.subarray(at, Math.min(at + PIECE_BYTES, to));
      return;
    }
    const file = await open(place.path);
    try {
      const buffer = Buffer.allocUnsafeSlow(Math.min(PIECE_BYTES, to - from));
      for (let at = from; at < to; ) {
        const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, to - at), at);
        if (bytesRead === 0) throw new PackhouseError('spool-corrupt', 'the spooled pack is shorter than it was', { offset: at });
        yield buffer.subarray(0, bytesRead);
        at += bytesRead;
      }
    } finally {
      await file.close();
    }
  };
}
