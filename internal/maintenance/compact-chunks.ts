import { hash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, messageOf, PackhouseError } from '../base/mod.ts';
import type { ChunkMove, ChunkPackSize, UsedChunk } from '../catalog/mod.ts';
import { adler32 } from '../chunking/mod.ts';
import { type ChunkPack, ChunkPackFile, makeSpoolFolder, receivePack, STORED_PACK_LIMITS } from '../ingest/mod.ts';
import { DEFAULT_SEVERITIES, type ObjectFormat } from '../object/mod.ts';
import { encodeIdx } from '../packformat/mod.ts';
import { writeChunkPack, writeManifest } from '../packing/mod.ts';
import { ChunkedBlobs } from '../packread/mod.ts';
import { crateKey, sidecarKey } from '../packstore/mod.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { planMerge } from './plan-merge.ts';
import type { RewriteSettings } from './settings.ts';

/** Chunk packs of one pool that one new one is to take the place of. */
export interface ChunkMerge {
  readonly poolId: number;
  readonly packIds: readonly number[];
  readonly bytes: number;
}

export interface ChunkCompactReport {
  /** Chunk packs that were written again, and what they became. */
  readonly merged: number;
  readonly mergedInto: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Pools where others were faster or objects were condemned, and pools of which something was not sound, which the log names. */
  readonly left: number;
  readonly failed: number;
}

const SPARE_PIECE_BYTES = 1 << 20;

/**
 * Which chunk packs to write again: small ones, geometrically as packs of objects are; with `full` all that fit into one, and those of which
 * more than `deadPercent` is of no use any more (to know that, all recipes of the pool are read).
 */
export async function planChunkMerges(settings: RewriteSettings, poolId: number | null, full: boolean): Promise<ChunkMerge[]> {
  const { catalog, compaction } = settings;
  const pools = new Map<number, ChunkPackSize[]>();
  for (const pack of await catalog.chunkMoves.sizes(poolId)) {
    if (!pack.leased && (full || !settings.rest.has('chunks', pack.poolId)))
      pools.set(pack.poolId, [...(pools.get(pack.poolId) ?? []), pack]);
  }
  const rules = { ...compaction, ratio: full ? Number.MAX_SAFE_INTEGER : compaction.ratio };
  const merges: ChunkMerge[] = [];
  for (const [pool, packs] of pools) {
    const chosen = new Map(planMerge(packs, 0, rules).map((pack) => [pack.id, pack]));
    if (full) {
      const used = await catalog.chunkMoves.usedBytes(pool);
      for (const pack of packs) {
        const dead = pack.lengthBytes - (used.get(pack.id) ?? 0);
        if (dead * 100 > pack.lengthBytes * compaction.deadPercent) chosen.set(pack.id, pack);
      }
    }
    const packIds = [...chosen.keys()].sort((a, b) => a - b);
    const bytes = [...chosen.values()].reduce((sum, pack) => sum + pack.lengthBytes, 0);
    if (packIds.length > 0) merges.push({ poolId: pool, packIds, bytes });
  }
  return merges;
}

/**
 * Writes chunk packs again, without what no recipe names. A plan may be carried out twice, by two at once, or again after it was stopped
 * anywhere. Pushes go on meanwhile: one that used a chunk while it moved looks for it again, and one that brought a chunk
 * into use which nothing had used stops the merge.
 */
export async function compactChunks(
  settings: RewriteSettings,
  merges: readonly ChunkMerge[],
  signal: AbortSignal,
): Promise<ChunkCompactReport> {
  const report = { merged: 0, mergedInto: 0, bytesRead: 0, bytesWritten: 0, left: 0, failed: 0 };
  for (const merge of merges) {
    signal.throwIfAborted();
    try {
      const written = await mergeChunkPacks(settings, merge, signal);
      settings.rest.worked('chunks', merge.poolId);
      if (written === null) report.left++;
      else {
        report.merged += merge.packIds.length;
        report.mergedInto++;
        report.bytesRead += merge.bytes;
        report.bytesWritten += written;
      }
    } catch (error) {
      signal.throwIfAborted();
      const code = codeOf(error);
      if (code === 'lease-lost' || code === 'epoch-moved' || code === 'chunks-moved') report.left++;
      else {
        report.failed++;
        settings.rest.failed('chunks', merge.poolId);
        settings.log.error({ pool: merge.poolId, code, error: messageOf(error) }, 'chunk packs were not written again');
      }
    }
  }
  return report;
}

/** The bytes of the new pack; null when the packs are somebody else's or hold nothing that is used: those the sweep takes. */
async function mergeChunkPacks(settings: RewriteSettings, merge: ChunkMerge, signal: AbortSignal): Promise<number | null> {
  const { catalog, leaseMs } = settings;
  const { poolId, packIds } = merge;
  const pool = await catalog.maintenance.poolState(poolId);
  const token = randomUUID();
  if (pool === null || !(await catalog.maintenance.lease(poolId, packIds, token, leaseMs))) return null;
  const keeper = new LeaseKeeper(settings, { poolId, token, packs: packIds.length }, signal);
  const folder = await makeSpoolFolder(settings.repack.spoolFolder);
  try {
    const used = await catalog.chunkMoves.used(poolId, packIds);
    if (used.length === 0) return null;
    const { chunkPack, chunks } = await writeUsed(settings, poolId, pool.format, used, join(folder, 'chunks'), keeper.signal);
    await verify(chunkPack, pool.format);
    await settings.at?.('prepared', poolId);
    const move = { poolId, epoch: pool.epoch, token, inputs: packIds, chunks };
    await publish(settings, pool.format, chunkPack, move, keeper.signal);
    return chunkPack.lengthBytes;
  } finally {
    keeper.stop();
    await rm(folder, { recursive: true, force: true });
    await catalog.maintenance.release(poolId, token).catch(() => {});
  }
}

