import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { codeOf, messageOf, PackhouseError } from '../base/mod.ts';
import type { Pack, PackSummary } from '../catalog/mod.ts';
import type { ObjectFormat } from '../object/mod.ts';
import { makeReach, type RepackedPack, repack } from '../repack/mod.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { OutsideObjects, packPieces } from './pack-source.ts';
import type { PreparedPack, PreparedSwap } from './prepared.ts';
import type { RewriteSettings } from './settings.ts';

const PIECE_BYTES = 1 << 20;

/**
 * Leases packs of a pool and makes one verified pack of them, in a local file. Null when somebody else has one of them by now, or they are
 * not live any more. Whoever gets the swap disposes of it.
 */
export async function mergePacks(
  settings: RewriteSettings,
  poolId: number,
  inputs: readonly PackSummary[],
  signal: AbortSignal,
): Promise<PreparedSwap | null> {
  const { maintenance } = settings.catalog;
  const state = await maintenance.poolState(poolId);
  if (state === null) return null;
  const ids = inputs.map((pack) => pack.id);
  const token = randomUUID();
  if (!(await maintenance.lease(poolId, ids, token, settings.leaseMs))) return null;
  const keeper = new LeaseKeeper(settings, { poolId, token, packs: ids.length }, signal);
  try {
    await settings.at?.('leased', poolId);
    const { pack, dispose } = await mergeLeased(settings, { poolId, ids, format: state.format }, keeper.signal);
    return { poolId, format: state.format, epoch: state.epoch, token, inputs: ids, packs: [pack], keeper, dispose };
  } catch (error) {
    keeper.stop();
    await maintenance.release(poolId, token).catch(() => {});
    throw error;
  }
}

async function mergeLeased(
  settings: RewriteSettings,
  { poolId, ids, format }: { poolId: number; ids: readonly number[]; format: ObjectFormat },
  signal: AbortSignal,
): Promise<{ pack: PreparedPack; dispose: () => Promise<void> }> {
  const { catalog } = settings;
  const packs = await catalog.packs(poolId, ids);
  const blocks = await catalog.blocks(poolId, packs);
  const outside = new OutsideObjects(settings, poolId, format, new Set(ids));
  const made = await repack({
    format,
    packs: packs.map((pack) => ({ pack, blocks: blocks.get(pack.id) ?? [] })),
    readPack: (pack) => packPieces(settings, poolId, pack, signal),
    readObject: (oid) => outside.read(oid, signal),
    settings: settings.repack,
    signal,
  });
  try {
    assertNothingLost(packs, made, poolId);
    await settings.at?.('prepared', poolId);
    const packId = await youngestId(settings, ids);
    const hasDuplicates = packs.some((pack) => pack.hasDuplicates) && (await sharesObjects(outside, made));
    const { objectCount, facts, blocks: rows, graph, chunkedOids, idx } = made;
    const pack: PreparedPack = {
      packId,
      lengthBytes: made.lengthBytes,
      checksum: made.checksum,
      read: (reading) => createReadStream(made.path, { highWaterMark: PIECE_BYTES, signal: reading }),
      idx: () => idx,
      ...(await reachOf(settings, poolId, made, format, signal)),
      output: { objectCount, ...facts, hasDuplicates, tables: { kind: 'made', blocks: rows, graph }, chunkedOids },
    };
    return { pack, dispose: () => made.dispose() };
  } catch (error) {
    await made.dispose();
    throw error;
  }
}

/** Bitmaps of a pack that is worth them. Without them it is only slower to read, so nothing that goes wrong here holds a merge up. */
async function reachOf(
  { log, bitmapObjectsMin }: RewriteSettings,
  poolId: number,
  made: RepackedPack,
  format: ObjectFormat,
  signal: AbortSignal,
): Promise<Pick<PreparedPack, 'reach'>> {
  if (made.objectCount < bitmapObjectsMin) return {};
  try {
    return { reach: await makeReach(made, format, signal) };
  } catch (error) {
    signal.throwIfAborted();
    log.error({ pool: poolId, code: codeOf(error), error: messageOf(error) }, 'a pack got no bitmaps');
    return {};
  }
}

/** A merge drops copies only: whatever an input holds is in the output. The repacking has compared oids; this is the last look at the sums. */
function assertNothingLost(packs: readonly Pack[], made: RepackedPack, poolId: number): void {
  const largest = packs.reduce((max, pack) => Math.max(max, pack.objectCount), 0);
  const all = packs.reduce((sum, pack) => sum + pack.objectCount, 0);
  const rows = made.blocks.reduce((sum, block) => sum + block.kinds.length, 0);
  if (made.objectCount >= largest && made.objectCount <= all && rows === made.objectCount) return;
  const message = `packs of ${all} objects (the largest of ${largest}) became one of ${made.objectCount}, with ${rows} rows`;
  throw new PackhouseError('repack-unsound', message, { pool: poolId });
}

/** An id above those of the packs that it takes the place of: processes reserve ids in advance. */
async function youngestId({ catalog }: RewriteSettings, ids: readonly number[]): Promise<number> {
  const youngest = ids.reduce((max, each) => Math.max(max, each), 0);
  let id = await catalog.reservePackId();
  while (id < youngest) id = await catalog.reservePackId();
  return id;
}

async function sharesObjects(outside: OutsideObjects, made: RepackedPack): Promise<boolean> {
  return outside.holdAny(Buffer.concat(made.blocks.map((block) => block.oids)));
}
