import type { Catalog, ObjectBlock, Pack } from '../catalog/mod.ts';
import { type ObjectFormat, OidMap, oidLength } from '../object/mod.ts';
import { breath } from './breath.ts';
import { type Copy, keptBlock, keptPack, type Location, lastNotAbove, location, older } from './location.ts';

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
  readonly #tailPending: number[] = [];
  #tailLoading: Promise<void> | null = null;
  #tailMap: OidMap;
  /** By index in #tailMap: the copy in the oldest tail pack. */
  readonly #tailCopies: Copy[] = [];
  /** By index in #tailMap: the copies in younger tail packs. */
  readonly #tailMore = new Map<number, Copy[]>();
  readonly #tailLoaded = new Map<number, ObjectBlock[]>();
  /** Packs of which no two hold the same object, and packs that hold one of theirs. */
  readonly #apart = new Set<number>();
  readonly #sharing = new Set<number>();
  #comparing: Promise<unknown> = Promise.resolve();

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
    let bytes = this.#tailMap.size * 130;
    for (const store of this.#stores) {
      let objects = store.map === null ? 0 : store.map.size;
      for (const block of store.blocks) if (block !== undefined) objects += block.kinds.length;
      bytes += objects * (this.#oidBytes + 26);
    }
    return bytes;
  }

  /** Makes packs known; `blocks` spares the load where the caller has them. */
  add(added: Pack, blocks?: readonly ObjectBlock[]): void {
    if (this.#packs.has(added.id)) return;
    const pack = keptPack(added);
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

  /** Takes over what another index of the pool has loaded of packs that both know, so that it is not loaded again. */
  adopt(from: PoolIndex): void {
    const loaded = new Map(from.#stores.map((store) => [store.pack.id, store]));
    this.#stores.forEach((store, i) => {
      const known = loaded.get(store.pack.id);
      if (known !== undefined && store.directory === null)
        this.#stores[i] = { ...known, pack: store.pack, blocks: [...known.blocks] };
    });
    for (const id of this.#tailPending.splice(0)) {
      const blocks = from.#tailLoaded.get(id);
      if (blocks === undefined) this.#tailPending.push(id);
      else this.#addTail(this.#packs.get(id)!, blocks);
    }
  }

  #addTail(pack: Pack, blocks: readonly ObjectBlock[]): void {
    this.#tailLoaded.set(pack.id, blocks.map(keptBlock));
    for (const block of this.blocksOf(pack)) {
      for (let row = 0; row < block.kinds.length; row++) {
        const known = this.#tailMap.size;
        const at = this.#tailMap.add(block.oids, row * this.#oidBytes);
        const copy = { pack, block, row };
        if (at === known) this.#tailCopies.push(copy);
        else this.#addCopy(at, copy);
      }
    }
  }

  #addCopy(at: number, copy: Copy): void {
    const first = this.#tailCopies[at]!;
    const isOlder = copy.pack.id < first.pack.id;
    if (isOlder) this.#tailCopies[at] = copy;
    const more = this.#tailMore.get(at);
    if (more === undefined) this.#tailMore.set(at, [isOlder ? first : copy]);
    else more.push(isOlder ? first : copy);
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
    const ids = new Set(packs.map((pack) => pack.id));
    const missing = this.#stores.filter((store) => store.map === null && ids.has(store.pack.id));
    if (missing.length === 0) return;
    const loaded = await this.#catalog.blocks(
      this.poolId,
      missing.map((store) => store.pack),
    );
    for (const store of missing) this.#fill(store, loaded.get(store.pack.id) ?? []);
  }

  /** All blocks of one pack, ascending by oid; the pack was loaded whole before. */
  blocksOf(pack: Pack): readonly ObjectBlock[] {
    if (pack.tier === 'tail') return this.#tailLoaded.get(pack.id) ?? [];
    return this.#stores.find((store) => store.pack.id === pack.id)!.blocks as ObjectBlock[];
  }

  /** The rows of a store pack by oid, counted through all its blocks; null until it is loaded whole. */
  rowsOf(pack: Pack): OidMap | null {
    return this.#stores.find((store) => store.pack.id === pack.id)?.map ?? null;
  }

  /** Loads the tail packs that were added without their blocks. Whoever comes meanwhile waits: until it is done nothing can be told absent. */
  async #loadTails(): Promise<void> {
    while (this.#tailPending.length > 0) {
      this.#tailLoading ??= this.#loadPending().finally(() => {
        this.#tailLoading = null;
      });
      await this.#tailLoading;
    }
  }

  async #loadPending(): Promise<void> {
    const packs = this.#tailPending.map((id) => this.#packs.get(id)!);
    const loaded = await this.#catalog.blocks(this.poolId, packs);
    for (const pack of packs) this.#addTail(pack, loaded.get(pack.id) ?? []);
    this.#tailPending.splice(0, packs.length);
  }

  /**
   * Where each raw oid is stored, null where the pool has none. Of several copies the choice is the oldest wherever a tail pack is among
   * them, so that what a thin delta is based on comes from an older pack than the delta.
   */
  async find(oids: Buffer): Promise<(Location | null)[]> {
    await this.#loadTails();
    const width = this.#oidBytes;
    const count = oids.length / width;
    const found: (Location | null)[] = new Array(count).fill(null);
    let open: number[] = [];
    for (let i = 0; i < count; i++) {
      const pause = breath();
      if (pause) await pause;
      const at = this.#tailMap.get(oids, i * width);
      const copy = at < 0 ? null : this.#tailCopies[at]!;
      if (copy !== null) found[i] = location(copy);
      if (copy === null || copy.pack.hasDuplicates) open.push(i);
    }
    for (let s = this.#stores.length - 1; s >= 0 && open.length > 0; s--) {
      const store = this.#stores[s]!;
      await this.#loadFor(store, oids, open);
      const still: number[] = [];
      for (const i of open) {
        const pause = breath();
        if (pause) await pause;
        const hit = this.#findIn(store, oids, i * width);
        if (hit === null) still.push(i);
        else found[i] = older(found[i]!, hit);
      }
      open = still;
    }
    return found;
  }

  /** For each raw oid 1 where the pool has it, else 0. */
  async has(oids: Buffer): Promise<Uint8Array> {
    await this.#loadTails();
    const width = this.#oidBytes;
    const found = new Uint8Array(oids.length / width);
    let open: number[] = [];
    for (let i = 0; i < found.length; i++) if (!this.#tailMap.has(oids, i * width)) open.push(i);
    found.fill(1);
    for (let s = this.#stores.length - 1; s >= 0 && open.length > 0; s--) {
      const store = this.#stores[s]!;
      await this.#loadFor(store, oids, open);
      const { map } = store;
      open = open.filter((i) => (map === null ? this.#findIn(store, oids, i * width) === null : !map.has(oids, i * width)));
    }
    for (const i of open) found[i] = 0;
    return found;
  }

  /** Like `find` for one oid, but from what is loaded already: undefined when that cannot tell. */
  peek(oids: Buffer, at: number): Location | null | undefined {
    if (this.#tailPending.length > 0) return undefined;
    const tail = this.#tailMap.get(oids, at);
    const inTail = tail < 0 ? null : location(this.#tailCopies[tail]!);
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
    return location({ pack: store.pack, block, row });
  }

  /** Where some of the packs hold each raw oid: the copy in the oldest of them, null where none does. */
  async among(oids: Buffer, accepts: (pack: Pack) => boolean): Promise<(Location | null)[]> {
    await this.#loadTails();
    const count = oids.length / this.#oidBytes;
    const all = Array.from({ length: count }, (_, i) => i);
    for (const store of this.#stores) if (accepts(store.pack)) await this.#loadFor(store, oids, all);
    const found: (Location | null)[] = [];
    for (const i of all) {
      const pause = breath();
      if (pause) await pause;
      found.push(this.peekAmong(oids, i * this.#oidBytes, accepts) ?? null);
    }
    return found;
  }

  /** Like `among` for one oid, but from what is loaded already: undefined when that cannot tell. */
  peekAmong(oids: Buffer, at: number, accepts: (pack: Pack) => boolean): Location | null | undefined {
    if (this.#tailPending.length > 0) return undefined;
    let found: Location | null = null;
    const tail = this.#tailMap.get(oids, at);
    for (const copy of tail < 0 ? [] : this.#copies(tail)) {
      if (accepts(copy.pack) && (found === null || copy.pack.id < found.pack.id)) found = location(copy);
    }
    for (const store of this.#stores) {
      if (!accepts(store.pack)) continue;
      if (store.map === null && (store.directory === null || !this.#blockLoaded(store, oids, at))) return undefined;
      const hit = this.#findIn(store, oids, at);
      if (hit !== null && (found === null || hit.pack.id < found.pack.id)) found = hit;
    }
    return found;
  }

  /**
   * All places of the base that a delta of `pack` names by oid, the likeliest first: its own copy, then those of store packs, which lack no base,
   * then those of tail packs. Copies of the same objects in several packs may be deltas of each other, so one place may lead in a circle; another
   * does not. Undefined when what is loaded cannot tell.
   */
  peekBases(pack: Pack, oids: Buffer, at: number): readonly Location[] | undefined {
    const own = this.peekAmong(oids, at, (candidate) => candidate.id === pack.id);
    if (own === undefined) return undefined;
    if (own !== null && !pack.hasDuplicates && pack.tier === 'store') return [own];
    const places = own === null ? [] : [own];
    for (const store of this.#stores) {
      if (store.pack.id === pack.id) continue;
      const hit = this.peekAmong(oids, at, (candidate) => candidate === store.pack);
      if (hit === undefined) return undefined;
      if (hit !== null) places.push(hit);
    }
    const tail = this.#tailMap.get(oids, at);
    for (const copy of tail < 0 ? [] : this.#copies(tail)) if (copy.pack.id !== pack.id) places.push(location(copy));
    return places;
  }

  /** Loads what `peekBases` needs to tell. */
  async loadForBase(oid: Buffer): Promise<void> {
    await this.among(oid, () => true);
  }

  #copies(at: number): readonly Copy[] {
    const more = this.#tailMore.get(at);
    return more === undefined ? [this.#tailCopies[at]!] : [this.#tailCopies[at]!, ...more];
  }

  /**
   * Whether two of these packs may hold the same object. A push notes what it finds in the pool when it comes; two that come at the same
   * time do not see each other, so packs are compared here as well, each once in the life of this process.
   */
  async mayShare(packs: readonly Pack[]): Promise<boolean> {
    if (packs.some((pack) => pack.hasDuplicates)) return true;
    const turn = this.#comparing.then(() => this.#compareAll(packs));
    this.#comparing = turn.catch(() => {});
    await turn;
    return packs.some((pack) => this.#sharing.has(pack.id));
  }

  async #compareAll(packs: readonly Pack[]): Promise<void> {
    await this.#loadTails();
    for (const pack of packs) {
      if (this.#apart.has(pack.id) || this.#sharing.has(pack.id)) continue;
      ((await this.#sharesWithThoseApart(pack)) ? this.#sharing : this.#apart).add(pack.id);
    }
  }

  async #sharesWithThoseApart(pack: Pack): Promise<boolean> {
    if (this.#apart.size === 0) return false;
    if (pack.tier === 'tail') {
      const oids = await this.#oidsOf([pack]);
      for (let at = 0; at < oids.length; at += this.#oidBytes) {
        const index = this.#tailMap.get(oids, at);
        if (this.#copies(index).some((copy) => this.#apart.has(copy.pack.id))) return true;
      }
    } else {
      const tails = [...this.#tailLoaded.keys()].filter((id) => this.#apart.has(id)).map((id) => this.#packs.get(id)!);
      if (await this.#holdsAny(pack, await this.#oidsOf(tails))) return true;
    }
    for (const { pack: other } of this.#stores) {
      if (!this.#apart.has(other.id)) continue;
      const [few, many] = pack.tier === 'tail' || pack.objectCount <= other.objectCount ? [pack, other] : [other, pack];
      if (await this.#holdsAny(many, await this.#oidsOf([few]))) return true;
    }
    return false;
  }

  async #oidsOf(packs: readonly Pack[]): Promise<Buffer> {
    await this.loadWhole(packs);
    return Buffer.concat(packs.flatMap((pack) => this.blocksOf(pack).map((block) => block.oids)));
  }

  /** Whether a store pack holds one of the oids. */
  async #holdsAny(pack: Pack, oids: Buffer): Promise<boolean> {
    const store = this.#stores.find((candidate) => candidate.pack.id === pack.id)!;
    const all = Array.from({ length: oids.length / this.#oidBytes }, (_, i) => i);
    await this.#loadFor(store, oids, all);
    for (const i of all) {
      const pause = breath();
      if (pause) await pause;
      if (this.#findIn(store, oids, i * this.#oidBytes) !== null) return true;
    }
    return false;
  }
}
