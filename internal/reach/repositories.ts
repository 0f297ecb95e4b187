import type { Catalog, Ref, RepositoryState } from '../catalog/mod.ts';
import type { PackBytes } from '../packread/mod.ts';
import { LayeredRefs } from './layered-refs.ts';
import { PoolView } from './pool-view.ts';
import { RepositoryView } from './repository-view.ts';

/** Summing up what is held costs a little, so it is done once in so many requests. */
const EVICTION_INTERVAL = 32;
/** A repository with so many refs is summed up at once. */
const REFS_MANY = 10_000;

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
  #part = 1;
  readonly #slots = new Map<string, Slot>();
  /** Of each pool the newest view; requests that run may have older ones. */
  readonly #pools = new Map<number, PoolView>();
  /** Forgotten ones, as long as a request runs on them: a second view would take as much again. */
  readonly #forgotten = new Map<number, WeakRef<PoolView>>();
  readonly #renewing = new Map<number, Promise<unknown>>();
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
      slot.view = before.next(state, await this.#follow(before.pool, state));
    } else {
      const pool = await this.#newest(state.poolId, state.format, null);
      slot.view = new RepositoryView(
        owner,
        name,
        pool,
        state,
        LayeredRefs.of(state.refs.filter((ref): ref is Ref => ref.oid !== null)),
      );
    }
    if (++this.#sinceEviction >= EVICTION_INTERVAL || slot.view.refs.size >= REFS_MANY) this.#evict();
    return slot.view;
  }

  /** The view of the pool for the state that follows one on `pool`: the same as far as it goes. */
  async #follow(pool: PoolView, state: RepositoryState): Promise<PoolView> {
    const current = this.#pools.get(pool.poolId);
    // One that was evicted meanwhile is taken up again; one that another has taken the place of is left.
    if (current === undefined || current === pool) {
      this.#touch(pool);
      if (await pool.follow(state.newPacks, state.removedPacks)) return pool;
    }
    return this.#newest(pool.poolId, pool.format, pool);
  }

  /**
   * The view that shows all live packs of a pool and none that was replaced: the one there is, or a new one. `outdated` is a view that is known
   * to show a replaced pack. One at a time for a pool, so that repositories of one pool share the new view.
   */
  async #newest(poolId: number, format: RepositoryView['format'], outdated: PoolView | null): Promise<PoolView> {
    const before = this.#renewing.get(poolId) ?? Promise.resolve();
    const turn = before.then(() => this.#renew(poolId, format, outdated));
    const settled = turn.catch(() => {});
    this.#renewing.set(poolId, settled);
    try {
      return await turn;
    } finally {
      if (this.#renewing.get(poolId) === settled) this.#renewing.delete(poolId);
    }
  }

  async #renew(poolId: number, format: RepositoryView['format'], outdated: PoolView | null): Promise<PoolView> {
    const current = this.#pools.get(poolId) ?? this.#forgotten.get(poolId)?.deref();
    if (current !== undefined && current !== outdated && (await current.sync())) {
      this.#touch(current);
      return current;
    }
    const before = current ?? outdated;
    const fresh = before === null ? new PoolView(this.#catalog, this.#bytes, poolId, format) : await before.successor();
    if (before === null) await fresh.sync();
    this.#touch(fresh);
    // Others of the pool go over to it, so that the old one is let go once the requests that run on it have ended.
    for (const slot of this.#slots.values()) {
      if (slot.view?.pool.poolId === poolId && slot.running === null) slot.view = slot.view.on(fresh);
    }
    return fresh;
  }

  #touch(pool: PoolView): void {
    this.#forgotten.delete(pool.poolId);
    this.#pools.delete(pool.poolId);
    this.#pools.set(pool.poolId, pool);
  }

  /** From now on it holds this part of its bound: of 0 to 1. */
  limitTo(part: number): void {
    this.#part = part;
    this.#evict();
  }

  /** Forgets the least recently used pools, and the repositories that show them, until the rest fits. One always stays. */
  #evict(): void {
    this.#sinceEviction = 0;
    const held = new Map<number, number>();
    let bytes = 0;
    const add = (poolId: number, more: number): void => {
      held.set(poolId, (held.get(poolId) ?? 0) + more);
      bytes += more;
    };
    for (const pool of this.#pools.values()) add(pool.poolId, pool.memoryBytes + 10_000);
    for (const { view } of this.#slots.values()) if (view !== null) add(view.pool.poolId, view.memoryBytes);
    for (const [id, view] of this.#forgotten) if (view.deref() === undefined) this.#forgotten.delete(id);
    const gone = new Set<number>();
    for (const [id, pool] of this.#pools) {
      if (bytes <= this.#memoryBytesMax * this.#part || this.#pools.size === 1) break;
      bytes -= held.get(id) ?? 0;
      this.#pools.delete(id);
      this.#forgotten.set(id, new WeakRef(pool));
      gone.add(id);
    }
    if (gone.size === 0) return;
    for (const [key, { view, running }] of this.#slots)
      if (view !== null && running === null && gone.has(view.pool.poolId)) this.#slots.delete(key);
  }
}
