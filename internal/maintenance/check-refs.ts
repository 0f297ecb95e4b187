import { messageOf } from '../base/mod.ts';
import type { Ref, RepositoryState } from '../catalog/mod.ts';
import { KIND_COMMIT, KIND_TAG, KIND_TREE, kindName, type OidMap } from '../object/mod.ts';
import { flood, listTree, NodeSet } from '../reach/mod.ts';
import type { PoolContent } from './pool-content.ts';
import type { ProblemList } from './problems.ts';

/** Walks everything that a repository's refs reach; whatever is not stored, or stored as something else, is a problem. The number of refs. */
export async function checkRefs(content: PoolContent, state: RepositoryState, problems: ProblemList): Promise<number> {
  const refs = state.refs.filter((ref): ref is Ref => ref.oid !== null);
  const walk = new ClosureWalk(content, problems);
  for (const ref of refs) {
    const kind = await content.kindOf(ref.oid);
    const oid = ref.oid.toString('hex');
    if (kind === 0) {
      problems.add('ref', `${ref.name} points at what is not stored`, { oid });
      continue;
    }
    if (ref.name.startsWith('refs/heads/') && kind !== KIND_COMMIT)
      problems.add('ref', `${ref.name} is a branch on a ${kindName(kind)}`, { oid });
    checkPeeled(content, ref, kind, problems);
    await walk.start(ref.oid, kind);
  }
  await walk.finish();
  return refs.length;
}

function checkPeeled(content: PoolContent, ref: Ref, kind: number, problems: ProblemList): void {
  const node = kind === KIND_TAG ? content.graph.find(ref.oid) : -1;
  const peeled = node < 0 ? null : (content.graph.peel(node)?.oid ?? null);
  const same = peeled === null ? ref.peeled === null : ref.peeled !== null && peeled.equals(ref.peeled);
  if (same) return;
  problems.add(
    'ref',
    `${ref.name} peels to ${peeled?.toString('hex') ?? 'nothing'}, refs.peeled says ${ref.peeled?.toString('hex') ?? 'nothing'}`,
    {
      oid: ref.oid.toString('hex'),
    },
  );
}

/** One walk for all refs of a repository: nothing is looked at twice. */
class ClosureWalk {
  readonly #content: PoolContent;
  readonly #problems: ProblemList;
  readonly #nodes = new NodeSet();
  readonly #trees: OidMap;
  readonly #blobs: OidMap;

  constructor(content: PoolContent, problems: ProblemList) {
    this.#content = content;
    this.#problems = problems;
    this.#trees = content.newSet();
    this.#blobs = content.newSet();
  }

  async start(oid: Buffer, kind: number): Promise<void> {
    const { graph } = this.#content;
    if (!this.#content.isNodeKind(kind)) return this.#root(oid, kind);
    const node = graph.find(oid);
    if (node < 0)
      return this.#problems.add('link', `the commit graph does not know this ${kindName(kind)}`, { oid: oid.toString('hex') });
    flood(graph, this.#nodes, node);
  }

  /** Visits the trees of all commits and tags that were met, then looks for all blobs at once. */
  async finish(): Promise<void> {
    const { graph } = this.#content;
    for (let node = 0; node < graph.size; node++) {
      if (!this.#nodes.has(node)) continue;
      await this.#stored(Buffer.from(graph.oid(node)), graph.isTag(node) ? KIND_TAG : KIND_COMMIT);
      if (graph.isTag(node)) await this.#target(Buffer.from(graph.target(node)), graph.targetKind(node));
      else await this.#commit(node);
    }
    const slab = Buffer.from(this.#blobs.slab());
    const locations = await this.#content.index.find(slab);
    locations.forEach((location, i) => {
      if (location?.kind === 3) return;
      const is = location === null ? 'not stored' : `stored as a ${kindName(location.kind)}`;
      this.#problems.add('link', `blob is ${is}`, { oid: this.#blobs.hex(i) });
    });
  }

  async #commit(node: number): Promise<void> {
    const { graph } = this.#content;
    for (let i = 0; i < graph.parentCount(node); i++) {
      const parent = graph.parent(node, i);
      if (!graph.isCommit(parent)) this.#missing(`parent of commit ${graph.hex(node)}`, graph.oid(parent));
    }
    await this.#root(Buffer.from(graph.target(node)), KIND_TREE);
  }

  async #target(oid: Buffer, kind: number): Promise<void> {
    if (!this.#content.isNodeKind(kind)) return this.#root(oid, kind);
    const node = this.#content.graph.find(oid);
    const isKind = node >= 0 && this.#content.graph.isCommit(node) === (kind === KIND_COMMIT);
    if (!isKind) this.#missing(`${kindName(kind)} that a tag names`, oid);
  }

  async #stored(oid: Buffer, kind: number): Promise<void> {
    if ((await this.#content.kindOf(oid)) !== kind) this.#missing(kindName(kind), oid);
  }

  #missing(what: string, oid: Buffer): void {
    this.#problems.add('link', `${what} is not stored`, { oid: oid.toString('hex') });
  }

  async #root(oid: Buffer, kind: number): Promise<void> {
    if (!this.#enter(oid, 0, kind) || kind !== KIND_TREE) return;
    const { format } = this.#content;
    const source = {
      tree: (tree: Buffer): Buffer | Promise<Buffer> => {
        try {
          const read = this.#content.tree(tree);
          return Buffer.isBuffer(read) ? read : read.catch((error: unknown) => this.#unreadable(tree, error));
        } catch (error) {
          return this.#unreadable(tree, error);
        }
      },
    };
    try {
      await listTree(source, format, oid, (data, at, entryKind) => this.#enter(data, at, entryKind));
    } catch (error) {
      this.#problems.add('link', `below root tree: ${messageOf(error)}`, { oid: oid.toString('hex') });
    }
  }

  #unreadable(tree: Buffer, error: unknown): Buffer {
    this.#problems.add('link', messageOf(error), { oid: tree.toString('hex') });
    return Buffer.alloc(0);
  }

  /** Takes note of a tree or blob; true when it is new. */
  #enter(data: Buffer, at: number, kind: number): boolean {
    const set = kind === KIND_TREE ? this.#trees : this.#blobs;
    const before = set.size;
    set.add(data, at);
    return set.size > before;
  }
}
