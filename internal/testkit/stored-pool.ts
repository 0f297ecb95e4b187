import { type Catalog, type ObjectBlock, openCatalog, type Pack } from '../catalog/mod.ts';
import { type ChunkRecipe, type CutSizes, wireEntryBytes } from '../chunking/mod.ts';
import { crateKey, createFsStore, type PackStore } from '../packstore/mod.ts';
import { type CutBlobs, cutBlobs } from './cut-blobs.ts';
import { startTestDatabase, type TestDatabase } from './database.ts';
import { scratchFolder } from './folder.ts';
import { buildPack, oidOf } from './pack-builder.ts';

export interface StoredEntry {
  readonly oid: string;
  readonly kind: number;
  readonly sizeBytes: number;
  /** The entry as it stands in the pack. */
  readonly bytes: Buffer;
}

/** A pool on real PostgreSQL and a real folder, into which packs are put as they are told: what a push would refuse too. */
export class TestPool {
  readonly catalog: Catalog;
  readonly store: PackStore;
  readonly poolId: number;
  readonly #database: TestDatabase;
  readonly #repositoryId: number;
  #packs = 0;

  private constructor(database: TestDatabase, catalog: Catalog, ids: { id: number; poolId: number }) {
    this.#database = database;
    this.catalog = catalog;
    this.store = createFsStore({ root: scratchFolder('packs') });
    this.poolId = ids.poolId;
    this.#repositoryId = ids.id;
  }

  static async start(): Promise<TestPool> {
    const database = await startTestDatabase();
    const catalog = openCatalog({ url: database.url, poolMax: 4 });
    return new TestPool(
      database,
      catalog,
      await catalog.createRepository({ owner: 'o', name: 'r', format: 'sha1', private: false }),
    );
  }

  async close(): Promise<void> {
    await this.catalog.close();
    await this.store.close();
    await this.#database.stop();
  }

  /** Publishes a pack; `rowsPerBlock` cuts its index into blocks, `chunked` are blobs that it has as chunks. */
  async put(
    tier: Pack['tier'],
    entries: readonly StoredEntry[],
    {
      hasDuplicates = false,
      rowsPerBlock = 1000,
      chunked = [],
      sizes = { minBytes: 1024, avgBytes: 4096, maxBytes: 16384 },
    }: { hasDuplicates?: boolean; rowsPerBlock?: number; chunked?: readonly Buffer[]; sizes?: CutSizes } = {},
  ): Promise<Pack> {
    const bytes = buildPack(entries.map((entry) => entry.bytes));
    const id = await this.catalog.reservePackId();
    const facts = {
      id,
      lengthBytes: bytes.length,
      objectCount: entries.length + chunked.length,
      checksum: bytes.subarray(-20),
      allReached: false,
    };
    const key = crateKey(`00000000-0000-4000-8000-${String(id).padStart(12, '0')}`);
    const lease = '00000000-0000-4000-8000-000000000000';
    if (tier === 'store') {
      await this.catalog.beginStorePack(this.poolId, id, key, lease);
      await this.store.put(key, bytes);
    }
    const cut = cutBlobs(chunked, sizes);
    const chunkPackId = chunked.length === 0 ? null : await this.#putChunks(cut, lease);
    const recipes = chunked.map((blob, i) => ({ oid: Buffer.from(oidOf('blob', blob), 'hex'), recipe: cut.recipes[i]! }));
    const rows = recipes.map(({ oid, recipe }) => ({ oid: oid.toString('hex'), sizeBytes: recipe.sizeBytes, recipe }));
    const first = entries[0]?.oid ?? rows[0]!.oid;
    await this.catalog.publish(
      {
        repositoryId: this.#repositoryId,
        poolId: this.poolId,
        atomic: true,
        commands: [{ name: `refs/x/${++this.#packs}`, oldOid: null, newOid: Buffer.from(first, 'hex'), peeled: null }],
        head: null,
        actor: '',
        requestId: '',
        options: [],
        pack: {
          ...facts,
          based: false,
          hasDuplicates,
          tips: Buffer.alloc(0),
          place: tier === 'tail' ? { kind: 'tail', bytes } : { kind: 'store', lease, crateKey: key },
          blocks: blocksOf(entries, rows, rowsPerBlock),
          graph: [],
          chunkedCount: chunked.length,
          chunkPackId,
          chunked: recipes,
        },
        sweepEpoch: null,
      },
      'sha1',
    );
    return (await this.catalog.packs(this.poolId, [id]))[0]!;
  }

  async #putChunks(cut: CutBlobs, lease: string): Promise<number> {
    const id = await this.catalog.reservePackId();
    const key = crateKey(`00000000-0000-4000-9000-${String(id).padStart(12, '0')}`);
    await this.catalog.chunks.beginPack(this.poolId, id, key, lease);
    await this.store.put(key, cut.pack);
    const pack = { lengthBytes: cut.pack.length, objectCount: cut.chunkCount, checksum: cut.pack.subarray(-20) };
    await this.catalog.chunks.setUploaded(this.poolId, id, lease, pack);
    return id;
  }
}

function blocksOf(
  entries: readonly StoredEntry[],
  chunked: readonly { oid: string; sizeBytes: number; recipe: ChunkRecipe }[],
  rowsPerBlock: number,
): ObjectBlock[] {
  let offset = 12;
  const rows: { oid: string; kind: number; sizeBytes: number; offset: number; lengthBytes: number }[] = entries.map((entry) => {
    const row = { ...entry, offset, lengthBytes: entry.bytes.length };
    offset += entry.bytes.length;
    return row;
  });
  for (const { recipe, ...row } of chunked) rows.push({ ...row, kind: 3, offset: -1, lengthBytes: wireEntryBytes(recipe) });
  rows.sort((a, b) => (a.oid < b.oid ? -1 : 1));
  const blocks: ObjectBlock[] = [];
  for (let at = 0; at < rows.length; at += rowsPerBlock) {
    const part = rows.slice(at, at + rowsPerBlock);
    blocks.push({
      oids: Buffer.concat(part.map((row) => Buffer.from(row.oid, 'hex'))),
      kinds: Uint8Array.from(part, (row) => row.kind),
      sizes: Float64Array.from(part, (row) => row.sizeBytes),
      offsets: Float64Array.from(part, (row) => row.offset),
      lengths: Float64Array.from(part, (row) => row.lengthBytes),
    });
  }
  return blocks;
}
