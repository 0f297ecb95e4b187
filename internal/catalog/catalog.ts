import { Kysely, PostgresDialect } from 'kysely';
import pg, { type PoolClient } from 'pg';
import * as checking from '../../db/queries/fsck.ts';
import * as publishing from '../../db/queries/publish.ts';
import * as reading from '../../db/queries/read.ts';
import * as repositories from '../../db/queries/repositories.ts';
import type { DB } from '../../db/queries/types.ts';
import { codeOf, failpoint, type Logger, PackhouseError } from '../base/mod.ts';
import { type ObjectFormat, oidLength } from '../object/mod.ts';
import { ChunkCatalog, copyChunkTables } from './chunk-catalog.ts';
import { ChunkMoves } from './chunk-moves.ts';
import { copyPackTables } from './copy.ts';
import { copiedBlocks, copiedGraphBlocks } from './copy-out.ts';
import { readAgain } from './faults.ts';
import { HistoryCatalog } from './history-catalog.ts';
import { MaintenanceCatalog } from './maintenance-catalog.ts';
import { publishKnowing } from './publish-attempts.ts';
import { isCopied, publishRequest } from './publish-request.ts';
import { rehearsePushes } from './rehearsal.ts';
import { RetireCatalog } from './retire-catalog.ts';
import { SnapshotCatalog } from './snapshot-catalog.ts';
import { SweepCatalog } from './sweep-catalog.ts';
import { inTransaction } from './transaction.ts';
import type { IndexedPack, ObjectBlock, Pack, Push, Ref, RefStatus, Repository, RepositoryState } from './types.ts';
import { catalogTypes } from './wire-types.ts';

export interface CatalogOptions {
  readonly url: string;
  readonly poolMax?: number;
  readonly statementTimeoutMs?: number;
  readonly log?: Logger;
}

/** How many pack ids one process reserves at a time. */
const PACK_IDS_RESERVED = 64;
const CONNECTIONS_KEPT = 4;
/** Of packs with so many objects in all the index is copied out: a COPY is planned each time, and its rows are read in a third of the time. */
const COPIED_OBJECTS_MIN = 20_000;
const BRANCH_DEFAULT = 'refs/heads/main';

/** The catalog in PostgreSQL: repositories, refs, packs and their indexes. Holds connections, no state but reserved pack ids. */
export class Catalog {
  readonly #pool: pg.Pool;
  readonly #kysely: Kysely<DB>;
  /** How packs leave. */
  readonly retire: RetireCatalog;
  readonly history: HistoryCatalog;
  /** What no ref reaches. */
  readonly sweep: SweepCatalog;
  /** Chunked blobs. */
  readonly chunks: ChunkCatalog;
  readonly chunkMoves: ChunkMoves;
  /** Leases, swaps and jobs. */
  readonly maintenance: MaintenanceCatalog;
  /** How the catalog is written down, and made again. */
  readonly snapshots: SnapshotCatalog;
  #packIds: number[] = [];
  /** Statements sent, for the counters of a benchmark or a test. */
  statements = 0;

