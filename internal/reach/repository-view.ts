import { codeOf } from '../base/mod.ts';
import type { BitSet } from '../bitmap/mod.ts';
import type { Pack, RepositoryState } from '../catalog/mod.ts';
import { followedHead } from '../catalog/mod.ts';
import type { ObjectFormat, OidMap } from '../object/mod.ts';
import { commitRange } from './ancestry.ts';
import type { LayeredRefs } from './layered-refs.ts';
import { flood, NodeSet } from './marks.ts';
import type { PackReach } from './pack-reach.ts';
import type { PoolView } from './pool-view.ts';

/** A ref, and what is made of it for clients: measured with a million. */
const REF_BYTES = 750;

/** Some objects of a pack that has bitmaps: a set of positions. */
export interface PackPart {
  readonly reach: PackReach;
  readonly set: BitSet;
}

/** Trees and blobs: those of a part of a pack, others, and those of what it goes on from. */
export interface Closure {
  readonly base: Closure | null;
  readonly part: PackPart | null;
  readonly seen: OidMap;
}

/**
 * One repository as of one snapshot of the catalog. Never changed once made (its caches only fill), so that a request that began with
 * it goes on with it. `next` makes the following one.
 */
export class RepositoryView {
  readonly id: number;
  readonly owner: string;
  readonly name: string;
  readonly format: ObjectFormat;
  readonly private: boolean;
  readonly snapshot: string;
  /** The pool's: moves when something of it was condemned. */
  readonly sweepEpoch: number;
  readonly pool: PoolView;
  /** By name, in byte order of names. */
  readonly refs: LayeredRefs;
  /** The branch that HEAD names, existing or not. */
  readonly head: string;
  /** Whether HEAD's branch was chosen (by an operator, or by pushing main or master) rather than followed. */
  readonly headChosen: boolean;
  /** Answers that are made once per state, by the rooms that make them. */
  readonly memo = new Map<string, unknown>();
  /** The same of what holds for one view of the pool alone. */
  readonly poolMemo = new Map<string, unknown>();
  /** What this is with more tips. */
  readonly base: RepositoryView | null;
  #reached: NodeSet | null = null;
  #reachedPacks = new Map<number, boolean>();
  #packPart: Promise<PackPart | null> | null = null;
  /** Every tree and blob that the refs reach, once they were all found. */
  closure: Closure | null = null;

  constructor(
    owner: string,
    name: string,
    pool: PoolView,
    state: RepositoryState,
    refs: LayeredRefs,
    base: RepositoryView | null = null,
  ) {
    this.id = state.id;
    this.owner = owner;
    this.name = name;
    this.format = state.format;
    this.private = state.private;
    this.snapshot = state.snapshot;
    this.sweepEpoch = state.sweepEpoch;
    this.pool = pool;
    this.refs = refs;
    this.base = base;
    this.headChosen = state.head !== null;
    this.head = state.head ?? followedHead(refs.values());
  }

  /** Encoded answers among the memo. */
  get memoBytes(): number {
    let bytes = 0;
    for (const value of this.memo.values()) if (value instanceof Buffer) bytes += value.length;
    return bytes;
  }

  /** What it holds beside the pool's view, by estimate. */
  get memoryBytes(): number {
    return this.memoBytes + this.refs.size * REF_BYTES;
  }

