import { codeOf, PackhouseError } from '../base/mod.ts';
import { BitSet, findReachPart, type PackOrder, packOrder, ReachBitmaps } from '../bitmap/mod.ts';
import type { ObjectBlock, Pack } from '../catalog/mod.ts';
import type { ObjectFormat, OidMap } from '../object/mod.ts';
import { breath, type PackBytes, type PoolIndex } from '../packread/mod.ts';
import type { CommitGraph } from './graph.ts';
import { listTree, type TreeSource } from './tree-walk.ts';

/** What one read brings: the directory of a sidecar, and most often all of it. */
const HEAD_BYTES = 1 << 20;
/** How long a pack without bitmaps is not asked for them again. */
const ABSENT_MS = 1;
/** How many packs are asked for bitmaps when one that has them is wanted. */
const CANDIDATES_MAX = 3;

/** A row of a pack, in order of place. */
export interface PlacedRow {
  readonly block: ObjectBlock;
  readonly row: number;
}

/** The bitmaps of one pack, and where its objects stand: sets of positions can be told from oids and back. */
export class PackReach {
  readonly pack: Pack;
  readonly bitmaps: ReachBitmaps;
  readonly #graph: CommitGraph;
  readonly #order: PackOrder;
  readonly #rows: OidMap;
  readonly #blocks: readonly ObjectBlock[];
  /** Row that each block begins with. */
  readonly #blockStarts: Uint32Array;
  readonly #blockRows: number;
  /** By node: position of the commit, -1 outside the pack, -2 not looked up yet. */
  #nodes = new Int32Array(0);

