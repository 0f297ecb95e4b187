import type { Pool, PoolClient } from 'pg';
import * as queries from '../../db/queries/maintenance.ts';
import { codeOf, failpoint, PackhouseError } from '../base/mod.ts';
import { type ObjectFormat, oidLength } from '../object/mod.ts';
import { copyRecipes } from './chunk-catalog.ts';
import { copyPackTables } from './copy.ts';
import { JobCatalog } from './job-catalog.ts';
import { inTransaction } from './transaction.ts';
import type { ObjectBlock, PackRecord } from './types.ts';

/** A pool's packs in PostgreSQL that wait to be sealed. */
export interface Tail {
  readonly poolId: number;
  readonly packs: number;
  readonly bytes: number;
  /** Of the oldest. */
  readonly ageMs: number;
}

/** What plans know of a pack. */
export interface PackSummary {
  readonly poolId: number;
  readonly id: number;
  readonly tier: 'tail' | 'store' | 'chunks';
  readonly state: string;
  readonly crateKey: string | null;
  readonly extentOffset: number;
  readonly lengthBytes: number;
  readonly objectCount: number;
  /** Somebody works on it. */
  readonly leased: boolean;
}

/** A bucket object with packs, and how much of it is used. */
export interface CrateSummary {
  readonly key: string;
  readonly livePacks: number;
  readonly liveBytes: number;
  /** Up to the end of the last pack that the catalog knows in it. */
  readonly bytes: number;
}

/** A push that brought a pack, and what it changed. */
export interface PackPush {
  readonly packId: number;
  readonly pushId: number;
  readonly repositoryId: number;
  readonly owner: string;
  readonly name: string;
  readonly private: boolean;
  readonly pushedAt: Date;
  /** Names as binary strings. */
  readonly updates: { readonly name: string; readonly oldOid: Buffer | null; readonly newOid: Buffer | null }[];
}

/** A pack that a swap brings, uploaded and verified. */
export interface SwapOutput extends PackRecord {
  readonly packId: number;
  readonly extentOffset: number;
  /** Its index: given, or that of a pack which holds the same bytes. */
  readonly tables:
    | { readonly kind: 'made'; readonly blocks: readonly ObjectBlock[]; readonly graph: readonly Buffer[] }
    | { readonly kind: 'copied'; readonly packId: number };
  /** Raw oids of its chunked blobs, whose recipes come from the inputs. */
  readonly chunkedOids: Buffer;
}

export interface Swap {
  readonly poolId: number;
  readonly format: ObjectFormat;
  /** The pool's sweep epoch when the work began. */
  readonly epoch: number;
  readonly token: string;
  readonly inputs: readonly number[];
  readonly outputs: readonly SwapOutput[];
  readonly reason: string;
}

/**
 * Leases, intents and swaps of packs that maintenance replaces. Inputs and outputs of one swap carry one token; it is fenced: whatever is done
 * with it names it, so that a holder whose lease ran out, and whose packs others have taken, changes nothing. Leases last by PostgreSQL's clock.
 */
