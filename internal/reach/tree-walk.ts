import { KIND_TREE, kindOfMode, MODE_TREE, MODE_TYPE_MASK, type ObjectFormat, oidLength, TreeCursor } from '../object/mod.ts';
import { breath } from '../packread/mod.ts';

/** Raw trees by oid: a view that stays valid; a promise only when it must be waited for. */
export interface TreeSource {
  tree(oid: Buffer): Buffer | Promise<Buffer>;
}

/** Called for each entry that asks for an object: `data[oidStart]` begins its raw oid. Returning false keeps the walk out of a tree. */
export type EntryVisitor = (data: Buffer, oidStart: number, kind: number, depth: number) => boolean;

/** Visits everything below a tree, depth first; `visit` decides which trees are entered. The root itself is not visited. */
export async function listTree(source: TreeSource, format: ObjectFormat, root: Buffer, visit: EntryVisitor): Promise<void> {
  const cursor = new TreeCursor(format);
  const width = oidLength(format);
  const stack: { oid: Buffer; depth: number }[] = [{ oid: root, depth: 1 }];
  while (stack.length > 0) {
    const pause = breath();
    if (pause) await pause;
    const { oid, depth } = stack.pop()!;
    const read = source.tree(oid);
    const data = Buffer.isBuffer(read) ? read : await read;
    cursor.reset(data);
    const below: Buffer[] = [];
    while (cursor.next()) {
      const kind = kindOfMode(cursor.mode);
      if (kind === 0) continue;
      const enter = visit(data, cursor.oidStart, kind, depth);
      if (enter && kind === KIND_TREE) below.push(data.subarray(cursor.oidStart, cursor.oidStart + width));
    }
    for (let i = below.length - 1; i >= 0; i--) stack.push({ oid: below[i]!, depth: depth + 1 });
  }
}

/** One tree's entries, for comparing two trees side by side. */
class EntryList {
  readonly data: Buffer;
  readonly modes: number[] = [];
  readonly nameStarts: number[] = [];
  readonly nameEnds: number[] = [];
  readonly oidStarts: number[] = [];

  constructor(data: Buffer, cursor: TreeCursor) {
    this.data = data;
    cursor.reset(data);
    while (cursor.next()) {
      this.modes.push(cursor.mode);
      this.nameStarts.push(cursor.nameStart);
      this.nameEnds.push(cursor.nameEnd);
      this.oidStarts.push(cursor.oidStart);
    }
  }

  get length(): number {
    return this.modes.length;
  }

  /** Git's order of tree entries, in which a tree's name ends in a slash. */
  compare(i: number, other: EntryList, j: number): number {
    const aStart = this.nameStarts[i]!;
    const bStart = other.nameStarts[j]!;
    const aLength = this.nameEnds[i]! - aStart;
    const bLength = other.nameEnds[j]! - bStart;
    const common = Math.min(aLength, bLength);
    const difference = this.data.compare(other.data, bStart, bStart + common, aStart, aStart + common);
    if (difference !== 0) return difference;
    const a = aLength > common ? this.data[aStart + common]! : this.isTree(i) ? 0x2f : 0;
    const b = bLength > common ? other.data[bStart + common]! : other.isTree(j) ? 0x2f : 0;
    return a - b;
  }

  isTree(i: number): boolean {
    return (this.modes[i]! & MODE_TYPE_MASK) === MODE_TREE;
  }

  oid(i: number, width: number): Buffer {
    return this.data.subarray(this.oidStarts[i]!, this.oidStarts[i]! + width);
  }
}

export interface TreeDiffOptions {
  readonly source: TreeSource;
  readonly format: ObjectFormat;
  /** An entry of the new tree that none of the old ones has under the same name. Returning false keeps the walk out of a tree. */
  readonly onNew: EntryVisitor;
  /** Every entry of every old tree that the comparison reads. */
  readonly onOld?: (data: Buffer, oidStart: number, kind: number) => void;
}

/**
 * Compares a tree with older ones path by path and visits what is new. Reads only the directories in which they differ, so a small
 * change in a large repository costs a few trees.
 */
export async function diffTree(root: Buffer, olds: readonly Buffer[], options: TreeDiffOptions): Promise<void> {
  const { source, format, onNew, onOld } = options;
  const width = oidLength(format);
  const cursor = new TreeCursor(format);
  const stack: { fresh: Buffer; olds: readonly Buffer[]; depth: number }[] = [{ fresh: root, olds, depth: 1 }];
  while (stack.length > 0) {
    const pause = breath();
    if (pause) await pause;
    const pair = stack.pop()!;
    const freshRead = source.tree(pair.fresh);
    const fresh = new EntryList(Buffer.isBuffer(freshRead) ? freshRead : await freshRead, cursor);
    const same = new Uint8Array(fresh.length);
    const counterparts: Buffer[][] = [];
    for (const oid of pair.olds) {
      const oldRead = source.tree(oid);
      const old = new EntryList(Buffer.isBuffer(oldRead) ? oldRead : await oldRead, cursor);
      pairEntries(fresh, old, width, same, counterparts);
      if (onOld === undefined) continue;
      for (let i = 0; i < old.length; i++) {
        const kind = kindOfMode(old.modes[i]!);
        if (kind !== 0) onOld(old.data, old.oidStarts[i]!, kind);
      }
    }
    for (let i = fresh.length - 1; i >= 0; i--) {
      const kind = kindOfMode(fresh.modes[i]!);
      if (kind === 0 || same[i] === 1) continue;
      if (onNew(fresh.data, fresh.oidStarts[i]!, kind, pair.depth) && kind === KIND_TREE) {
        stack.push({ fresh: fresh.oid(i, width), olds: counterparts[i] ?? [], depth: pair.depth + 1 });
      }
    }
  }
}

/** Walks two sorted lists together: marks entries that are the same in both, and notes old trees that stand under a new tree's name. */
function pairEntries(fresh: EntryList, old: EntryList, width: number, same: Uint8Array, counterparts: Buffer[][]): void {
  let i = 0;
  let j = 0;
  while (i < fresh.length && j < old.length) {
    const order = fresh.compare(i, old, j);
    if (order < 0) {
      i++;
    } else if (order > 0) {
      j++;
    } else {
      const start = old.oidStarts[j]!;
      const sameOid = fresh.data.compare(old.data, start, start + width, fresh.oidStarts[i]!, fresh.oidStarts[i]! + width) === 0;
      // A gitlink's oid says nothing of an object here, even when a file of that oid takes its place.
      if (sameOid && kindOfMode(fresh.modes[i]!) === kindOfMode(old.modes[j]!)) {
        same[i] = 1;
      } else if (fresh.isTree(i) && old.isTree(j)) {
        const list = counterparts[i];
        if (list === undefined) counterparts[i] = [old.oid(j, width)];
        else list.push(old.oid(j, width));
      }
      i++;
      j++;
    }
  }
}