  constructor(pack: Pack, bitmaps: ReachBitmaps, order: PackOrder, index: PoolIndex, graph: CommitGraph) {
    this.pack = pack;
    this.bitmaps = bitmaps;
    this.#graph = graph;
    this.#order = order;
    this.#rows = index.rowsOf(pack)!;
    this.#blocks = index.blocksOf(pack);
    this.#blockStarts = new Uint32Array(this.#blocks.length);
    this.#blockRows = this.#blocks[0]?.kinds.length ?? 1;
    for (let i = 1; i < this.#blocks.length; i++)
      this.#blockStarts[i] = this.#blockStarts[i - 1]! + this.#blocks[i - 1]!.kinds.length;
  }

  get bytes(): number {
    return this.bitmaps.bytes + this.#order.rows.length * 8 + this.#nodes.length * 4;
  }

  /** The same of another view of the pool, which has loaded the pack too. */
  on(pack: Pack, index: PoolIndex, graph: CommitGraph): PackReach {
    return new PackReach(pack, this.bitmaps, this.#order, index, graph);
  }

  emptySet(): BitSet {
    return new BitSet(this.bitmaps.objectCount);
  }

  /** The position of an object, -1 when the pack lacks it. */
  positionOf(oids: Buffer, at: number): number {
    const row = this.#rows.get(oids, at);
    return row < 0 ? -1 : this.#order.positions[row]!;
  }

  positionOfNode(node: number): number {
    if (node >= this.#nodes.length) {
      const wider = new Int32Array(Math.max(this.#graph.size, node + 1)).fill(-2);
      wider.set(this.#nodes);
      this.#nodes = wider;
    }
    let position = this.#nodes[node]!;
    if (position === -2) {
      position = this.positionOf(this.#graph.oid(node), 0);
      this.#nodes[node] = position;
    }
    return position;
  }

  /** The position of the entry that starts at an offset, -1 when none does. Chunked blobs stand behind the entries. */
  positionAt(offset: number): number {
    let low = 0;
    let high = this.entryCount - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const { block, row } = this.rowAt(middle);
      const start = block.offsets[row]!;
      if (start === offset) return middle;
      if (start < offset) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** How many positions are entries of the stored pack: the first ones. */
  get entryCount(): number {
    return this.pack.objectCount - this.pack.chunkedCount;
  }

  /** The row at a position: a view that the next call does not change. */
  rowAt(position: number): PlacedRow {
    const row = this.#order.rows[position]!;
    // All blocks but the last are mostly of one size.
    const guess = Math.floor(row / this.#blockRows);
    const start = this.#blockStarts[guess];
    if (start !== undefined && row >= start && row < start + this.#blocks[guess]!.kinds.length)
      return { block: this.#blocks[guess]!, row: row - start };
    let low = 0;
    let high = this.#blockStarts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#blockStarts[middle]! <= row) low = middle;
      else high = middle - 1;
    }
    return { block: this.#blocks[low]!, row: row - this.#blockStarts[low]! };
  }

  /**
   * Adds all that some commits of the pack reach: bitmaps first, the youngest commits first; then the trees of the commits that have none and stand
   * above those that do, cut where the set has them already. The pack is closed, so nothing leads out of it.
   * @throws PackhouseError `bad-bitmap` when a tree leads out of the pack after all
   */
  async addReached(
    into: BitSet,
    nodes: Iterable<number>,
    source: TreeSource,
    format: ObjectFormat,
    signal?: AbortSignal,
  ): Promise<void> {
    const graph = this.#graph;
    const stack: number[] = [];
    const sorted = [...nodes].sort((a, b) => graph.generation(b) - graph.generation(a));
    for (const node of sorted) {
      const position = this.positionOfNode(node);
      if (position < 0 || into.has(position)) continue;
      if (!this.bitmaps.addReached(into, position)) stack.push(node);
    }
    const open: number[] = [];
    const met = new Set(stack);
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      const position = this.positionOfNode(node);
      if (into.has(position) || this.bitmaps.addReached(into, position)) continue;
      open.push(node);
      for (let i = 0; i < graph.parentCount(node); i++) {
        const parent = graph.parent(node, i);
        if (met.has(parent)) continue;
        met.add(parent);
        stack.push(parent);
      }
    }
    // Oldest first: what an older tree has, a younger one is not entered for.
    open.sort((a, b) => graph.generation(a) - graph.generation(b));
    for (const node of open) {
      signal?.throwIfAborted();
      const position = this.positionOfNode(node);
      // A bitmap that was added after it was met may have it.
      if (!into.add(position)) continue;
      const root = Buffer.from(graph.target(node));
      const meet = (data: Buffer, at: number): boolean => {
        const place = this.positionOf(data, at);
        return place < 0 ? notClosed(this.pack) : into.add(place);
      };
      if (meet(root, 0)) await listTree(source, format, root, meet);
    }
  }

  /** Takes away what a filter by kind and size keeps out. */
  async keepPassing(set: BitSet, passes: (kind: number, sizeBytes: number) => boolean): Promise<void> {
    for (const kind of [1, 2, 3, 4]) {
      if (passes(kind, Number.MAX_SAFE_INTEGER)) continue;
      const ofKind = this.bitmaps.ofKind(kind);
      if (!passes(kind, 0)) {
        set.andNot(ofKind);
        continue;
      }
      for (let position = ofKind.next(0); position < set.length; position = ofKind.next(position + 1)) {
        const pause = breath();
        if (pause) await pause;
        if (!set.has(position)) continue;
        const { block, row } = this.rowAt(position);
        if (!passes(kind, block.sizes[row]!)) set.delete(position);
      }
    }
  }
}

function notClosed(pack: Pack): never {
  throw new PackhouseError('bad-bitmap', `pack ${pack.id} has bitmaps and is not closed`, { pack: pack.id });
}

/** The bitmaps of a pool's packs, each loaded when it is first asked for. */
export class PackReaches {
  readonly #bytes: PackBytes;
  readonly #index: PoolIndex;
  readonly #graph: CommitGraph;
  readonly #loaded = new Map<number, PackReach>();
  /** Packs that had none when they were asked for, and until when that is believed: maintenance makes some later. */
  readonly #absentUntil = new Map<number, number>();
  readonly #loading = new Map<number, Promise<PackReach | null>>();

  constructor(bytes: PackBytes, index: PoolIndex, graph: CommitGraph) {
    this.#bytes = bytes;
    this.#index = index;
    this.#graph = graph;
  }

  get bytes(): number {
    let bytes = 0;
    for (const reach of this.#loaded.values()) bytes += reach.bytes;
    return bytes;
  }

  /** Takes over what another view of the pool has loaded of packs that both show. */
  adopt(from: PackReaches): void {
    for (const [id, reach] of from.#loaded) {
      const pack = this.#index.packs.get(id);
      if (pack !== undefined && this.#index.rowsOf(pack) !== null) this.#loaded.set(id, reach.on(pack, this.#index, this.#graph));
    }
  }

  /** The bitmaps of a pack, null when it has none or they are of no use: then its trees are walked. */
  async of(pack: Pack): Promise<PackReach | null> {
    if (pack.tier !== 'store') return null;
    const known = this.#loaded.get(pack.id);
    if (known !== undefined) return known;
    if (performance.now() < (this.#absentUntil.get(pack.id) ?? 0)) return null;
    let running = this.#loading.get(pack.id);
    if (running === undefined) {
      running = this.#load(pack).finally(() => this.#loading.delete(pack.id));
      this.#loading.set(pack.id, running);
    }
    return running;
  }

  async #load(pack: Pack): Promise<PackReach | null> {
    let reach: PackReach | null = null;
    try {
      const part = await this.#part(pack);
      if (part !== null) {
        const bitmaps = new ReachBitmaps(part, this.#index.format, pack.checksum, pack.objectCount);
        await this.#index.loadWhole([pack]);
        const offsets = new Float64Array(pack.objectCount);
        let at = 0;
        for (const block of this.#index.blocksOf(pack)) {
          offsets.set(block.offsets, at);
          at += block.offsets.length;
        }
        reach = new PackReach(pack, bitmaps, packOrder(offsets), this.#index, this.#graph);
      }
    } catch (error) {
      const code = codeOf(error);
      // What the store cannot give now may be there the next time; until then there is a walk.
      if (code === 'store-unavailable') return null;
      if (code !== 'bad-bitmap' && code !== 'store-missing' && code !== 'store-short') throw error;
    }
    if (reach !== null) this.#loaded.set(pack.id, reach);
    else this.#absentUntil.set(pack.id, performance.now() + ABSENT_MS);
    return reach;
  }

  /** Gives up bitmaps that turned out to be wrong. */
  distrust(pack: Pack): void {
    this.#loaded.delete(pack.id);
    this.#absentUntil.set(pack.id, Number.POSITIVE_INFINITY);
  }

  /** The largest pack that has bitmaps, null when none of the larger ones has. */
  async largest(): Promise<PackReach | null> {
    const packs = [...this.#index.packs.values()].sort((a, b) => b.objectCount - a.objectCount);
    for (const pack of packs.slice(0, CANDIDATES_MAX)) {
      const reach = await this.of(pack);
      if (reach !== null) return reach;
    }
    return null;
  }

  async #part(pack: Pack): Promise<Buffer | null> {
    const sidecar = this.#bytes.reachSidecar(pack);
    const lengthBytes = await sidecar.lengthBytes();
    if (lengthBytes === 0) return null;
    let head = await sidecar.read(0, Math.min(HEAD_BYTES, lengthBytes));
    let part = findReachPart(head, lengthBytes, pack.extentOffset);
    if (typeof part === 'number') {
      head = await sidecar.read(0, part);
      part = findReachPart(head, lengthBytes, pack.extentOffset);
    }
    if (part === null || typeof part === 'number') return null;
    const end = part.offset + part.lengthBytes;
    if (end <= head.length) return head.subarray(part.offset, end);
    return sidecar.read(part.offset, part.lengthBytes);
  }
}
