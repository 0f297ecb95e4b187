import { assert } from '../base/mod.ts';
import { KIND_COMMIT, KIND_TAG, type ObjectFormat, OidMap, oidLength, readGraphRecords } from '../object/mod.ts';

/** A node that is linked to, but whose own record is not here. */
const UNKNOWN = 0;
/** A graph whose list of parents is this many times longer than it has nodes is not copied any more. */
const PARENTS_KEPT = 4;
/** Most pools are small, and a process has many: room for more is doubled as they grow. */
const NODES_AT_FIRST = 64;

/**
 * The commits and tags of one pool in typed arrays. A node is a dense number; a commit has parents, a date, a generation number (one more
 * than its parents' largest) and a root tree; a tag has what it names. Extended pack by pack, never changed.
 */
export class CommitGraph {
  readonly format: ObjectFormat;
  readonly oidBytes: number;
  #oids: OidMap;
  #kinds = new Uint8Array(NODES_AT_FIRST);
  /** Of a commit: seconds of its committer. */
  #times = new Float64Array(NODES_AT_FIRST);
  #generations = new Uint32Array(NODES_AT_FIRST);
  /** Where a node's parents start in #parents and how many there are. */
  #parentsAt = new Uint32Array(NODES_AT_FIRST);
  #parentCounts = new Uint16Array(NODES_AT_FIRST);
  /** Ordinal of the pack that a node's record came with. */
  #packs = new Uint32Array(NODES_AT_FIRST);
  /** Root tree of a commit, or what a tag names. */
  #targets: Buffer;
  /** Tags of tags that were followed to their end. */
  readonly #peeled = new Map<number, { readonly kind: number; readonly oid: Buffer }>();
  #targetKinds = new Uint8Array(NODES_AT_FIRST);
  #parents = new Uint32Array(NODES_AT_FIRST);
  #parentsUsed = 0;
  #packIds: number[] = [];
  /** Commits of each pack, by its ordinal. */
  #packCommits: number[] = [];
  #packOrdinals = new Map<number, number>();
  /** Nodes that `without` has taken out. */
  #taken: number[] = [];

  constructor(format: ObjectFormat) {
    this.format = format;
    this.oidBytes = oidLength(format);
    this.#oids = new OidMap(this.oidBytes, NODES_AT_FIRST);
    this.#targets = Buffer.alloc(NODES_AT_FIRST * this.oidBytes);
  }

  get size(): number {
    return this.#oids.size;
  }

  get bytes(): number {
    return this.#kinds.length * (24 + 2 * this.oidBytes) + this.#parents.length * 4;
  }

  /** The node of an oid whose record is known, or -1. */
  find(oid: Uint8Array, at = 0): number {
    const node = this.#oids.get(oid, at);
    return node >= 0 && this.#kinds[node] !== UNKNOWN ? node : -1;
  }

  findHex(hex: string): number {
    return this.find(Buffer.from(hex, 'hex'));
  }

  isCommit(node: number): boolean {
    return this.#kinds[node] === KIND_COMMIT;
  }

  isTag(node: number): boolean {
    return this.#kinds[node] === KIND_TAG;
  }

  isKnown(node: number): boolean {
    return this.#kinds[node] !== UNKNOWN;
  }

  /** A view; copy it to keep it. */
  oid(node: number): Buffer {
    return this.#oids.oid(node);
  }

  hex(node: number): string {
    return this.#oids.hex(node);
  }

  time(node: number): number {
    return this.#times[node]!;
  }

  generation(node: number): number {
    return this.#generations[node]!;
  }

  parentCount(node: number): number {
    return this.#parentCounts[node]!;
  }

  parent(node: number, i: number): number {
    return this.#parents[this.#parentsAt[node]! + i]!;
  }

  /** The root tree of a commit, or what a tag names: a view. */
  target(node: number): Buffer {
    return this.#targets.subarray(node * this.oidBytes, (node + 1) * this.oidBytes);
  }

  /** Of a tag: the kind of what it names. */
  targetKind(node: number): number {
    return this.#targetKinds[node]!;
  }

  /** The id of the pack that brought the node. */
  packOf(node: number): number {
    return this.#packIds[this.#packs[node]!]!;
  }

