import { messageOf, PackhouseError } from '../base/mod.ts';
import type { Catalog, Pack } from '../catalog/mod.ts';
import { KIND_BLOB, KIND_COMMIT, KIND_TAG, KIND_TREE, type ObjectFormat, OidMap, oidLength } from '../object/mod.ts';
import { type ChunkedBlobs, type Location, ObjectReader, type PackBytes, PoolIndex, type StoredObject } from '../packread/mod.ts';
import { CommitGraph, flood, listTree, NodeSet, type TreeSource } from '../reach/mod.ts';
import { parseGraph } from './graph-records.ts';
import type { Problem } from './problems.ts';

const NO_TREE = Buffer.alloc(0);

/** What the catalog says of one pool, loaded whole: its live packs, its object index, its commit graph. Says what cannot be loaded. */
export class PoolContent implements TreeSource {
  readonly poolId: number;
  readonly format: ObjectFormat;
  readonly packs: readonly Pack[];
  readonly index: PoolIndex;
  readonly graph: CommitGraph;
  /** Graph records by pack, then by oid in hex. */
  readonly records = new Map<number, ReadonlyMap<string, Buffer>>();
  readonly #reader: ObjectReader;

  private constructor(catalog: Catalog, bytes: PackBytes, pool: { id: number; format: ObjectFormat }, packs: readonly Pack[]) {
    this.poolId = pool.id;
    this.format = pool.format;
    this.packs = packs;
    this.index = new PoolIndex(catalog, pool.id, pool.format);
    this.graph = new CommitGraph(pool.format);
    this.#reader = new ObjectReader(bytes, this.index);
  }

  static async load(
    catalog: Catalog,
    bytes: PackBytes,
    pool: { id: number; format: ObjectFormat },
    report: (problem: Problem) => void,
  ): Promise<PoolContent> {
    const packs = await catalog.packs(pool.id, null);
    const content = new PoolContent(catalog, bytes, pool, packs);
    const blocks = new Map<number, Buffer[]>(packs.map((pack) => [pack.id, []]));
    if (packs.length > 0) {
      for (const { packId, records } of await catalog.graphBlocks(pool.id, packs)) blocks.get(packId)?.push(records);
    }
    const readable: { packId: number; blocks: Buffer[] }[] = [];
    for (const pack of packs) {
      content.index.add(pack);
      try {
        content.records.set(pack.id, parseGraph(blocks.get(pack.id)!, pool.format));
        readable.push({ packId: pack.id, blocks: blocks.get(pack.id)! });
      } catch (error) {
        report({ kind: 'graph', pool: pool.id, pack: pack.id, message: messageOf(error) });
      }
    }
    // Together: packs have parents in each other, whatever their numbers.
    content.graph.addAll(readable);
    await content.index.loadWhole(packs);
    return content;
  }

  /** Large blobs that are kept as chunks. */
  get chunked(): ChunkedBlobs {
    return this.#reader.chunked;
  }

  async locate(oid: Buffer): Promise<Location | null> {
    return this.index.peek(oid, 0) ?? (await this.index.find(oid))[0] ?? null;
  }

  /** The object, null when the pool has none. @throws what reading it throws */
  async read(oid: Buffer): Promise<StoredObject | null> {
    const location = await this.locate(oid);
    return location === null ? null : this.#reader.read(location);
  }

  tree(oid: Buffer): Buffer | Promise<Buffer> {
    const location = this.index.peek(oid, 0);
    if (location) {
      const result = this.#reader.tryRead(location);
      if ('kind' in result && result.kind === KIND_TREE) return result.data;
    }
    return this.#treeLater(Buffer.from(oid));
  }

  async #treeLater(oid: Buffer): Promise<Buffer> {
    const object = await this.read(oid);
    if (object?.kind !== KIND_TREE) throw new PackhouseError('object-missing', `tree ${oid.toString('hex')} is not stored`);
    return object.data;
  }

  /** Commits and tags that these raw oids reach. */
  nodesFrom(oids: Buffer): NodeSet {
    const nodes = new NodeSet();
    for (let at = 0; at < oids.length; at += oidLength(this.format)) flood(this.graph, nodes, this.graph.find(oids, at));
    return nodes;
  }

  /** Those of `wanted` that neither the commits and tags `starts` nor anything below them is. Looks at the starts' own trees first. */
  async notReached(starts: readonly number[], wanted: OidMap): Promise<Buffer[]> {
    const { graph } = this;
    const nodes = new NodeSet();
    for (const start of starts) flood(graph, nodes, start);
    const seen = new OidMap(wanted.oidBytes);
    let left = wanted.size;
    const meet = (data: Buffer, at: number): boolean => {
      const known = seen.size;
      seen.add(data, at);
      if (seen.size === known) return false;
      if (wanted.has(data, at)) left--;
      return left > 0;
    };
    const source: TreeSource = { tree: (oid) => this.#treeOrNothing(oid) };
    for (const node of this.#inOrder(starts, nodes)) {
      if (left === 0) break;
      meet(graph.oid(node), 0);
      const kind = graph.isTag(node) ? graph.targetKind(node) : KIND_TREE;
      if (kind !== KIND_TREE && kind !== KIND_BLOB) continue;
      const target = Buffer.from(graph.target(node));
      if (meet(target, 0) && kind === KIND_TREE) await listTree(source, this.format, target, meet);
    }
    const rest: Buffer[] = [];
    for (let i = 0; i < wanted.size; i++) if (!seen.has(wanted.oid(i))) rest.push(Buffer.from(wanted.oid(i)));
    return rest;
  }

  /** A tree that cannot be read reaches nothing here; that it cannot be read is told where refs are walked. */
  #treeOrNothing(oid: Buffer): Buffer | Promise<Buffer> {
    try {
      const tree = this.tree(oid);
      return Buffer.isBuffer(tree) ? tree : tree.catch(() => NO_TREE);
    } catch {
      return NO_TREE;
    }
  }

  #inOrder(starts: readonly number[], nodes: NodeSet): number[] {
    const { graph } = this;
    const rest: number[] = [];
    const first = new Set(starts);
    for (let node = 0; node < graph.size; node++) if (nodes.has(node) && !first.has(node)) rest.push(node);
    rest.sort((a, b) => graph.generation(b) - graph.generation(a));
    return [...starts.filter((node) => node >= 0), ...rest];
  }

  /** A set of raw oids. */
  newSet(): OidMap {
    return new OidMap(oidLength(this.format));
  }

  /** The kind of a stored object; 0 when it is not stored. */
  async kindOf(oid: Buffer): Promise<number> {
    return (await this.locate(oid))?.kind ?? 0;
  }

  isNodeKind(kind: number): boolean {
    return kind === KIND_COMMIT || kind === KIND_TAG;
  }
}
