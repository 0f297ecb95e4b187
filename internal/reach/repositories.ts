import type { Catalog, Ref } from '../catalog/mod.ts';
import type { PackBytes } from '../packread/mod.ts';
import { PoolView } from './pool-view.ts';
import { RepositoryView, sortRefs } from './repository-view.ts';

/** Summing up what is held costs a little, so it is done once in so many requests. */
const EVICTION_INTERVAL = 32;

interface Slot {
  view: RepositoryView | null;
  running: Promise<RepositoryView | null> | null;
  /** Asked for while one was running: begins after it, and serves everyone who asked meanwhile. */
  waiting: Promise<RepositoryView | null> | null;
}

/**
 * The repositories that this process has lately served. Each request asks the catalog once what has changed (`open`), so every process
 * sees every push that was acknowledged before the request came, whoever took it. Bounded by bytes: the least recently used go.
 */
export class Repositories {
  readonly #catalog: Catalog;
  readonly #bytes: PackBytes;
  readonly #memoryBytesMax: number;
  readonly #slots = new Map<string, Slot>();
  readonly #pools = new Map<number, PoolView>();
  #sinceEviction = 0;

  constructor(catalog: Catalog, bytes: PackBytes, memoryBytesMax: number) {
    this.#catalog = catalog;
    this.#bytes = bytes;
    this.#memoryBytesMax = memoryBytesMax;
  }

  /** The repository as it is now, null when there is none of that name. */
  async open(owner: string, name: string): Promise<RepositoryView | null> {
    const key = `${owner}/${name}`;
    let slot = this.#slots.get(key);
    if (slot === undefined) {
      slot = { view: null, running: null, waiting: null };
    } else {
      this.#slots.delete(key);
    }
    this.#slots.set(key, slot);
    if (slot.running === null) return this.#run(slot, owner, name);
    if (slot.waiting === null) {
      const again = (): Promise<RepositoryView | null> => {
        slot.waiting = null;
        return this.#run(slot, owner, name);
      };
      slot.waiting = slot.running.then(again, again);
    }
    return slot.waiting;
  }

  #run(slot: Slot, owner: string, name: string): Promise<RepositoryView | null> {
    const run = this.#refresh(slot, owner, name).finally(() => {
      if (slot.running === run) slot.running = null;
    });
    slot.running = run;
    return run;
  }

  async #refresh(slot: Slot, owner: string, name: string): Promise<RepositoryView | null> {
    const before = slot.view;
    const state = await this.#catalog.repositoryState(owner, name, before === null ? null : before);
    if (state === null) {
      slot.view = null;
      this.#slots.delete(`${owner}/${name}`);
      return null;
    }
    if (before !== null && !state.full) {
      // Its own pool, even if that was evicted meanwhile: another one does not know what the view has seen.
      this.#touch(before.pool);
      if (state.newPacks.length > 0) await before.pool.learn(state.newPacks);
      slot.view = before.next(state);
    } else {
      const pool = this.#pool(state.poolId, state.format);
      await pool.learn(null);
      slot.view = new RepositoryView(
        owner,
        name,
        pool,
        state,
        sortRefs(state.refs.filter((ref): ref is Ref => ref.oid !== null)),
      );
    }
    this.#evict();
    return slot.view;
  }

  #pool(poolId: number, format: RepositoryView['format']): PoolView {
    const pool = this.#pools.get(poolId) ?? new PoolView(this.#catalog, this.#bytes, poolId, format);
    this.#touch(pool);
    return pool;
  }

  #touch(pool: PoolView): void {
    this.#pools.delete(pool.poolId);
    this.#pools.set(pool.poolId, pool);
  }

  /** Forgets the least recently used pools, and the repositories that show them, until the rest fits. One always stays. */
  #evict(): void {
    if (++this.#sinceEviction < EVICTION_INTERVAL) return;
    this.#sinceEviction = 0;
    let bytes = 0;
    for (const pool of this.#pools.values()) bytes += pool.memoryBytes + 10_000;
    for (const [id, pool] of this.#pools) {
      if (bytes <= this.#memoryBytesMax || this.#pools.size === 1) break;
      bytes -= pool.memoryBytes + 10_000;
      this.#pools.delete(id);
      for (const [key, slot] of this.#slots) if (slot.view?.pool === pool && slot.running === null) this.#slots.delete(key);
    }
  }
}