  /** How many commits a pack brought that no earlier pack had. */
  commitsOf(packId: number): number {
    const ordinal = this.#packOrdinals.get(packId);
    return ordinal === undefined ? 0 : this.#packCommits[ordinal]!;
  }

  /** What a tag finally names, following tags of tags; null when a link is missing. A chain is followed once, whoever asks. */
  peel(node: number): { readonly kind: number; readonly oid: Buffer } | null {
    const path: number[] = [];
    let found: { readonly kind: number; readonly oid: Buffer } | null = null;
    for (let at = node; at >= 0 && found === null && path.length <= this.size; at = this.find(this.target(at))) {
      found = this.#peeled.get(at) ?? null;
      if (found !== null) break;
      if (this.isCommit(at)) found = { kind: KIND_COMMIT, oid: Buffer.from(this.oid(at)) };
      else if (!this.isTag(at)) break;
      else if (this.#targetKinds[at] !== KIND_TAG) found = { kind: this.#targetKinds[at]!, oid: Buffer.from(this.target(at)) };
      else path.push(at);
    }
    if (found !== null) for (const tag of path) this.#peeled.set(tag, found);
    return found;
  }

  /** Takes in a pack's graph records; the parents of its commits are in it or were added before. */
  add(packId: number, blocks: readonly Buffer[]): void {
    this.addAll([{ packId, blocks }]);
  }

  /** Takes in packs that have parents in each other, in any order: their numbers say nothing, since several processes hand them out. */
  addAll(packs: readonly { readonly packId: number; readonly blocks: readonly Buffer[] }[]): void {
    const fresh: number[] = [];
    for (const { packId, blocks } of packs) this.#addPack(packId, blocks, fresh);
    this.#number(fresh);
  }

  #addPack(packId: number, blocks: readonly Buffer[], fresh: number[]): void {
    assert(!this.#packOrdinals.has(packId), `graph records of pack ${packId} are added once`);
    // Later packs bring few nodes, or take the place of others whose nodes are here.
    if (this.size === 0) this.#reserve(blocks.reduce((sum, block) => sum + block.length, 0));
    const ordinal = this.#packIds.length;
    this.#packIds.push(packId);
    this.#packCommits.push(0);
    this.#packOrdinals.set(packId, ordinal);
    for (const records of blocks) {
      readGraphRecords(records, this.format, {
        commit: (bytes, oidAt, treeAt, time, parentsAt, parentCount) => {
          const node = this.#node(bytes, oidAt);
          if (this.#kinds[node] !== UNKNOWN) return;
          this.#kinds[node] = KIND_COMMIT;
          this.#packs[node] = ordinal;
          this.#packCommits[ordinal]!++;
          this.#times[node] = time;
          this.#setTarget(node, bytes, treeAt);
          this.#growParents(parentCount);
          this.#parentCounts[node] = parentCount;
          const at = this.#parentsUsed;
          this.#parentsUsed += parentCount;
          this.#parentsAt[node] = at;
          for (let i = 0; i < parentCount; i++) this.#parents[at + i] = this.#node(bytes, parentsAt + i * this.oidBytes);
          fresh.push(node);
        },
        tag: (bytes, oidAt, targetKind, targetAt) => {
          const node = this.#node(bytes, oidAt);
          if (this.#kinds[node] !== UNKNOWN) return;
          this.#kinds[node] = KIND_TAG;
          this.#packs[node] = ordinal;
          this.#targetKinds[node] = targetKind;
          this.#setTarget(node, bytes, targetAt);
        },
      });
    }
  }

  /**
   * A copy that does not know what some packs brought, for packs that take their place; nodes keep their numbers. Null when so much was replaced
   * before that making a new graph costs less.
   */
  without(packIds: ReadonlySet<number>): CommitGraph | null {
    // Parents of nodes that come again are noted again: the old ones are waste.
    if (this.#parentsUsed > PARENTS_KEPT * this.size + 1024) return null;
    const copy = new CommitGraph(this.format);
    copy.#oids = this.#oids.copy();
    copy.#kinds = this.#kinds.slice();
    copy.#times = this.#times.slice();
    copy.#generations = this.#generations.slice();
    copy.#parentsAt = this.#parentsAt.slice();
    copy.#parentCounts = this.#parentCounts.slice();
    copy.#packs = this.#packs.slice();
    copy.#targets = Buffer.from(this.#targets);
    copy.#targetKinds = this.#targetKinds.slice();
    copy.#parents = this.#parents.slice();
    copy.#parentsUsed = this.#parentsUsed;
    copy.#packIds = [...this.#packIds];
    copy.#packCommits = [...this.#packCommits];
    copy.#packOrdinals = new Map(this.#packOrdinals);
    const gone = this.#packIds.map((id) => packIds.has(id));
    for (let node = 0; node < copy.size; node++) {
      if (copy.#kinds[node] === UNKNOWN || !gone[copy.#packs[node]!]) continue;
      copy.#kinds[node] = UNKNOWN;
      copy.#generations[node] = 0;
      copy.#parentCounts[node] = 0;
      copy.#taken.push(node);
    }
    for (const id of packIds) copy.#packOrdinals.delete(id);
    return copy;
  }

  /** Whether all that `without` took out has come again. */
  get isWhole(): boolean {
    this.#taken = this.#taken.filter((node) => this.#kinds[node] === UNKNOWN);
    return this.#taken.length === 0;
  }

  has(packId: number): boolean {
    return this.#packOrdinals.has(packId);
  }

  #node(bytes: Buffer, at: number): number {
    const node = this.#oids.add(bytes, at);
    if (node >= this.#kinds.length) this.#grow(this.#kinds.length * 2);
    return node;
  }

  /** Room for as many nodes as records of so many bytes have, were each of a commit with one parent. */
  #reserve(recordBytes: number): void {
    const nodes = Math.floor(recordBytes / (9 + 3 * this.oidBytes));
    this.#oids.reserve(nodes);
    let capacity = this.#kinds.length;
    while (capacity < nodes) capacity *= 2;
    if (capacity > this.#kinds.length) this.#grow(capacity);
  }

  #grow(capacity: number): void {
    const grown = <T extends Uint8Array | Uint16Array | Uint32Array | Float64Array>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    this.#kinds = grown(this.#kinds, new Uint8Array(capacity));
    this.#targetKinds = grown(this.#targetKinds, new Uint8Array(capacity));
    this.#times = grown(this.#times, new Float64Array(capacity));
    this.#generations = grown(this.#generations, new Uint32Array(capacity));
    this.#parentsAt = grown(this.#parentsAt, new Uint32Array(capacity));
    this.#parentCounts = grown(this.#parentCounts, new Uint16Array(capacity));
    this.#packs = grown(this.#packs, new Uint32Array(capacity));
    const targets = Buffer.alloc(capacity * this.oidBytes);
    this.#targets.copy(targets);
    this.#targets = targets;
  }

  /** Byte by byte: a call of `copy` for so few costs more than all else that is done with a commit. */
  #setTarget(node: number, bytes: Buffer, at: number): void {
    const targets = this.#targets;
    const width = this.oidBytes;
    for (let i = 0; i < width; i++) targets[node * width + i] = bytes[at + i]!;
  }

  #growParents(more: number): void {
    if (this.#parentsUsed + more <= this.#parents.length) return;
    const wider = new Uint32Array(Math.max(this.#parents.length * 2, this.#parentsUsed + more));
    wider.set(this.#parents);
    this.#parents = wider;
  }

  /** Gives new commits their generation numbers, parents before children, without recursion. */
  #number(fresh: readonly number[]): void {
    const stack: number[] = [];
    for (const start of fresh) {
      if (this.#generations[start] !== 0) continue;
      stack.push(start);
      while (stack.length > 0) {
        const node = stack[stack.length - 1]!;
        let largest = 0;
        let waits = false;
        for (let i = 0; i < this.#parentCounts[node]!; i++) {
          const parent = this.parent(node, i);
          if (this.#kinds[parent] !== KIND_COMMIT) continue;
          const generation = this.#generations[parent]!;
          if (generation === 0) {
            stack.push(parent);
            waits = true;
          } else if (generation > largest) {
            largest = generation;
          }
        }
        if (waits) continue;
        this.#generations[node] = largest + 1;
        stack.pop();
      }
    }
  }
}
