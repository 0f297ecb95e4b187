import { type Catalog, type ObjectBlock, openCatalog, type Pack } from '../catalog/mod.ts';
import { crateKey, createFsStore, type PackStore } from '../packstore/mod.ts';
import { buildPack, scratchFolder, startTestDatabase, type TestDatabase } from '../testkit/mod.ts';

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

  /** Publishes a pack; `rowsPerBlock` cuts its index into blocks. */
  async put(
    tier: Pack['tier'],
    entries: readonly StoredEntry[],
    { hasDuplicates = false, rowsPerBlock = 1000 }: { hasDuplicates?: boolean; rowsPerBlock?: number } = {},
  ): Promise<Pack> {
    const bytes = buildPack(entries.map((entry) => entry.bytes));
    const id = await this.catalog.reservePackId();
    const facts = {
      id,
      lengthBytes: bytes.length,
      objectCount: entries.length,
      checksum: bytes.subarray(-20),
      allReached: false,
    };
    const key = crateKey(`00000000-0000-4000-8000-${String(id).padStart(12, '0')}`);
    const lease = '00000000-0000-4000-8000-000000000000';
    if (tier === 'store') {
      await this.catalog.beginStorePack(this.poolId, id, key, lease);
      await this.store.put(key, bytes);
    }
    await this.catalog.publish(
      {
        repositoryId: this.#repositoryId,
        poolId: this.poolId,
        atomic: true,
        commands: [{ name: `refs/x/${++this.#packs}`, oldOid: null, newOid: Buffer.from(entries[0]!.oid, 'hex'), peeled: null }],
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
          blocks: blocksOf(entries, rowsPerBlock),
          graph: [],
          chunkedCount: 0,
          chunkPackId: null,
        },
        sweepEpoch: null,
      },
      'sha1',
    );
    return (await this.catalog.packs(this.poolId, [id]))[0]!;
  }
}

function blocksOf(entries: readonly StoredEntry[], rowsPerBlock: number): ObjectBlock[] {
  let offset = 12;
  const rows = entries.map((entry) => {
    const row = { ...entry, offset, lengthBytes: entry.bytes.length };
    offset += entry.bytes.length;
    return row;
  });
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
