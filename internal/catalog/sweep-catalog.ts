import type { Pool, PoolClient } from 'pg';
import { lockLeased, swapPacks } from '../../db/queries/maintenance.ts';
import * as queries from '../../db/queries/sweep.ts';
import { codeOf, failpoint, PackhouseError } from '../base/mod.ts';
import type { ObjectFormat } from '../object/mod.ts';
import { type Swap, writeOutput } from './maintenance-catalog.ts';
import { inTransaction } from './transaction.ts';

/** What a sweep begins with: one snapshot of a pool. */
export interface SweepRoots {
  readonly poolId: number;
  readonly format: ObjectFormat;
  readonly epoch: number;
  readonly snapshot: string;
  /** What was let go before it may leave; a timestamp of PostgreSQL. */
  readonly cutoff: string;
  /** When they were read; a timestamp of PostgreSQL. */
  readonly readAt: string;
  /** How many repositories there are, the deleted ones that can be brought back too. */
  readonly repositories: number;
  /** Repositories that were deleted too long ago for that. */
  readonly expired: number;
  /** Raw oids, one after the other. */
  readonly oids: Buffer;
}

/** What the pool is when it comes to condemning, after the pushes that were published since. */
export interface SweepNews {
  /** Raw oids: all refs, and what the log got since the roots were read. */
  readonly oids: Buffer;
  readonly packs: readonly number[];
}

export interface SweepPack {
  readonly id: number;
  readonly tier: 'tail' | 'store' | 'chunks';
  readonly lengthBytes: number;
  /** As a push brought it within the retention. */
  readonly young: boolean;
  readonly leased: boolean;
}

/** Inputs of the swap go, outputs hold what stays of them. */
export type Condemned = Omit<Swap, 'reason'> & { readonly bytes: number };

export interface CondemnResult {
  readonly chunkPacks: readonly number[];
  readonly repositories: number;
}

/** The sweep's part of the catalog: what must be kept, and the one transaction that condemns the rest. */
export class SweepCatalog {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** Null when there is no such pool. */
  async roots(poolId: number, retentionMs: number): Promise<SweepRoots | null> {
    const row = await queries.sweepRoots(this.#pool, poolId, retentionMs / 1000);
    if (row === null) return null;
    const { snapshot, cutoff, read_at: readAt, repositories, expired } = row;
    const oids = row.oids ?? Buffer.alloc(0);
    return { poolId, format: row.object_format, epoch: row.sweep_epoch, snapshot, cutoff, readAt, repositories, expired, oids };
  }

  /** The live packs of a pool, chunk packs too. */
  async packs(roots: SweepRoots): Promise<SweepPack[]> {
    const rows = await queries.sweepPacks(this.#pool, roots.poolId, roots.cutoff);
    return rows.map(({ id, tier, extent_length, young, leased }) => ({ id, tier, lengthBytes: extent_length, young, leased }));
  }

  /** For each chunked blob of a live pack the chunk packs that it uses. */
  async recipeUses(poolId: number): Promise<{ packId: number; oid: Buffer; chunkPacks: number[] }[]> {
    const rows = await queries.recipeUses(this.#pool, poolId);
    return rows.map((row) => ({ packId: row.pack_id, oid: row.oid, chunkPacks: Array.from(row.chunk_packs) }));
  }

  /** What has come since the roots were read. @throws PackhouseError `epoch-moved` */
  async news(roots: SweepRoots): Promise<SweepNews> {
    return newsOf(this.#pool, roots);
  }

  /**
   * Condemns: nothing else of the pool is published meanwhile. `accepts` is shown what has come since the roots were read; when it says no, nothing
   * happens and the answer is null. Else inputs make room for outputs, chunk packs that nothing uses any more and repositories deleted before
   * the cutoff go, and the pool's epoch moves: what a push has proven before, it proves again.
   * @throws PackhouseError `epoch-moved`, `lease-lost`: nothing has changed
   */
  async condemn(roots: SweepRoots, condemned: Condemned, accepts: (news: SweepNews) => boolean): Promise<CondemnResult | null> {
    const work = async (client: PoolClient): Promise<CondemnResult | null> => {
      await queries.lockPool(client, roots.poolId);
      const result = accepts(await newsOf(client, roots)) ? await write(client, roots, condemned) : null;
      await failpoint('sweep.mid-condemn');
      return result;
    };
    try {
      return await inTransaction(this.#pool, work, (result) => result !== null);
    } catch (error) {
      if (codeOf(error) === 'PH004') throw epochMoved(roots.poolId);
      if (codeOf(error) === 'PH002') throw new PackhouseError('lease-lost', `packs of pool ${roots.poolId} lost their lease`);
      throw error;
    }
  }

  /** Notes that a sweep has found nothing among what there was when it read its roots: packs may have been swapped since. */
  async noteClean({ poolId, readAt }: SweepRoots): Promise<void> {
    await queries.noteSweep(this.#pool, poolId, null, 0, 0, readAt);
  }

  /** Notes that a sweep was stopped. */
  async noteStopped(poolId: number): Promise<void> {
    await queries.noteSweep(this.#pool, poolId, null, -1, 0);
  }

  /** Pools that are due, the one whose last sweep is longest ago first. */
  async due(intervalMs: number, retentionMs: number): Promise<number[]> {
    return queries.poolsToSweep(this.#pool, intervalMs / 1000, retentionMs / 1000);
  }
}

async function newsOf(db: Pool | PoolClient, roots: SweepRoots): Promise<SweepNews> {
  const row = await queries.sweepNews(db, roots.poolId, roots.snapshot, roots.cutoff);
  if (row?.sweep_epoch !== roots.epoch) throw epochMoved(roots.poolId);
  return { oids: row.oids ?? Buffer.alloc(0), packs: Array.from(row.packs ?? []) };
}

async function write(client: PoolClient, roots: SweepRoots, condemned: Condemned): Promise<CondemnResult> {
  const { poolId, epoch } = roots;
  const swap = { ...condemned, reason: 'sweep' };
  await lockLeased(client, poolId, swap.token);
  for (const output of swap.outputs) await writeOutput(client, swap, output);
  const outputs = swap.outputs.map((output) => output.packId);
  if (swap.inputs.length > 0) await swapPacks(client, poolId, epoch, swap.token, swap.inputs, outputs, swap.reason);
  const chunkPacks = await queries.condemnChunkPacks(client, poolId);
  const repositories = await queries.forgetRepositories(client, poolId, roots.cutoff);
  const gone = swap.inputs.length + chunkPacks.length;
  // Repositories that are forgotten count: their values in the log are no roots from here on.
  const any = gone + repositories > 0;
  if (any) await queries.moveEpoch(client, poolId);
  await queries.noteSweep(client, poolId, any ? roots.cutoff : null, gone, condemned.bytes);
  return { chunkPacks, repositories };
}

function epochMoved(poolId: number): PackhouseError {
  return new PackhouseError('epoch-moved', `objects of pool ${poolId} were condemned meanwhile`);
}