  constructor(options: CatalogOptions) {
    const statementTimeoutMs = options.statementTimeoutMs ?? 60_000;
    this.#pool = new pg.Pool({
      connectionString: options.url,
      max: options.poolMax ?? 16,
      // A new connection signs in, plans and compiles for longer than a small push takes: some stay however long nobody asks.
      min: Math.min(CONNECTIONS_KEPT, options.poolMax ?? 16),
      idleTimeoutMillis: 60_000,
      connectionTimeoutMillis: 10_000,
      statement_timeout: statementTimeoutMs,
      // A connection that is half open answers nothing: the wait for an answer ends a little after the statement must have.
      query_timeout: statementTimeoutMs + Math.min(statementTimeoutMs, 5_000),
      // And PostgreSQL must not keep for whoever has gone what a transaction has locked.
      idle_in_transaction_session_timeout: statementTimeoutMs,
      keepAlive: true,
      application_name: 'packhouse',
      types: catalogTypes(),
    });
    this.#pool.on('error', (error) => options.log?.warn({ error: error.message }, 'an idle catalog connection was lost'));
    // A connection that breaks in the middle of a COPY says so twice: to the statement, and by an event that nobody else listens to.
    this.#pool.on('connect', (client) => {
      client.on('error', (error) => options.log?.warn({ error: error.message }, 'a catalog connection was lost'));
    });
    this.#kysely = new Kysely<DB>({ dialect: new PostgresDialect({ pool: this.#pool }) });
    this.retire = new RetireCatalog(this.#pool);
    this.sweep = new SweepCatalog(this.#pool);
    this.history = new HistoryCatalog(this.#pool);
    this.chunks = new ChunkCatalog(this.#pool, () => void this.statements++);
    this.chunkMoves = new ChunkMoves(this.#pool);
    this.maintenance = new MaintenanceCatalog(this.#pool);
    this.snapshots = new SnapshotCatalog(options.url);
  }

  /** For typed queries of other rooms that keep their own tables (access tokens). */
  get kysely(): Kysely<DB> {
    return this.#kysely;
  }

  async check(): Promise<void> {
    await this.#pool.query('select 1');
  }

  /** Opens the connections that stay and prepares them for small pushes, which leaves nothing in the catalog. */
  async warmUp(): Promise<void> {
    await rehearsePushes(this.#pool, this.#pool.options.min ?? 1);
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }

  // ---- repositories -------------------------------------------------------------------------------------------------

  /** @throws PackhouseError `repository-exists` */
  async createRepository(values: { owner: string; name: string; format: ObjectFormat; private: boolean }): Promise<Repository> {
    const row = await repositories.insertRepository(this.#kysely, values);
    if (row === null) throw new PackhouseError('repository-exists', `repository ${values.owner}/${values.name} exists already`);
    return toRepository(row);
  }

  async findRepository(owner: string, name: string): Promise<Repository | null> {
    const row = await repositories.findRepository(this.#kysely, owner, name);
    return row === null ? null : toRepository(row);
  }

  async listRepositories(filter: { owner?: string } = {}): Promise<Repository[]> {
    return (await repositories.listRepositories(this.#kysely, filter.owner)).map(toRepository);
  }

  /** @throws PackhouseError `repository-exists`, `repository-not-found` */
  async renameRepository(id: number, owner: string, name: string): Promise<void> {
    try {
      if (!(await repositories.renameRepository(this.#kysely, id, owner, name))) throw notFound(`${id}`);
    } catch (error) {
      if (codeOf(error) === '23505') throw new PackhouseError('repository-exists', `repository ${owner}/${name} exists already`);
      throw error;
    }
  }

  async deleteRepository(id: number): Promise<void> {
    if (!(await repositories.deleteRepository(this.#kysely, id))) throw notFound(`${id}`);
  }

  /** Points HEAD at a branch, which need not exist; null lets it follow the first branch again. */
  async setHead(id: number, ref: string | null): Promise<void> {
    const head = ref === null ? null : Buffer.from(ref, 'latin1');
    if (!(await repositories.updateRepository(this.#kysely, id, { head }))) throw notFound(`${id}`);
  }

  async setPrivate(id: number, isPrivate: boolean): Promise<void> {
    if (!(await repositories.updateRepository(this.#kysely, id, { private: isPrivate }))) throw notFound(`${id}`);
  }

  // ---- reading ------------------------------------------------------------------------------------------------------

  /** The repository and what has changed in it since `known`; null when no repository has the name. One statement. */
  async repositoryState(
    owner: string,
    name: string,
    known: { readonly id: number; readonly snapshot: string } | null,
  ): Promise<RepositoryState | null> {
    // The first statement of each request: it is the one that meets connections that were lost while nobody asked.
    const row = await readAgain(() => {
      this.statements++;
      return reading.repositoryState(this.#pool, owner, name, known?.id ?? -1, known?.snapshot ?? null);
    });
    if (row === null) return null;
    const refs: (Ref | { name: string; oid: null })[] = [];
    for (let i = 0; i < (row.names?.length ?? 0); i++) {
      const ref = row.names![i]!.toString('latin1');
      const oid = row.oids![i]!;
      refs.push(oid === null ? { name: ref, oid } : { name: ref, oid, peeled: row.peeled![i]!, createdPush: row.created![i]! });
    }
    return {
      id: row.id,
      poolId: row.pool_id,
      format: row.object_format,
      head: row.head?.toString('latin1') ?? null,
      private: row.private,
      snapshot: row.snapshot,
      full: known === null || known.id !== row.id,
      refs,
      newPacks: Array.from(row.packs ?? []),
      removedPacks: Array.from(row.removed ?? []),
      sweepEpoch: row.sweep_epoch,
    };
  }

  /** The live packs of a pool; or those that are named, even if others have taken their place a moment ago. */
  async packs(poolId: number, ids: readonly number[] | null): Promise<Pack[]> {
    this.statements++;
    const rows = await reading.livePacks(this.#pool, poolId, ids);
    return rows.map((row) => ({
      id: row.id,
      tier: row.tier,
      crateKey: row.crate_key,
      extentOffset: row.extent_offset,
      lengthBytes: row.extent_length,
      objectCount: row.object_count,
      chunkedCount: row.chunked_count,
      checksum: row.checksum,
      allReached: row.all_reached,
      based: row.based,
      hasDuplicates: row.has_duplicates,
      tips: row.tips,
      searched: row.searched,
    }));
  }

  /** All object blocks of the packs. */
  async blocks(poolId: number, packs: readonly IndexedPack[]): Promise<Map<number, ObjectBlock[]>> {
    this.statements++;
    const read = areMany(packs) ? copiedBlocks : reading.blocksOfPacks;
    return byPack(await read(this.#pool, poolId, idsOf(packs)));
  }

  /** The blocks of a pack that start at the named first oids, with those oids in hex. */
  async blocksAt(
    poolId: number,
    wanted: readonly { packId: number; firstOid: Buffer }[],
  ): Promise<{ packId: number; firstOid: Buffer; block: ObjectBlock }[]> {
    this.statements++;
    const ids = wanted.map((block) => block.packId);
    const rows = await reading.blocksAt(this.#pool, poolId, ids, publishing.byteaArray(wanted.map((block) => block.firstOid)));
    return rows.map((row) => ({ packId: row.pack_id, firstOid: row.first_oid, block: row }));
  }

  /** For each pack the first oids of its blocks, raw, one after the other. */
  async blockDirectory(poolId: number, packIds: readonly number[]): Promise<Map<number, Buffer>> {
    this.statements++;
    const rows = await reading.blockDirectory(this.#pool, poolId, packIds);
    return new Map(rows.map((row) => [row.pack_id, row.first_oids]));
  }

  async tailBytes(poolId: number, packIds: readonly number[]): Promise<Map<number, Buffer>> {
    this.statements++;
    const rows = await reading.tailBytes(this.#pool, poolId, packIds);
    return new Map(rows.map((row) => [row.pack_id, row.bytes]));
  }

  /** Graph records of the packs, block by block, in order of pack. */
  async graphBlocks(poolId: number, packs: readonly IndexedPack[]): Promise<{ packId: number; records: Buffer }[]> {
    this.statements++;
    const read = areMany(packs) ? copiedGraphBlocks : reading.graphBlocks;
    const rows = await read(this.#pool, poolId, idsOf(packs));
    return rows.map((row) => ({ packId: row.pack_id, records: row.records }));
  }

  /** Values that this repository's refs have had and lost within the last `sinceSeconds`, as far as a sweep has counted them, newest first; null: ever. */
  async loggedTips(poolId: number, repositoryId: number, sinceSeconds: number | null, limit: number): Promise<Buffer[]> {
    this.statements++;
    return reading.loggedTips(this.#pool, poolId, repositoryId, sinceSeconds, limit);
  }

  // ---- checking -----------------------------------------------------------------------------------------------------

  /** The pools, or one of them. */
  async pools(poolId: number | null): Promise<{ id: number; format: ObjectFormat }[]> {
    return (await checking.pools(this.#pool, poolId)).map((row) => ({ id: row.id, format: row.object_format }));
  }

  /** Rows that belong to nothing, in all pools or in one. */
  async orphanRows(poolId: number | null): Promise<{ poolId: number; packId: number | null; what: string }[]> {
    const rows = await checking.orphanRows(this.#pool, poolId);
    return rows.map((row) => ({ poolId: row.pool_id, packId: row.pack_id, what: row.what }));
  }

  /** First oids of the object blocks of a pack whose columns do not fit each other. */
  async misshapenBlocks(poolId: number, packId: number, format: ObjectFormat): Promise<Buffer[]> {
    return checking.misshapenBlocks(this.#pool, poolId, packId, oidLength(format));
  }

  /** Every crate that a pack of any state names, and that state. */
  async crates(): Promise<Map<string, string>> {
    return new Map((await checking.crateKeys(this.#pool)).map((row) => [row.crate_key, row.state]));
  }

  // ---- publishing ---------------------------------------------------------------------------------------------------

  async reservePackId(): Promise<number> {
    if (this.#packIds.length === 0) {
      this.statements++;
      this.#packIds.push(...(await publishing.reservePackIds(this.#pool, PACK_IDS_RESERVED)));
    }
    return this.#packIds.shift()!;
  }

  /** Makes the intent of a store pack durable, before its first byte is uploaded. */
  async beginStorePack(poolId: number, packId: number, crateKey: string, lease: string): Promise<Date> {
    this.statements++;
    return publishing.insertPackIntent(this.#pool, poolId, packId, crateKey, lease);
  }

  /** Takes a store pack back that will not be published. `deleteBytes` runs once nobody can publish it any more. */
  async abortStorePack(poolId: number, packId: number, deleteBytes: () => Promise<void>): Promise<void> {
    if (!(await publishing.abortPackIntent(this.#pool, poolId, packId))) return;
    await deleteBytes();
    await publishing.forgetAbortedPack(this.#pool, poolId, packId);
  }

  /**
   * Publishes a push in one transaction. The status of each command; when none was updated, the pack was not published either.
   * An atomic push that cannot happen whole changes nothing. What was stopped by others or by a broken connection is tried again.
   * @throws PackhouseError `repository-not-found` when the repository was deleted meanwhile, `lease-lost`, `epoch-moved` when objects that
   *   it may rest on were condemned meanwhile, `chunks-moved` when chunks of its recipes are no longer where they were found, `push-unknown`
   *   when the catalog can no longer be asked whether it happened
   */
  async publish(push: Push, format: ObjectFormat): Promise<RefStatus[]> {
    const request = publishRequest(push);
    const attempt = async (): Promise<RefStatus[]> => {
      if (isCopied(push)) return (await this.#publishCopied(push, request, format)) as RefStatus[];
      this.statements++;
      return (await publishing.publishPush(this.#pool, request)) as RefStatus[];
    };
    try {
      return await publishKnowing(this.#pool, push, attempt);
    } catch (error) {
      const code = codeOf(error);
      if (code === 'PH003') return (error as { detail: string }).detail.split(',') as RefStatus[];
      if (code === 'PH004') throw new PackhouseError('epoch-moved', 'objects of the pool were condemned during the push');
      if (code === 'PH001') throw notFound(`${push.repositoryId}`);
      if (code === 'PH002')
        throw new PackhouseError('lease-lost', `the upload of pack ${push.pack?.id} took too long and was given up`);
      throw error;
    }
  }

  async #publishCopied(push: Push, request: publishing.PublishPush, format: ObjectFormat): Promise<string[]> {
    const pack = push.pack!;
    const work = async (client: PoolClient): Promise<string[]> => {
      await copyPackTables(client, push.poolId, pack.id, oidLength(format), pack.blocks, pack.graph);
      await failpoint('push.mid-copy');
      if (pack.chunked !== undefined && pack.chunked.length > 0)
        await copyChunkTables(client, push.poolId, pack.id, pack.chunked, pack.chunkPackId);
      const statuses = await publishing.publishPush(client, request);
      await failpoint('push.before-commit');
      return statuses;
    };
    return inTransaction(this.#pool, work, (statuses) => statuses.includes('ok'));
  }
}

function notFound(what: string): PackhouseError {
  return new PackhouseError('repository-not-found', `repository ${what} does not exist`);
}

function areMany(packs: readonly IndexedPack[]): boolean {
  return packs.reduce((sum, pack) => sum + pack.objectCount, 0) >= COPIED_OBJECTS_MIN;
}

function idsOf(packs: readonly IndexedPack[]): number[] {
  return packs.map((pack) => pack.id);
}

function byPack(rows: readonly reading.BlockRow[]): Map<number, ObjectBlock[]> {
  const packs = new Map<number, ObjectBlock[]>();
  for (const row of rows) {
    const blocks = packs.get(row.pack_id);
    if (blocks === undefined) packs.set(row.pack_id, [row]);
    else blocks.push(row);
  }
  return packs;
}

function toRepository(row: repositories.RepositoryRow): Repository {
  return {
    id: row.id,
    poolId: row.pool_id,
    owner: row.owner,
    name: row.name,
    format: row.object_format as ObjectFormat,
    head: row.head?.toString('latin1') ?? null,
    private: row.private,
    createdAt: row.created_at,
  };
}

/** Where HEAD points while nobody has chosen: the default branch when it exists or nothing does, else the oldest branch. */
export function followedHead(refs: Iterable<Ref>): string {
  let oldest: Ref | null = null;
  for (const ref of refs) {
    if (!ref.name.startsWith('refs/heads/')) continue;
    if (ref.name === BRANCH_DEFAULT) return BRANCH_DEFAULT;
    if (oldest === null || ref.createdPush < oldest.createdPush) oldest = ref;
  }
  return oldest?.name ?? BRANCH_DEFAULT;
}

export function openCatalog(options: CatalogOptions): Catalog {
  return new Catalog(options);
}
