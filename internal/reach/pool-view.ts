import { PackhouseError } from '../base/mod.ts';
import type { Catalog, ObjectBlock, Pack } from '../catalog/mod.ts';
import { KIND_TREE, type ObjectFormat } from '../object/mod.ts';
import { ObjectReader, type PackBytes, PoolIndex, type StoredObject } from '../packread/mod.ts';
import { CommitGraph } from './graph.ts';
import type { TreeSource } from './tree-walk.ts';

/** What this process knows of one pool: its packs, where objects are, its commits. Extended when packs appear; nothing in it goes stale. */
export class PoolView implements TreeSource {
  readonly poolId: number;
  readonly format: ObjectFormat;
  readonly index: PoolIndex;
  readonly graph: CommitGraph;
  readonly reader: ObjectReader;
  readonly bytes: PackBytes;
  readonly #catalog: Catalog;
  #adding: Promise<void> = Promise.resolve();

  constructor(catalog: Catalog, bytes: PackBytes, poolId: number, format: ObjectFormat) {
    this.#catalog = catalog;
    this.bytes = bytes;
    this.poolId = poolId;
    this.format = format;
    this.index = new PoolIndex(catalog, poolId, format);
    this.graph = new CommitGraph(format);
    this.reader = new ObjectReader(bytes, this.index);
  }

  get memoryBytes(): number {
    return this.index.bytes + this.graph.bytes + this.reader.bytes;
  }

  /** Makes all live packs known (`ids` null), or those that are named. */
  async learn(ids: readonly number[] | null): Promise<void> {
    const turn = this.#adding.then(() => this.#learn(ids));
    this.#adding = turn.catch(() => {});
    return turn;
  }

  async #learn(ids: readonly number[] | null): Promise<void> {
    // All means all that there are now: a fork is seen for the first time long after its pool was.
    const unknown = ids === null ? null : ids.filter((id) => !this.index.packs.has(id));
    if (unknown !== null && unknown.length === 0) return;
    const packs = (await this.#catalog.packs(this.poolId, unknown)).filter((pack) => !this.index.packs.has(pack.id));
    const records = new Map<number, Buffer[]>(packs.map((pack) => [pack.id, []]));
    if (packs.length > 0) {
      for (const block of await this.#catalog.graphBlocks(
        this.poolId,
        packs.map((pack) => pack.id),
      )) {
        records.get(block.packId)?.push(block.records);
      }
    }
    // A push of this process may have brought one meanwhile.
    const fresh = packs.filter((pack) => !this.index.packs.has(pack.id));
    this.graph.addAll(fresh.map((pack) => ({ packId: pack.id, blocks: records.get(pack.id)! })));
    for (const pack of fresh) this.index.add(pack);
  }

  /** Takes in a pack that this process has just published, so that nobody loads it. */
  remember(pack: Pack, blocks: readonly ObjectBlock[], graph: readonly Buffer[], tail: Buffer | null): void {
    if (this.index.packs.has(pack.id)) return;
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
