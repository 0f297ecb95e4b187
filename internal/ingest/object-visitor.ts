import { KIND_TREE, type TreeCopies, type TreeShape } from '../object/mod.ts';
import type { ObjectChecker } from './check.ts';
import type { EntryTable } from './entry-table.ts';
import type { LinkCollector } from './links.ts';

/** Looks at each object of a pack: checks it and gathers its links. */
export class ObjectVisitor {
  readonly #entries: () => EntryTable;
  readonly #checker: ObjectChecker;
  readonly #links: LinkCollector;
  readonly #trees: Map<string, Buffer> | null;
  /** Trees in which something was found: what was made of them is looked at whole. */
  readonly faulty: Set<number>;

  /** `trees` gets a copy of each tree by hex oid; `faulty` are entries that another thread has found to be so. */
  constructor(
    entries: () => EntryTable,
    checker: ObjectChecker,
    links: LinkCollector,
    trees: Map<string, Buffer> | null,
    faulty: Iterable<number> = [],
  ) {
    this.#entries = entries;
    this.#checker = checker;
    this.#links = links;
    this.#trees = trees;
    this.faulty = new Set(faulty);
  }

  /** Looks at an object that has its name: `buffer[at, at + size)` is valid during the call only. @throws PackError */
  visit(index: number, kind: number, buffer: Buffer, at: number, size: number): void {
    const oid = this.#entries().oid(index);
    const data = buffer.subarray(at, at + size);
    if (!this.#checker.check(kind, oid, data) && kind === KIND_TREE) this.faulty.add(index);
    this.#links.visit(oid, kind, data);
    if (this.#trees !== null && kind === KIND_TREE) this.#trees.set(oid.toString('hex'), Buffer.from(data));
  }

  /**
   * Looks at a tree that a delta has made of a visited one without faults: what was copied was looked at there, and most trees differ from their
   * base in an entry or two. The number of entries, and nothing was found; -1 when it must be visited, though parts of it may have been seen.
   */
  visitChanged(data: Buffer, base: TreeShape, copies: TreeCopies): number {
    return this.#checker.checkChangedTree(data, base, copies, (cursor) => this.#links.visitEntry(data, cursor));
  }

  /** The shape of the tree that `visitChanged` was called for last: a view that its next call overwrites. */
  changedShape(entries: number): TreeShape {
    return this.#checker.changedShape(entries);
  }

  /** Where the entries of a visited tree start: a view that the next call overwrites; null when what is made of it must be visited. */
  shapeOf(index: number, data: Buffer): TreeShape | null {
    return this.#trees !== null || this.faulty.has(index) ? null : this.#links.shapeOf(data);
  }
}
