import { KIND_COMMIT, KIND_TREE, kindOfMode, parseCommit, TreeCursor } from '../object/mod.ts';
import type { ObjectBytes } from './object-bytes.ts';
import type { ObjectTable } from './object-table.ts';

/** What no commit of the set reaches. */
export const UNREACHED = 0xffffffff;

/** Where objects stand in history, one row an object. */
export interface History {
  /** Order of the first meeting on a walk from the newest commit to the oldest; UNREACHED for the rest. */
  readonly recency: Uint32Array;
  /** Git's name-hash of the path under which an object was met first: the last sixteen characters, the last ones weighing most. */
  readonly nameHash: Uint32Array;
  /** Order in which the walk met that name for the first time. */
  readonly nameOrder: Uint32Array;
}

const SLASH = 0x2f;

/** One step of pack_name_hash (git's pack-objects.h): white space is passed over. */
function hashStep(hash: number, byte: number): number {
  if (byte === 0x20 || (byte >= 0x09 && byte <= 0x0d)) return hash;
  return ((hash >>> 2) + (byte << 24)) >>> 0;
}

/** Walks the commits that stay, newest first, and their trees, each once. Objects that are not in the table are passed over. */
export function walkHistory(table: ObjectTable, bytes: ObjectBytes): History {
  return new HistoryWalk(table, bytes).run();
}

class HistoryWalk {
  readonly #table: ObjectTable;
  readonly #bytes: ObjectBytes;
  readonly #recency: Uint32Array;
  readonly #nameHash: Uint32Array;
  readonly #nameOrder: Uint32Array;
  readonly #names = new Map<number, number>();
  readonly #cursor: TreeCursor;
  #next = 0;

  constructor(table: ObjectTable, bytes: ObjectBytes) {
    this.#table = table;
    this.#bytes = bytes;
    this.#recency = new Uint32Array(table.count).fill(UNREACHED);
    this.#nameHash = new Uint32Array(table.count);
    this.#nameOrder = new Uint32Array(table.count).fill(UNREACHED);
    this.#cursor = new TreeCursor(table.format);
  }

  run(): History {
    const { commits, trees } = this.#commits();
    for (const [i, commit] of commits.entries()) {
      this.#recency[commit] = this.#next++;
      if (trees[i]! >= 0) this.#walk(trees[i]!);
    }
    return { recency: this.#recency, nameHash: this.#nameHash, nameOrder: this.#nameOrder };
  }

  /** Commits that stay, newest first, and the root tree of each (-1: not in the table). */
  #commits(): { commits: Uint32Array; trees: Int32Array } {
    const { count, kinds, keep, format } = this.#table;
    const found: number[] = [];
    for (let object = 0; object < count; object++) if (keep[object] && kinds[object] === KIND_COMMIT) found.push(object);
    const times = new Float64Array(found.length);
    const roots = new Int32Array(found.length);
    for (const [i, object] of found.entries()) {
      const commit = parseCommit(this.#bytes.read(object), format);
      times[i] = commit.committerTimeSeconds;
      roots[i] = this.#member(commit.tree, 0, KIND_TREE);
    }
    const order = Uint32Array.from(found.keys()).sort((a, b) => times[b]! - times[a]! || a - b);
    return { commits: order.map((i) => found[i]!), trees: Int32Array.from(order, (i) => roots[i]!) };
  }

  #member(oids: Buffer, at: number, kind: number): number {
    const object = this.#table.oids.get(oids, at);
    return object >= 0 && this.#table.keep[object] && this.#table.kinds[object] === kind ? object : -1;
  }

  #meet(object: number, hash: number): void {
    this.#recency[object] = this.#next++;
    this.#nameHash[object] = hash;
    let order = this.#names.get(hash);
    if (order === undefined) {
      order = this.#names.size;
      this.#names.set(hash, order);
    }
    this.#nameOrder[object] = order;
  }

  /** A tree that is new and all below it that is new; depth first, without recursion. */
  #walk(root: number): void {
    if (this.#recency[root] !== UNREACHED) return;
    this.#meet(root, 0);
    const stack: number[] = [root];
    const cursor = this.#cursor;
    while (stack.length > 0) {
      const tree = stack.pop()!;
      const hashBefore = tree === root ? 0 : hashStep(this.#nameHash[tree]!, SLASH);
      const data = this.#bytes.read(tree);
      cursor.reset(data);
      const below = stack.length;
      while (cursor.next()) {
        const kind = kindOfMode(cursor.mode);
        if (kind === 0) continue;
        const object = this.#member(data, cursor.oidStart, kind);
        if (object < 0 || this.#recency[object] !== UNREACHED) continue;
        let hash = hashBefore;
        for (let at = cursor.nameStart; at < cursor.nameEnd; at++) hash = hashStep(hash, data[at]!);
        this.#meet(object, hash);
        if (kind === KIND_TREE) stack.push(object);
      }
      reverseFrom(stack, below);
    }
  }
}

/** The first of the trees that were pushed together is the next to be walked. */
function reverseFrom(stack: number[], from: number): void {
  for (let low = from, high = stack.length - 1; low < high; low++, high--) {
    const held = stack[low]!;
    stack[low] = stack[high]!;
    stack[high] = held;
  }
}