/** Copies the segments of used chunks into a new pack, each plain text once, compared with its SHA-256 on the way. */
async function writeUsed(
  settings: RewriteSettings,
  poolId: number,
  format: ObjectFormat,
  used: readonly UsedChunk[],
  path: string,
  signal: AbortSignal,
): Promise<{ chunkPack: ChunkPack; chunks: ChunkMove['chunks'] }> {
  const file = new ChunkPackFile(path, format);
  try {
    const places = new Map<string, { offset: number; lengthBytes: number }>();
    const source = {
      packIds: Float64Array.from(used, ({ packId }) => packId),
      offsets: Float64Array.from(used, ({ offset }) => offset),
      lengths: Float64Array.from(used, ({ lengthBytes }) => lengthBytes),
    };
    const chunks: ChunkMove['chunks'][number][] = [];
    for await (const { segment, plain } of new ChunkedBlobs(settings.bytes, poolId).stored(source, [...used.keys()], signal)) {
      await settings.throttle.take(segment.length, signal);
      const chunk = used[chunks.length]!;
      if (plain === null || !hash('sha256', plain, 'buffer').equals(chunk.sha256)) {
        const message = `chunk ${chunk.sha256.toString('hex')} in pack ${chunk.packId} at offset ${chunk.offset} is damaged`;
        throw new PackhouseError('chunk-corrupt', message, { pack: chunk.packId, offset: chunk.offset });
      }
      const key = chunk.sha256.toString('hex');
      const to = places.get(key) ?? { offset: file.add(plain, segment, adler32(plain)), lengthBytes: segment.length };
      places.set(key, to);
      chunks.push({ ...chunk, to });
    }
    return { chunkPack: file.end()!, chunks };
  } finally {
    file.close();
  }
}

/** Reads the new pack back as if it were pushed now. @throws PackhouseError `repack-unsound` */
async function verify(chunkPack: ChunkPack, format: ObjectFormat): Promise<void> {
  const received = await receivePack(readBack(chunkPack)[Symbol.asyncIterator](), Buffer.alloc(0), {
    format,
    limits: STORED_PACK_LIMITS,
    severities: DEFAULT_SEVERITIES,
    memoryBytesMax: SPARE_PIECE_BYTES,
    thinBytesMax: 0,
    readBase: async () => null,
  });
  try {
    const { objectCount: count, oids, offsets, crcs, checksum, lengthBytes } = received.pack;
    const idx = encodeIdx({ count, oids, offsets, crcs, checksum }, format);
    if (lengthBytes === chunkPack.lengthBytes && checksum.equals(chunkPack.checksum) && idx.equals(chunkPack.idx)) return;
    throw new PackhouseError('repack-unsound', 'a pack of chunks read back is not what was written');
  } finally {
    await received.dispose();
  }
}

function readBack({ place }: ChunkPack, from = 0, to = Number.POSITIVE_INFINITY): AsyncIterable<Buffer> {
  if (place.kind === 'memory') throw new Error('a pack of chunks is written into a file');
  return createReadStream(place.path, { start: from, end: to - 1, highWaterMark: SPARE_PIECE_BYTES });
}

/** Uploads the new pack under its intent and moves the chunks; takes it back when that cannot be. */
async function publish(
  settings: RewriteSettings,
  format: ObjectFormat,
  chunkPack: ChunkPack,
  move: Omit<ChunkMove, 'output'>,
  signal: AbortSignal,
): Promise<void> {
  const { catalog, store, leaseMs } = settings;
  const { poolId, token, inputs } = move;
  const output = await catalog.reservePackId();
  const key = crateKey(randomUUID());
  await catalog.maintenance.beginCrate({ key, tier: 'chunks', origin: 'chunks' }, [{ poolId, packId: output, token }], leaseMs);
  try {
    await writeChunkPack(store, key, { ...chunkPack, format, read: (from, to) => readBack(chunkPack, from, to) }, signal);
    const { lengthBytes, objectCount, checksum } = chunkPack;
    const extent = { extentOffset: 0, lengthBytes, objectCount, chunkedCount: 0, checksum };
    const facts = { allReached: false, based: false, hasDuplicates: false, tips: Buffer.alloc(0) };
    const about = { poolId, packId: output, format, tier: 'chunks', origin: 'chunks', inputs, pushes: [] } as const;
    await writeManifest(store, key, [{ ...about, ...extent, ...facts }], [], signal);
    await catalog.chunks.setUploaded(poolId, output, token, chunkPack);
    await settings.at?.('uploaded', poolId);
    await catalog.chunkMoves.move({ ...move, output });
  } catch (error) {
    // What cannot be taken back now is left to the intent, which runs out.
    await catalog.maintenance
      .abortOutputs(key, [{ poolId, token }], async () => {
        await store.delete(key);
        for (const sidecar of ['idx', 'manifest'] as const) await store.delete(sidecarKey(key, sidecar));
      })
      .catch(() => {});
    throw error;
  }
}
