import { codeOf, messageOf, PackhouseError } from '../base/mod.ts';
import type { Catalog } from '../catalog/mod.ts';
import { KIND_BLOB, KIND_COMMIT, KIND_TAG, KIND_TREE, kindName, type ObjectFormat, OidMap, oidLength } from '../object/mod.ts';
import { breath, type PackBytes } from '../packread/mod.ts';
import { listTree, PoolView, type TreeSource } from '../reach/mod.ts';

/** Oids whose places are looked up together. */
const BATCH_OIDS = 10_000;

/**
 * Everything that roots reach, and a view of the pool in which it was looked for. Whatever is linked to must be stored, readable and of the kind
 * that the link asks for: anything else throws `sweep-unsound`, and nothing may be deleted. `extend` adds what later roots reach.
 */
export class PoolMark {
  readonly reached: OidMap;
  readonly #catalog: Catalog;
  readonly #bytes: PackBytes;
  readonly #poolId: number;
  readonly #format: ObjectFormat;
  readonly #width: number;
  readonly #signal: AbortSignal;
  #view: PoolView;
  /** By index in `reached`: the kind that a link has asked for first. */
  #kinds = new Uint8Array(1024);

  constructor(
    catalog: Catalog,
    bytes: PackBytes,
    pool: { readonly poolId: number; readonly format: ObjectFormat },
    signal: AbortSignal,
  ) {
    this.#catalog = catalog;
    this.#bytes = bytes;
    this.#poolId = pool.poolId;
    this.#format = pool.format;
    this.#width = oidLength(pool.format);
    this.#signal = signal;
    this.reached = new OidMap(this.#width, 1024);
    this.#view = this.#newView();
  }

  /** The pool as the last `extend` saw it, with the index of every pack. */
  get view(): PoolView {
    return this.#view;
  }

  #newView(): PoolView {
    return new PoolView(this.#catalog, this.#bytes, this.#poolId, this.#format);
  }

  /** Whether all of these raw oids, one after the other, are marked. */
  hasAll(oids: Buffer): boolean {
    for (let at = 0; at < oids.length; at += this.#width) if (!this.reached.has(oids, at)) return false;
    return true;
  }

  /** Marks what these roots (raw oids, one after the other) reach; the pool's packs are loaded after the roots were read. @throws `sweep-unsound` */
  async extend(roots: Buffer): Promise<void> {
    if (!(await this.#view.sync())) {
      this.#view = this.#newView();
      await this.#view.sync();
    }
    await this.#view.index.loadWhole([...this.#view.index.packs.values()]);
    const from = this.reached.size;
    const trees: Buffer[] = [];
    await this.#markNodes(await this.#startsOf(roots, trees), trees);
    for (const tree of trees) await this.#markTree(tree);
    await this.#verify(from);
  }

  /** Adds an object; true when it is new. */
  #add(data: Uint8Array, at: number, kind: number): boolean {
    const index = this.reached.size;
    this.reached.add(data, at);
    if (this.reached.size === index) return false;
    if (index >= this.#kinds.length) {
      const wider = new Uint8Array(this.#kinds.length * 2);
      wider.set(this.#kinds);
      this.#kinds = wider;
    }
    this.#kinds[index] = kind;
    return true;
  }

  /** Nodes of the commit graph among the roots; trees and blobs among them are marked or put into `trees`. */
  async #startsOf(roots: Buffer, trees: Buffer[]): Promise<number[]> {
    const { graph, index } = this.#view;
    const starts: number[] = [];
    const rest: Buffer[] = [];
    for (let at = 0; at < roots.length; at += this.#width) {
      const node = graph.find(roots, at);
      if (node >= 0) starts.push(node);
      else rest.push(roots.subarray(at, at + this.#width));
    }
    const places = await index.find(Buffer.concat(rest));
    rest.forEach((oid, i) => {
      const kind = places[i]?.kind;
      if (kind === KIND_TREE) trees.push(oid);
      else if (kind === KIND_BLOB) this.#add(oid, 0, KIND_BLOB);
      else throw unsound(kind === undefined ? 'a ref or logged value is not stored' : 'the commit graph lacks it', oid);
    });
    return starts;
  }

  /** Marks commits and tags and what they reach in the graph; their trees go to `trees`. */
  async #markNodes(stack: number[], trees: Buffer[]): Promise<void> {
    const { graph } = this.#view;
    while (stack.length > 0) {
      const pause = breath();
      if (pause) await pause;
      const node = stack.pop()!;
      const isCommit = graph.isCommit(node);
      if (!this.#add(graph.oid(node), 0, isCommit ? KIND_COMMIT : KIND_TAG)) continue;
      const target = Buffer.from(graph.target(node));
      if (isCommit) {
        trees.push(target);
        for (let i = 0; i < graph.parentCount(node); i++) {
          const parent = graph.parent(node, i);
          if (!graph.isCommit(parent)) throw unsound(`parent of commit ${graph.hex(node)} is not stored`, graph.oid(parent));
          stack.push(parent);
        }
      } else {
        this.#markTarget(node, target, stack, trees);
      }
    }
  }

  #markTarget(tag: number, target: Buffer, stack: number[], trees: Buffer[]): void {
    const { graph } = this.#view;
    const kind = graph.targetKind(tag);
    if (kind === KIND_TREE) trees.push(target);
    else if (kind === KIND_BLOB) this.#add(target, 0, KIND_BLOB);
    else {
      const node = graph.find(target);
      const isKind = node >= 0 && (kind === KIND_COMMIT ? graph.isCommit(node) : kind === KIND_TAG && graph.isTag(node));
      if (!isKind) throw unsound(`what tag ${graph.hex(tag)} names is not stored as a ${kindName(kind) ?? kind}`, target);
      stack.push(node);
    }
  }

  async #markTree(root: Buffer): Promise<void> {
    if (!this.#add(root, 0, KIND_TREE)) return;
    const source: TreeSource = {
      tree: (oid) => {
        this.#signal.throwIfAborted();
        return this.#view.tree(oid);
      },
    };
    try {
      await listTree(source, this.#format, root, (data, at, kind) => this.#add(data, at, kind));
    } catch (error) {
      this.#signal.throwIfAborted();
      const code = codeOf(error) ?? '';
      // The store or the database may be back in a minute: no reason to call the pool unsound, nor to go on.
      if (code === 'store-unavailable' || !(error instanceof PackhouseError)) throw error;
      throw unsound(`below it a tree cannot be read: ${messageOf(error)}`, root, error);
    }
  }

  /** Every object that was marked since must be stored as what the links say. */
  async #verify(from: number): Promise<void> {
    const slab = this.reached.slab();
    for (let at = from; at < this.reached.size; at += BATCH_OIDS) {
      const to = Math.min(at + BATCH_OIDS, this.reached.size);
      const places = await this.#view.index.find(slab.subarray(at * this.#width, to * this.#width));
      for (let i = at; i < to; i++) {
        const [is, asked] = [places[i - at]?.kind, this.#kinds[i]!];
        if (is === asked) continue;
        const oid = this.reached.oid(i);
        throw unsound(
          is === undefined ? `${kindName(asked)} is not stored` : `${kindName(asked)} is stored as ${kindName(is)}`,
          oid,
        );
      }
    }
  }
}

export function unsound(why: string, oid: Buffer, cause?: unknown): PackhouseError {
  const hex = oid.toString('hex');
  return new PackhouseError('sweep-unsound', `${hex}: ${why}`, {
    oid: hex,
    ...(cause === undefined ? {} : { cause: messageOf(cause) }),
  });
}
