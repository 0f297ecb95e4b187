import type { Readable } from 'node:stream';
import pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import * as queries from '../../db/queries/snapshot.ts';
import { CatalogLoad } from './snapshot-load.ts';
import { catalogTypes } from './wire-types.ts';

/** A snapshot of the catalog that was written to the store. */
export interface WrittenSnapshot {
  readonly key: string;
  /** Begins with a full one; each of the others says what has changed since the one before it. */
  readonly chain: string;
  readonly ordinal: number;
  /** PostgreSQL's snapshot: what it has seen. */
  readonly snapshot: string;
  readonly pushId: number;
  readonly storedBytes: number;
  /** Of its text. */
  readonly sha256: Buffer;
  readonly fingerprint: string;
  readonly takenAt: Date;
}

/** The last one, with what is stored of its chain: the full one, and those after it. */
export interface LastSnapshot extends WrittenSnapshot {
  readonly chainKeys: readonly string[];
  readonly fullBytes: number;
  readonly laterBytes: number;
}

/** Rows of one table, as `COPY … TO STDOUT` writes them. */
export interface CatalogSection {
  readonly table: string;
  readonly columns: readonly string[];
  readonly rows: () => Readable;
}

/** The catalog at one moment, or what has changed in it since another. */
export interface CatalogState {
  readonly snapshot: string;
  readonly takenAt: Date;
  readonly pushId: number;
  /** Numbers given out so far, by sequence. */
  readonly sequences: Readonly<Record<string, number>>;
  readonly fingerprint: string;
  readonly changed: boolean;
  /** To be read one after the other, each to its end, before `take`'s work ends. */
  readonly sections: readonly CatalogSection[];
}

/** How the catalog is written down and made again. Uses connections of its own: a COPY may take longer than a statement may. */
export class SnapshotCatalog {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** Runs `work` as the only one of all processes that writes snapshots; null when another does. */
  async exclusively<T>(work: () => Promise<T>): Promise<T | null> {
    return this.#connected(async (client) => ((await queries.lockSnapshots(client)) ? work() : null));
  }

  /** The last snapshot that this catalog knows to be in the store. */
  async last(): Promise<LastSnapshot | null> {
    return this.#connected(async (client) => {
      const row = await queries.lastSnapshot(client);
      if (row === null) return null;
      return {
        key: row.store_key,
        chain: row.chain,
        ordinal: row.ordinal,
        snapshot: row.snapshot,
        pushId: row.push_id,
        storedBytes: row.stored_bytes,
        sha256: row.sha256,
        fingerprint: row.fingerprint,
        takenAt: row.taken_at,
        chainKeys: row.chain_keys,
        fullBytes: row.full_bytes,
        laterBytes: row.later_bytes,
      };
    });
  }

  /** Notes a snapshot that is in the store; after a full one the chains before it are forgotten. */
  async record(written: WrittenSnapshot): Promise<void> {
    await this.#connected(async (client) => {
      await queries.insertSnapshot(client, {
        store_key: written.key,
        chain: written.chain,
        ordinal: written.ordinal,
        snapshot: written.snapshot,
        push_id: written.pushId,
        stored_bytes: written.storedBytes,
        sha256: written.sha256,
        fingerprint: written.fingerprint,
        taken_at: written.takenAt,
      });
      if (written.ordinal === 0) await queries.forgetOtherChains(client, written.chain);
    });
  }

  /** Gives `work` the catalog as of one moment: all of it, or what has changed since `previous`. One transaction, which sees nothing newer. */
  async take<T>(
    previous: Pick<WrittenSnapshot, 'snapshot' | 'pushId' | 'fingerprint'> | null,
    work: (state: CatalogState) => Promise<T>,
  ): Promise<T> {
    return this.#connected(async (client) => {
      const { snapshot, taken_at: takenAt } = await queries.beginSnapshot(client);
      const sequences = await queries.sequenceValues(client);
      const fingerprint = await queries.smallFingerprint(client);
      const changes = previous === null ? await queries.countAll(client) : await queries.findChanges(client, previous.snapshot);
      const smallChanged = fingerprint !== previous?.fingerprint;
      const sections = await queries.snapshotSections(client, previous?.snapshot ?? null, smallChanged);
      return work({
        snapshot,
        takenAt,
        pushId: Math.max(changes.push_id, previous?.pushId ?? 0),
        sequences,
        fingerprint,
        changed: changes.pools > 0 || smallChanged,
        sections: sections.map(({ table, columns, query }) => ({
          table,
          columns,
          rows: () => client.query(copyTo(`copy (${query}) to stdout`)),
        })),
      });
    });
  }

  /** Keeps superseded packs from being deleted until `unpin`, or for so long: takes the place of an older pin of that id. */
  async pin(id: string, reason: string, seconds: number): Promise<void> {
    await this.#connected((client) => queries.insertPin(client, id, reason, seconds));
  }

  async unpin(id: string): Promise<void> {
    await this.#connected((client) => queries.deletePin(client, id));
  }

  /** Runs `work` with a load of a new catalog; what it has not committed is undone when it fails. */
  async load<T>(work: (load: CatalogLoad) => Promise<T>): Promise<T> {
    return this.#connected((client) => work(new CatalogLoad(client)));
  }

  async #connected<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = new pg.Client({
      connectionString: this.#url,
      types: catalogTypes(),
      connectionTimeoutMillis: 10_000,
      keepAlive: true,
      application_name: 'packhouse',
    });
    // A connection that breaks says so to the statement as well.
    client.on('error', () => undefined);
    await client.connect();
    try {
      return await work(client);
    } finally {
      // Ends a transaction that is open and returns locks.
      await client.end().catch(() => undefined);
    }
  }
}
