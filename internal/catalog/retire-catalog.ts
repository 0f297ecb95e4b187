import * as retiring from '../../db/queries/retire.ts';

type Queryable = Parameters<typeof retiring.clock>[0];

/** A pack by its key. */
export interface PackName {
  readonly poolId: number;
  readonly id: number;
}

/** Why nothing that the catalog does not name may be deleted for now. */
export interface Hold {
  readonly id: number;
  readonly reason: string;
  readonly madeAt: Date;
}

/**
 * How packs leave: `superseded → deleted`, `intent → aborting`, then rows, bytes (the caller's part), and the row of the pack last. Each step
 * is one statement that commits by itself and can be done again.
 */
export class RetireCatalog {
  readonly #db: Queryable;

  constructor(db: Queryable) {
    this.#db = db;
  }

  /** Packs superseded for longer than `ageMs`, by PostgreSQL's clock, are nobody's from here on; none is while a pin holds. */
  async retire(ageMs: number, limit: number): Promise<PackName[]> {
    return (await retiring.retirePacks(this.#db, ageMs / 1000, limit)).map(named);
  }

  /** Uploads whose lease has passed are given up: whoever publishes one later finds its lease lost. */
  async abortExpired(leaseMs: number, limit: number): Promise<PackName[]> {
    return (await retiring.abortExpired(this.#db, leaseMs / 1000, limit)).map(named);
  }

  /** Packs that are nobody's and still have rows of objects, graph, tail, recipes or chunks. */
  async withRows(limit: number): Promise<PackName[]> {
    return (await retiring.packsWithRows(this.#db, limit)).map(named);
  }

  async deleteRows({ poolId, id }: PackName): Promise<void> {
    await retiring.deletePackRows(this.#db, poolId, id);
  }

  /** Crates all of whose packs are nobody's: their bytes may go. */
  async deadCrates(limit: number): Promise<string[]> {
    return retiring.deadCrates(this.#db, limit);
  }

  /** After the bytes of a crate are gone. The number of packs forgotten. */
  async forgetCrate(crateKey: string): Promise<number> {
    return retiring.forgetCrate(this.#db, crateKey);
  }

  /** Packs that are nobody's and have no bytes to wait for. The number of packs forgotten. */
  async forgetWithoutBytes(): Promise<number> {
    return retiring.forgetWithoutBytes(this.#db);
  }

  /** Pools without repositories and packs. The number of pools forgotten. */
  async forgetEmptyPools(): Promise<number> {
    return retiring.forgetEmptyPools(this.#db);
  }

  /** Whether no pack names the crate, and no hold says to keep what the catalog does not know. */
  async isOrphan(crateKey: string): Promise<boolean> {
    return retiring.isOrphan(this.#db, crateKey);
  }

  /** PostgreSQL's clock. */
  async now(): Promise<Date> {
    return retiring.clock(this.#db);
  }

  async holds(): Promise<Hold[]> {
    return (await retiring.holds(this.#db)).map((row) => ({ id: row.id, reason: row.reason, madeAt: row.made_at }));
  }

  /** Releases one hold, or all (`id` null). The number of those that are gone. */
  async releaseHolds(id: number | null): Promise<number> {
    return retiring.releaseHolds(this.#db, id);
  }
}

function named(row: retiring.PackName): PackName {
  return { poolId: row.pool_id, id: row.id };
}