export class MaintenanceCatalog {
  readonly jobs: JobCatalog;
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
    this.jobs = new JobCatalog(pool);
  }

  /** Leases packs that are live and nobody's: all of them, or none and false. */
  async lease(poolId: number, packIds: readonly number[], token: string, leaseMs: number): Promise<boolean> {
    return inTransaction(this.#pool, async (client) => {
      if ((await queries.lockFreePacks(client, poolId, packIds)) !== new Set(packIds).size) return false;
      await queries.leasePacks(client, poolId, packIds, token, leaseMs);
      return true;
    });
  }

  /** Lengthens the lease of a token's inputs and outputs; how many packs it still holds. */
  renew(poolId: number, token: string, leaseMs: number): Promise<number> {
    return queries.renewLease(this.#pool, poolId, token, leaseMs);
  }

  /** Lets the inputs go that are still a token's. */
  release(poolId: number, token: string): Promise<void> {
    return queries.releaseLease(this.#pool, poolId, token);
  }

  /** The object format and the sweep epoch of a pool; null when there is none. */
  async poolState(poolId: number): Promise<{ format: ObjectFormat; epoch: number } | null> {
    const row = await queries.poolState(this.#pool, poolId);
    return row === null ? null : { format: row.object_format, epoch: row.sweep_epoch };
  }

  /** Makes the intents of the packs of one crate durable, before its first byte is uploaded. */
  async beginCrate(
    crate: { readonly key: string; readonly tier: 'store' | 'chunks'; readonly origin: string },
    packs: readonly { readonly poolId: number; readonly packId: number; readonly token: string }[],
    leaseMs: number,
  ): Promise<void> {
    await queries.insertIntents(this.#pool, crate.key, crate.tier, crate.origin, leaseMs, packs);
  }

  /**
   * Gives up outputs of a crate that will not be published. `deleteBytes` runs when nobody can publish them any more and no other pack lies in
   * the crate; else their extents stay as dead space.
   */
  async abortOutputs(
    crateKey: string,
    packs: readonly { readonly poolId: number; readonly token: string }[],
    deleteBytes: () => Promise<void>,
  ): Promise<void> {
    for (const { poolId, token } of packs) await queries.abortIntents(this.#pool, poolId, token);
    if (!(await queries.crateIsNamed(this.#pool, crateKey))) await deleteBytes();
    for (const { poolId, token } of packs) await queries.forgetAborted(this.#pool, poolId, token);
  }

  /**
   * Publishes outputs in the place of inputs, in one transaction.
   * @throws PackhouseError `lease-lost`, `epoch-moved`: nothing has changed
   */
  async swap(swap: Swap): Promise<void> {
    try {
      await inTransaction(this.#pool, async (client) => {
        await queries.holdPool(client, swap.poolId);
        await queries.lockLeased(client, swap.poolId, swap.token);
        for (const output of swap.outputs) await writeOutput(client, swap, output);
        const outputs = swap.outputs.map((output) => output.packId);
        await queries.swapPacks(client, swap.poolId, swap.epoch, swap.token, swap.inputs, outputs, swap.reason);
        await failpoint('rewrite.mid-swap');
      });
    } catch (error) {
      const code = codeOf(error);
      if (code === 'PH004') throw new PackhouseError('epoch-moved', `objects of pool ${swap.poolId} were condemned meanwhile`);
      if (code === 'PH002') throw leaseLost(swap.poolId);
      throw error;
    }
  }

  /** Tails that nobody works on, the largest first: of all pools or of one. */
  async tails(poolId: number | null): Promise<Tail[]> {
    const rows = await queries.tails(this.#pool, poolId);
    return rows.map((row) => ({ poolId: row.pool_id, packs: row.packs, bytes: row.bytes, ageMs: row.age_ms }));
  }

  /** Bytes in the tails of all pools. */
  tailBytesTotal(): Promise<number> {
    return queries.tailBytesTotal(this.#pool);
  }

  /** Packs of one pool or of all, in some states. */
  async packs(poolId: number | null, states: readonly string[]): Promise<PackSummary[]> {
    return (await queries.storedPacks(this.#pool, poolId, null, states)).map(toSummary);
  }

  /** Live packs of crates. */
  async packsIn(crateKeys: readonly string[]): Promise<PackSummary[]> {
    return (await queries.storedPacks(this.#pool, null, crateKeys, ['live'])).map(toSummary);
  }

  /** Crates with something live that hold fewer live bytes than `bytesMin`, or more dead space than `deadPercent`, the smallest first. */
  async sparseCrates(bytesMin: number, deadPercent: number): Promise<CrateSummary[]> {
    const rows = await queries.sparseCrates(this.#pool, bytesMin, deadPercent);
    return rows.map((row) => ({ key: row.crate_key, livePacks: row.live_packs, liveBytes: row.live_bytes, bytes: row.bytes }));
  }

  /** The pushes that brought packs, in order. */
  async pushesOf(poolId: number, packIds: readonly number[]): Promise<PackPush[]> {
    const pushes = new Map<number, PackPush>();
    for (const row of await queries.pushesOfPacks(this.#pool, poolId, packIds)) {
      const push = pushes.get(row.push_id) ?? {
        packId: row.pack_id,
        pushId: row.push_id,
        repositoryId: row.repository_id,
        owner: row.owner,
        name: row.repository,
        private: row.private,
        pushedAt: row.pushed_at,
        updates: [],
      };
      pushes.set(row.push_id, push);
      if (row.name !== null) push.updates.push({ name: row.name.toString('latin1'), oldOid: row.old_oid, newOid: row.new_oid });
    }
    return [...pushes.values()];
  }

  /** Pools with a store pack that is not `ratio` times larger than all smaller ones together. */
  unevenPools(ratio: number, packBytesMax: number): Promise<number[]> {
    return queries.unevenPools(this.#pool, ratio, packBytesMax);
  }
}

/** Gives an intent all that is to be read of it, in the caller's transaction. @throws PackhouseError `lease-lost` */
export async function writeOutput(client: PoolClient, swap: Swap, output: SwapOutput): Promise<void> {
  const { poolId, token } = swap;
  const oidBytes = oidLength(swap.format);
  const chunkedCount = output.chunkedOids.length / oidBytes;
  if (!(await queries.describeOutput(client, { ...output, poolId, token, chunkedCount }))) throw leaseLost(poolId);
  const { tables, packId } = output;
  if (tables.kind === 'copied') await queries.copyTables(client, poolId, tables.packId, packId);
  else await copyPackTables(client, poolId, packId, oidBytes, tables.blocks, tables.graph);
  if (chunkedCount === 0) return;
  const oids = Array.from({ length: chunkedCount }, (_, i) => output.chunkedOids.subarray(i * oidBytes, (i + 1) * oidBytes));
  await copyRecipes(client, poolId, swap.inputs, packId, oids);
}

function toSummary(row: queries.StoredPackRow): PackSummary {
  return {
    poolId: row.pool_id,
    id: row.id,
    tier: row.tier,
    state: row.state,
    crateKey: row.crate_key,
    extentOffset: row.extent_offset,
    lengthBytes: row.extent_length,
    objectCount: row.object_count,
    leased: row.leased,
  };
}

function leaseLost(poolId: number): PackhouseError {
  return new PackhouseError('lease-lost', `packs of pool ${poolId} are leased to somebody else, or replaced`, { pool: poolId });
}
