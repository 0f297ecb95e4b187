import type { Catalog, ObjectBlock, Pack } from '../catalog/mod.ts';
import { type ObjectFormat, OidMap, oidLength } from '../object/mod.ts';

/** Where one object is stored. */
export interface Location {
  readonly pack: Pack;
  readonly kind: number;
  readonly sizeBytes: number;
  /** First byte of the entry in the pack, and the entry's bytes. */
  readonly offset: number;
  readonly lengthBytes: number;
}

/** When a batch asks for more than this part of a pack's blocks, the pack's blocks are all loaded at once. */
const WHOLE_LOAD_PART = 0.25;

interface StoreIndex {
  readonly pack: Pack;
  /** First oid of each block, raw, ascending. */
  directory: Buffer | null;
  readonly blocks: (ObjectBlock | undefined)[];
  /** Once every block is there: oid to row, where row counts through all blocks. */
  map: OidMap | null;
}

/**
 * The object index of one pool, as far as this process has needed it. Tail packs are one hash table; of a store pack the blocks that
 * look-ups touch are loaded, or all of them at once. Packs are immutable, so nothing here is ever stale; a pack that is new is added.
 */
export class PoolIndex {
  readonly poolId: number;
  readonly format: ObjectFormat;
  readonly #catalog: Catalog;
  readonly #oidBytes: number;
  readonly #packs = new Map<number, Pack>();
  readonly #stores: StoreIndex[] = [];
  #tailPending: number[] = [];
  #tailMap: OidMap;
  #tailPacks: Pack[] = [];
  #tailBlocks: ObjectBlock[] = [];
  #tailRows: number[] = [];
  readonly #tailLoaded = new Map<number, ObjectBlock[]>();

  constructor(catalog: Catalog, poolId: number, format: ObjectFormat) {
    this.#catalog = catalog;
    this.poolId = poolId;
    this.format = format;
    this.#oidBytes = oidLength(format);
    this.#tailMap = new OidMap(this.#oidBytes);
  }

  get packs(): ReadonlyMap<number, Pack> {
    return this.#packs;
  }

  /** Bytes held, roughly: what a bound on all pools' indexes counts. */
  get bytes(): number {
    let bytes = this.#tailMap.size * 90;
    for (const store of this.#stores) {
      let objects = store.map === null ? 0 : store.map.size;
      for (const block of store.blocks) if (block !== undefined) objects += block.kinds.length;
      bytes += objects * (this.#oidBytes + 26);
    }
    return bytes;
  }

  /** Makes packs known; `blocks` spares the load where the caller has them. */
  add(pack: Pack, blocks?: readonly ObjectBlock[]): void {
    if (this.#packs.has(pack.id)) return;
    this.#packs.set(pack.id, pack);
    if (pack.tier === 'tail') {
      if (blocks === undefined) this.#tailPending.push(pack.id);
      else this.#addTail(pack, blocks);
      return;
    }
    const store: StoreIndex = { pack, directory: null, blocks: [], map: null };
    this.#stores.push(store);
    if (blocks !== undefined) this.#fill(store, blocks);
  }

  #addTail(pack: Pack, blocks: readonly ObjectBlock[]): void {
    this.#tailLoaded.set(pack.id, [...blocks]);
    for (const block of blocks) {
      for (let row = 0; row < block.kinds.length; row++) {
        const known = this.#tailMap.size;
        this.#tailMap.add(block.oids, row * this.#oidBytes);
        if (this.#tailMap.size === known) continue;
        this.#tailPacks.push(pack);
        this.#tailBlocks.push(block);
        this.#tailRows.push(row);
      }
    }
  }

  #fill(store: StoreIndex, blocks: readonly ObjectBlock[]): void {
    const width = this.#oidBytes;
    store.directory = Buffer.concat(blocks.map((block) => block.oids.subarray(0, width)));
    const map = new OidMap(width, store.pack.objectCount + 1);
    blocks.forEach((block, i) => {
      store.blocks[i] = block;
      for (let row = 0; row < block.kinds.length; row++) map.add(block.oids, row * width);
    });
    store.map = map;
  }

  /** Loads every block of these packs: for enumeration. */
  async loadWhole(packs: readonly Pack[]): Promise<void> {
    await this.#loadTails();
    const missing = this.#stores.filter((store) => store.map === null && packs.includes(store.pack));
    if (missing.length === 0) return;
    const loaded = await this.#catalog.blocks(this.poolId, missing.map((store) => store.pack.id));
    for (const store of missing) this.#fill(store, loaded.get(store.pack.id) ?? []);
  }

  /** All blocks of one pack, ascending by oid; the pack was loaded whole before. */
  blocksOf(pack: Pack): readonly ObjectBlock[] {
    if (pack.tier === 'tail') return this.#tailLoaded.get(pack.id) ?? [];
    return this.#stores.find((store) => store.pack.id === pack.id)!.blocks as ObjectBlock[];
  }

  async #loadTails(): Promise<void> {
    while (this.#tailPending.length > 0) {
      const ids = this.#tailPending;
      this.#tailPending = [];
      try {
        const loaded = await this.#catalog.blocks(this.poolId, ids);
        for (const id of ids) this.#addTail(this.#packs.get(id)!, loaded.get(id) ?? []);
      } catch (error) {
        this.#tailPending.push(...ids);
        throw error;
      }
    }
  }

