import { KIND_COMMIT, type ObjectFormat, oidLength, readGraphRecords } from '../object/mod.ts';
import type { PackObjects } from './pack-objects.ts';

/**
 * The commits of a closed pack as numbers, parents before children: what a commit links to has a lower number. The order hangs on the pack
 * alone, so that the same pack gives the same bitmaps.
 */
export interface History {
  readonly count: number;
  /** Row of each commit, and of its root tree. */
  readonly rows: Uint32Array;
  readonly trees: Uint32Array;
  readonly times: Float64Array;
  /** Parents of commit i: `parents[parentsAt[i] .. parentsAt[i + 1])`. */
  readonly parentsAt: Uint32Array;
  readonly parents: Uint32Array;
  /** 1: the commit is no parent of another. */
  readonly isTip: Uint8Array;
  /** 1: a tag names it. */
  readonly isTagged: Uint8Array;
}

interface Record {
  readonly row: number;
  readonly tree: number;
  readonly time: number;
  readonly parents: number[];
}

/** Null when a commit links to what the pack does not have. */
export function readHistory(objects: PackObjects, graph: readonly Buffer[], format: ObjectFormat): History | null {
  const width = oidLength(format);
  const records: Record[] = [];
  const taggedRows = new Set<number>();
  let isClosed = true;
  const rowOf = (bytes: Buffer, at: number): number => {
    const row = objects.rowOf(bytes, at);
    if (row < 0) isClosed = false;
    return row;
  };
  for (const block of graph) {
    readGraphRecords(block, format, {
      commit(bytes, oidAt, treeAt, time, parentsAt, parentCount) {
        const parents = Array.from({ length: parentCount }, (_, i) => rowOf(bytes, parentsAt + i * width));
        records.push({ row: rowOf(bytes, oidAt), tree: rowOf(bytes, treeAt), time, parents });
      },
      tag(bytes, _oidAt, targetKind, targetAt) {
        const row = targetKind === KIND_COMMIT ? objects.rowOf(bytes, targetAt) : -1;
        if (row >= 0) taggedRows.add(row);
      },
    });
  }
  return isClosed ? numbered(records, taggedRows, objects.kinds) : null;
}

function numbered(records: Record[], taggedRows: ReadonlySet<number>, kinds: Uint8Array): History | null {
  records.sort((a, b) => a.time - b.time || a.row - b.row);
  const byRow = new Map(records.map((record, i) => [record.row, i]));
  const count = records.length;
  for (const { row, parents } of records)
    if (kinds[row] !== KIND_COMMIT || parents.some((parent) => !byRow.has(parent))) return null;
  const order = parentsFirst(records, byRow);
  const numbers = new Uint32Array(count);
  order.forEach((record, i) => {
    numbers[record] = i;
  });
  const parentsAt = new Uint32Array(count + 1);
  const parents: number[] = [];
  const isTip = new Uint8Array(count).fill(1);
  for (let i = 0; i < count; i++) {
    for (const parent of records[order[i]!]!.parents) {
      const number = numbers[byRow.get(parent)!]!;
      isTip[number] = 0;
      parents.push(number);
    }
    parentsAt[i + 1] = parents.length;
  }
  return {
    count,
    rows: Uint32Array.from(order, (i) => records[i]!.row),
    trees: Uint32Array.from(order, (i) => records[i]!.tree),
    times: Float64Array.from(order, (i) => records[i]!.time),
    parentsAt,
    parents: Uint32Array.from(parents),
    isTip,
    isTagged: Uint8Array.from(order, (i) => (taggedRows.has(records[i]!.row) ? 1 : 0)),
  };
}

/** Records by date, but each behind its parents; without recursion. */
function parentsFirst(records: readonly Record[], byRow: ReadonlyMap<number, number>): Uint32Array {
  const order = new Uint32Array(records.length);
  const isPlaced = new Uint8Array(records.length);
  let filled = 0;
  const stack: number[] = [];
  for (let start = 0; start < records.length; start++) {
    if (isPlaced[start]) continue;
    stack.push(start);
    while (stack.length > 0) {
      const at = stack[stack.length - 1]!;
      const waiting = isPlaced[at]
        ? []
        : records[at]!.parents.map((row) => byRow.get(row)!).filter((parent) => !isPlaced[parent]);
      if (waiting.length > 0) {
        stack.push(...waiting.reverse());
        continue;
      }
      if (!isPlaced[at]) {
        isPlaced[at] = 1;
        order[filled++] = at;
      }
      stack.pop();
    }
  }
  return order;
}
