import { PackhouseError } from '../base/mod.ts';
import { type Catalog, isSharedPool, type ObjectBlock, type Pack } from '../catalog/mod.ts';
import { KIND_TREE, type ObjectFormat } from '../object/mod.ts';
import { ObjectReader, type PackBytes, PoolIndex, type StoredObject } from '../packread/mod.ts';
import { CommitGraph } from './graph.ts';
import { PackReaches } from './pack-reach.ts';
import type { TreeSource } from './tree-walk.ts';

/** How long a pool that was one repository's is taken for that. */
const OWN_MS = 10_000;

/**
 * What this process knows of one pool: its packs, where objects are, its commits. Extended when packs appear, never cut: when others take the
 * place of packs that it shows, a new view takes its place, and requests that run keep this one.
 */
export class PoolView implements TreeSource {
  readonly poolId: number;
  readonly format: ObjectFormat;
  readonly index: PoolIndex;
  readonly graph: CommitGraph;
  readonly reader: ObjectReader;
  readonly bytes: PackBytes;
  /** Reachability bitmaps of packs. */
  readonly reaches: PackReaches;
  readonly #catalog: Catalog;
  /** Packs whose place others have taken: they are not shown any more, whoever still tells of them. */
  readonly #replaced = new Set<number>();
  #adding: Promise<unknown> = Promise.resolve();
  #isShared = false;
  #isOwnUntil = Number.NEGATIVE_INFINITY;

  constructor(catalog: Catalog, bytes: PackBytes, poolId: number, format: ObjectFormat, graph = new CommitGraph(format)) {
    this.#catalog = catalog;
    this.bytes = bytes;
    this.poolId = poolId;
    this.format = format;
    this.index = new PoolIndex(catalog, poolId, format);
    this.graph = graph;
    this.reader = new ObjectReader(bytes, this.index);
    this.reaches = new PackReaches(bytes, this.index, this.graph);
  }

  get memoryBytes(): number {
    return this.index.bytes + this.graph.bytes + this.reader.bytes + this.reaches.bytes;
  }

  /**
   * Makes all live packs known: after it this view is right for whatever was published before the call. False when it shows a pack that is not
   * live any more: then another view is to take its place. Whoever comes to this view so is not told of chunks that moved before.
   */
  async sync(): Promise<boolean> {
    return this.#inTurn(async () => {
      this.reader.chunked.forget();
      const packs = await this.#catalog.packs(this.poolId, null);
      const live = new Set(packs.map((pack) => pack.id));
      for (const id of this.index.packs.keys()) if (!live.has(id)) return false;
      await this.#load(packs);
      return true;
    });
  }

  /** Takes in what has changed since it was loaded. False when it shows a pack that was replaced: then another view is to take its place. */
  async follow(added: readonly number[], replaced: readonly number[]): Promise<boolean> {
    if (added.length === 0 && replaced.length === 0) return true;
    return this.#inTurn(async () => {
      for (const id of replaced) this.#replaced.add(id);
      if (replaced.some((id) => this.index.packs.has(id))) return false;
      // What is not in the index is a pack of chunks, or was replaced before it was seen here.
      if (replaced.length > 0) this.reader.chunked.forget();
      const unknown = added.filter((id) => !this.index.packs.has(id) && !this.#replaced.has(id));
      if (unknown.length > 0) await this.#load(await this.#catalog.packs(this.poolId, unknown));
      return true;
    });
  }

  /** A view of the packs that are live now, for the place of this one; what this one has loaded of packs that stay is taken over. */
  async successor(): Promise<PoolView> {
    const packs = await this.#catalog.packs(this.poolId, null);
    const live = new Set(packs.map((pack) => pack.id));
    const graph = this.graph.without(new Set([...this.index.packs.keys()].filter((id) => !live.has(id))));
    let view = new PoolView(this.#catalog, this.bytes, this.poolId, this.format, graph ?? new CommitGraph(this.format));
    await view.#load(packs);
    // What another pack has too was known by the one that went: only a new graph knows it by the other.
    if (!view.graph.isWhole) {
      view = new PoolView(this.#catalog, this.bytes, this.poolId, this.format);
      await view.#load(packs);
    }
    view.index.adopt(this.index);
    view.reaches.adopt(this.reaches);
    return view;
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#adding.then(work);
    this.#adding = turn.catch(() => {});
    return turn;
  }

  async #load(found: readonly Pack[]): Promise<void> {
    const packs = found.filter((pack) => !this.index.packs.has(pack.id));
    const missing = packs.filter((pack) => !this.graph.has(pack.id));
    const records = new Map<number, Buffer[]>(missing.map((pack) => [pack.id, []]));
    if (missing.length > 0) {
      const blocks = await this.#catalog.graphBlocks(this.poolId, missing);
      for (const block of blocks) records.get(block.packId)?.push(block.records);
    }
    // A push of this process may have brought one meanwhile.
    const fresh = packs.filter((pack) => !this.index.packs.has(pack.id));
    const unknown = fresh.filter((pack) => !this.graph.has(pack.id));
    this.graph.addAll(unknown.map((pack) => ({ packId: pack.id, blocks: records.get(pack.id)! })));
    for (const pack of fresh) this.index.add(pack);
  }

  /** Whether another repository has, or had, objects here: then nothing may tell of them, not even the time that an answer takes. */
  async isShared(): Promise<boolean> {
    if (this.#isShared || performance.now() < this.#isOwnUntil) return this.#isShared;
    this.#isShared = await isSharedPool(this.#catalog, this.poolId);
    this.#isOwnUntil = performance.now() + OWN_MS;
    return this.#isShared;
  }

  /** Takes in a pack that this process has just published, so that nobody loads it. */
  remember(pack: Pack, blocks: readonly ObjectBlock[], graph: readonly Buffer[], tail: Buffer | null): void {
    if (this.index.packs.has(pack.id) || this.#replaced.has(pack.id)) return;
    this.graph.add(pack.id, graph);
    this.index.add(pack, blocks);
    if (tail !== null) this.bytes.remember(this.poolId, pack.id, tail);
  }

  /** An object of the pool by its oid, null when there is none. Says nothing about who may see it. */
  async read(oid: Buffer, signal?: AbortSignal): Promise<StoredObject | null> {
    const location = this.index.peek(oid, 0) ?? (await this.index.find(oid))[0] ?? null;
    return location === null ? null : this.reader.read(location, signal);
  }

  /** A tree that a link names: its absence is a broken promise, not an answer. */
  tree(oid: Buffer): Buffer | Promise<Buffer> {
    const location = this.index.peek(oid, 0);
    if (location) {
      const result = this.reader.tryRead(location);
      if ('kind' in result && result.kind === KIND_TREE) return result.data;
    }
    return this.#treeLater(Buffer.from(oid));
  }

  async #treeLater(oid: Buffer): Promise<Buffer> {
    const object = await this.read(oid);
    if (object?.kind !== KIND_TREE) {
      throw new PackhouseError('object-missing', `tree ${oid.toString('hex')} is missing from pool ${this.poolId}`);
    }
    return object.data;
  }
}
