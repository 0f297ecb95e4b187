import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ClientBase } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import * as queries from '../../db/queries/snapshot-load.ts';
import { PackhouseError } from '../base/mod.ts';
import { type ObjectFormat, oidLength } from '../object/mod.ts';
import { type ChunkedBlob, copyRecipeRows, recipeOfRow } from './chunk-catalog.ts';
import { copyPackTables } from './copy.ts';
import type { ObjectBlock, PackRecord } from './types.ts';

/** A pack of the store that the catalog is told of again, before its bytes were looked at. */
export interface StagedPack extends Omit<PackRecord, 'hasDuplicates'> {
  readonly poolId: number;
  readonly packId: number;
  readonly format: ObjectFormat;
  readonly tier: 'store' | 'chunks';
  readonly crateKey: string;
  readonly extentOffset: number;
  readonly chunkedCount: number;
}

/**
 * A new catalog out of snapshots, in this order: `begin`; for each snapshot `copyIn` its tables and `endSnapshot`; or `stage` what manifests
 * tell; `publishPools`; each of `waiting` with `publishPack` or `dropPack`; `publishNames`. Until the last no repository can be asked for.
 */
export class CatalogLoad {
  readonly #client: ClientBase;
  #full = true;
  readonly #brought = new Set<string>();

  constructor(client: ClientBase) {
    this.#client = client;
  }

  /** @throws PackhouseError `catalog-not-empty` */
  async begin(): Promise<void> {
    await this.#client.query('set statement_timeout = 0');
    if (!(await queries.catalogIsEmpty(this.#client)))
      throw new PackhouseError('catalog-not-empty', 'the database holds a catalog already: give an empty one');
    await queries.createStaging(this.#client);
  }

  /** The sections that follow are those of one snapshot. */
  async beginSnapshot(full: boolean): Promise<void> {
    await this.#client.query('begin');
    this.#full = full;
    this.#brought.clear();
  }

  /** Takes a section's rows, in COPY's text format. */
  async copyIn(table: string, columns: readonly string[], rows: AsyncIterable<Buffer>): Promise<void> {
    const isTable = (queries.LOADED_TABLES as readonly string[]).includes(table);
    if (!isTable && !(queries.LOADED_LISTS as readonly string[]).includes(table))
      throw new PackhouseError(
        'snapshot-bad',
        `a snapshot has a table ${table}, which is unknown here: is it of a newer version?`,
      );
    this.#brought.add(table);
    const target = this.#full ? table : `in_${table}`;
    const list = columns.map((name) => `"${name.replaceAll('"', '')}"`).join(', ');
    await pipeline(Readable.from(rows), this.#client.query(copyFrom(`copy rebuild.${target} (${list}) from stdin`)));
  }

  async endSnapshot(): Promise<void> {
    const whole = ['access_tokens', 'maintenance_holds'].filter((table) => this.#brought.has(table));
    if (!this.#full) await queries.mergeIncrement(this.#client, new Set(whole));
    await this.#client.query('commit');
  }

  /** Adds a pack that no snapshot tells of, and its pool; false when there is one of that number already. */
  async stage(pack: StagedPack, origin: string, hasDuplicates: boolean): Promise<boolean> {
    await queries.stagePool(this.#client, pack.poolId, pack.format);
    return queries.stagePack(this.#client, {
      pool_id: pack.poolId,
      id: pack.packId,
      tier: pack.tier,
      crate_key: pack.crateKey,
      extent_offset: pack.extentOffset,
      extent_length: pack.lengthBytes,
      object_count: pack.objectCount,
      chunked_count: pack.chunkedCount,
      checksum: pack.checksum,
      all_reached: pack.allReached,
      based: pack.based,
      has_duplicates: hasDuplicates,
      tips: pack.tips,
      origin,
    });
  }

  /** Adds a repository that only manifests tell of, unless its number or its name is taken. */
  async stageRepository(
    poolId: number,
    id: number,
    named: { readonly owner: string; readonly name: string; readonly private: boolean; readonly format: ObjectFormat },
  ): Promise<void> {
    await queries.stageRepository(this.#client, poolId, id, named);
  }

  /** Recipes of a pack's chunked blobs. */
  async recipes(poolId: number, packId: number): Promise<ChunkedBlob[]> {
    return (await queries.recipesOf(this.#client, poolId, packId)).map((row) => ({
      oid: row.oid,
      recipe: recipeOfRow(row),
    }));
  }

  async stageRecipe(poolId: number, packId: number, blob: ChunkedBlob): Promise<void> {
    await copyRecipeRows(this.#client, 'rebuild.chunked_blobs', poolId, packId, [blob], null);
  }

  /** Every crate that the snapshots name, whatever became of its packs. */
  async crates(): Promise<Set<string>> {
    return new Set(await queries.stagedCrates(this.#client));
  }

  /** Puts pools and tails in force, and a hold: from here on nothing that this catalog does not know is deleted. */
  async publishPools(holdReason: string, lease: string): Promise<{ tailPacks: number; tailObjects: number }> {
    return this.#transaction(async () => {
      await queries.addHold(this.#client, holdReason);
      await queries.publishPools(this.#client, lease);
      const { packs: tailPacks, objects: tailObjects } = await queries.countTails(this.#client);
      return { tailPacks, tailObjects };
    });
  }

  /** Packs of the store whose bytes are to be read, chunks first, then in order of place. */
  async waiting(lease: string): Promise<StagedPack[]> {
    return (await queries.intents(this.#client, lease)).map((row) => ({
      poolId: row.pool_id,
      packId: row.id,
      format: row.object_format,
      tier: row.tier,
      crateKey: row.crate_key,
      extentOffset: row.extent_offset,
      lengthBytes: row.extent_length,
      objectCount: row.object_count,
      chunkedCount: row.chunked_count,
      checksum: row.checksum,
      allReached: row.all_reached,
      based: row.based,
      tips: row.tips,
    }));
  }

  async publishPack(
    { poolId, packId, format }: StagedPack,
    tables: { readonly blocks: readonly ObjectBlock[]; readonly graph: readonly Buffer[] } | null,
    facts: { readonly allReached: boolean; readonly based: boolean; readonly tips: Buffer },
  ): Promise<void> {
    await this.#transaction(async () => {
      if (tables !== null) await copyPackTables(this.#client, poolId, packId, oidLength(format), tables.blocks, tables.graph);
      await queries.publishIntent(this.#client, poolId, packId, facts);
    });
  }

  async dropPack({ poolId, packId }: StagedPack): Promise<void> {
    await this.#transaction(() => queries.dropIntent(this.#client, poolId, packId));
  }

  /** Puts repositories, refs, log and tokens in force, and moves all numbers on; `known`: the highest that are known of each sequence. */
  async publishNames(known: Readonly<Record<string, number>>): Promise<void> {
    await this.#transaction(async () => {
      await queries.publishNames(this.#client);
      await queries.advanceSequences(this.#client, known);
      await queries.dropStaging(this.#client);
    });
    await this.#client.query('analyze');
  }

  async #transaction<T>(work: () => Promise<T>): Promise<T> {
    await this.#client.query('begin');
    try {
      const result = await work();
      await this.#client.query('commit');
      return result;
    } catch (error) {
      await this.#client.query('rollback').catch(() => undefined);
      throw error;
    }
  }
}