  /** The view of the state that follows; what this one has found out goes over as far as it still holds. `pool`: the view of the pool by now. */
  next(state: RepositoryState, pool: PoolView = this.pool): RepositoryView {
    const head = state.head ?? null;
    const sameHead = head === null ? !this.headChosen : this.headChosen && head === this.head;
    const refs = state.refs.length === 0 ? this.refs : this.refs.with(state.refs);
    const view = new RepositoryView(this.owner, this.name, pool, state, refs);
    if (state.refs.length === 0) {
      view.closure = pool === this.pool || this.closure?.part === null ? this.closure : null;
      if (sameHead && state.private === this.private) for (const [key, value] of this.memo) view.memo.set(key, value);
    }
    // Numbers of commits, and packs, are those of one view of the pool.
    if (pool !== this.pool) return view;
    if (state.refs.length === 0) {
      for (const [key, value] of this.poolMemo) view.poolMemo.set(key, value);
      view.#packPart = this.#packPart;
      view.#reached = this.#reached;
      view.#reachedPacks = this.#reachedPacks;
    } else if (this.#reached !== null && this.#onlyGrew(state)) {
      view.#reached = this.#reached;
      for (const ref of state.refs) if (ref.oid !== null) flood(this.pool.graph, view.#reached, this.pool.graph.find(ref.oid));
      // A pack that was reached whole still is; one that was not may be now.
      for (const [pack, whole] of this.#reachedPacks) if (whole) view.#reachedPacks.set(pack, true);
    }
    return view;
  }

  /** This state with another view of the pool or other refs. */
  #copy(pool: PoolView, refs: LayeredRefs, base: RepositoryView | null): RepositoryView {
    const state = {
      id: this.id,
      poolId: pool.poolId,
      format: this.format,
      head: this.headChosen ? this.head : null,
      private: this.private,
      snapshot: this.snapshot,
      full: false,
      refs: [],
      newPacks: [],
      removedPacks: [],
      sweepEpoch: this.sweepEpoch,
    };
    return new RepositoryView(this.owner, this.name, pool, state, refs, base);
  }

  /** The same as if those raw oids, which the log of pushes has of its refs, were refs too: only for telling what is reached. Itself when they are. */
  withTips(tips: readonly Buffer[]): RepositoryView {
    const lost = tips.filter((tip) => !this.reached().has(this.pool.graph.find(tip)));
    if (lost.length === 0) return this;
    const named = lost.map((oid, i) => ({ name: `logged/${i}`, oid, peeled: null, createdPush: 0 }));
    return this.#copy(this.pool, this.refs.with(named), this);
  }

  /** The same state on another view of the pool, which shows at least what this one does. */
  on(pool: PoolView): RepositoryView {
    const view = this.#copy(pool, this.refs, null);
    // Part of a pack that may not be shown any more is of no use.
    if (this.closure?.part === null) view.closure = this.closure;
    for (const [key, value] of this.memo) view.memo.set(key, value);
    return view;
  }

  /** Whether no changed ref has let go of history: created, or moved forward. */
  #onlyGrew(state: RepositoryState): boolean {
    const { graph } = this.pool;
    for (const ref of state.refs) {
      const before = this.refs.get(ref.name);
      if (before === undefined) continue;
      if (ref.oid === null) return false;
      if (before.oid.equals(ref.oid)) continue;
      const from = graph.find(before.oid);
      const to = graph.find(ref.oid);
      if (from < 0 || to < 0 || !graph.isCommit(from) || !graph.isCommit(to)) return false;
      if (commitRange(graph, [from], [to]).commits.length > 0) return false;
    }
    return true;
  }

  /** Commits and tags that this repository's own refs reach. */
  reached(): NodeSet {
    if (this.#reached === null) {
      const { graph } = this.pool;
      const reached = new NodeSet();
      for (const ref of this.refs.values()) flood(graph, reached, graph.find(ref.oid));
      this.#reached = reached;
    }
    return this.#reached;
  }

  /** Whether everything in a pack is reached: all of it hangs on tips that are. */
  packReached(pack: Pack): boolean {
    const known = this.#reachedPacks.get(pack.id);
    if (known !== undefined) return known;
    const whole = pack.allReached && tipsWithin(this.pool, pack, this.reached());
    this.#reachedPacks.set(pack.id, whole);
    return whole;
  }

  /**
   * What the refs reach of the largest pack that has bitmaps, as a set of its positions: all of it that commits of the pack lead to. Null when no
   * pack has them, or when they are of no use.
   */
  async reachedInPack(): Promise<PackPart | null> {
    this.#packPart ??= this.#findPackPart().catch((error: unknown) => {
      this.#packPart = null;
      throw error;
    });
    return this.#packPart;
  }

  async #findPackPart(): Promise<PackPart | null> {
    const { pool } = this;
    const reach = await pool.reaches.largest();
    if (reach === null) return null;
    const nodes: number[] = [];
    const reached = this.reached();
    for (let node = 0; node < pool.graph.size; node++)
      if (reached.has(node) && pool.graph.isCommit(node) && reach.positionOfNode(node) >= 0) nodes.push(node);
    const set = reach.emptySet();
    try {
      await reach.addReached(set, nodes, pool, this.format);
    } catch (error) {
      if (codeOf(error) !== 'bad-bitmap') throw error;
      pool.reaches.distrust(reach.pack);
      return null;
    }
    return { reach, set };
  }

  /** The oid that HEAD resolves to, null while unborn. */
  headOid(): Buffer | null {
    return this.refs.get(this.head)?.oid ?? null;
  }
}

/** Whether all tips of a pack are in a set of nodes. A pack without tips is within none. */
export function tipsWithin(pool: PoolView, pack: Pack, nodes: NodeSet): boolean {
  const width = pool.graph.oidBytes;
  if (pack.tips.length === 0) return false;
  for (let at = 0; at < pack.tips.length; at += width) {
    const node = pool.graph.find(pack.tips, at);
    if (node < 0 || !nodes.has(node)) return false;
  }
  return true;
}