  /**
   * Where each raw oid is stored, null where the pool has none. Of several copies the choice is the oldest wherever a tail pack is among
   * them: a thin delta was made when its base was there already, so chains over the oldest copies cannot run in a circle.
   */
  async find(oids: Buffer): Promise<(Location | null)[]> {
    await this.#loadTails();
    const width = this.#oidBytes;
    const count = oids.length / width;
    const found: (Location | null)[] = new Array(count).fill(null);
    let open: number[] = [];
    for (let i = 0; i < count; i++) {
      const at = this.#tailMap.get(oids, i * width);
      if (at >= 0) found[i] = location(this.#tailPacks[at]!, this.#tailBlocks[at]!, this.#tailRows[at]!);
      if (at < 0 || this.#tailPacks[at]!.hasDuplicates) open.push(i);
    }
    for (let s = this.#stores.length - 1; s >= 0 && open.length > 0; s--) {
      const store = this.#stores[s]!;
      await this.#loadFor(store, oids, open);
      const still: number[] = [];
      for (const i of open) {
        const hit = this.#findIn(store, oids, i * width);
        if (hit === null) still.push(i);
        else found[i] = older(found[i]!, hit);
      }
      open = still;
    }
    return found;
  }

  /** Like `find` for one oid, but from what is loaded already: undefined when that cannot tell. */
  peek(oids: Buffer, at: number): Location | null | undefined {
    if (this.#tailPending.length > 0) return undefined;
    const tail = this.#tailMap.get(oids, at);
    const inTail = tail < 0 ? null : location(this.#tailPacks[tail]!, this.#tailBlocks[tail]!, this.#tailRows[tail]!);
    if (inTail !== null && !inTail.pack.hasDuplicates) return inTail;
    for (let s = this.#stores.length - 1; s >= 0; s--) {
      const store = this.#stores[s]!;
      if (store.map === null && (store.directory === null || !this.#blockLoaded(store, oids, at))) return undefined;
      const hit = this.#findIn(store, oids, at);
      if (hit !== null) return older(inTail, hit);
    }
    return inTail;
  }

  #blockLoaded(store: StoreIndex, oids: Buffer, at: number): boolean {
    const block = this.#blockFor(store, oids, at);
    return block < 0 || store.blocks[block] !== undefined;
  }

  /** Which block could hold the oid, or -1. */
  #blockFor(store: StoreIndex, oids: Buffer, at: number): number {
    return lastNotAbove(store.directory!, store.directory!.length / this.#oidBytes, this.#oidBytes, oids, at);
  }

  async #loadFor(store: StoreIndex, oids: Buffer, open: readonly number[]): Promise<void> {
    if (store.map !== null) return;
    const width = this.#oidBytes;
    if (store.directory === null) {
      store.directory = (await this.#catalog.blockDirectory(this.poolId, [store.pack.id])).get(store.pack.id) ?? Buffer.alloc(0);
    }
    const wanted = new Set<number>();
    for (const i of open) {
      const block = this.#blockFor(store, oids, i * width);
      if (block >= 0 && store.blocks[block] === undefined) wanted.add(block);
    }
    if (wanted.size === 0) return;
    if (wanted.size > 8 && wanted.size > (store.directory.length / width) * WHOLE_LOAD_PART) {
      return this.loadWhole([store.pack]);
    }
    const { directory } = store;
    const rows = await this.#catalog.blocksAt(
      this.poolId,
      [...wanted].map((block) => ({ packId: store.pack.id, firstOid: directory.subarray(block * width, (block + 1) * width) })),
    );
    for (const row of rows) store.blocks[this.#blockFor(store, row.firstOid, 0)] = row.block;
  }

  #findIn(store: StoreIndex, oids: Buffer, at: number): Location | null {
    const width = this.#oidBytes;
    if (store.map !== null && store.map.get(oids, at) < 0) return null;
    const number = this.#blockFor(store, oids, at);
    const block = number < 0 ? undefined : store.blocks[number];
    if (block === undefined) return null;
    const row = lastNotAbove(block.oids, block.kinds.length, width, oids, at);
    if (row < 0 || block.oids.compare(oids, at, at + width, row * width, (row + 1) * width) !== 0) return null;
    return location(store.pack, block, row);
  }
}

function older(tail: Location | null, store: Location): Location {
  return tail !== null && tail.pack.id < store.pack.id ? tail : store;
}

function location(pack: Pack, block: ObjectBlock, row: number): Location {
  return {
    pack,
    kind: block.kinds[row]!,
    sizeBytes: block.sizes[row]!,
    offset: block.offsets[row]!,
    lengthBytes: block.lengths[row]!,
  };
}

/** The last of `count` ascending oids that is not above `oids[at]`, or -1. */
function lastNotAbove(sorted: Buffer, count: number, width: number, oids: Buffer, at: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted.compare(oids, at, at + width, middle * width, (middle + 1) * width) > 0) high = middle;
    else low = middle + 1;
  }
  return low - 1;
}
