import { KIND_TREE, kindOfMode, type ObjectFormat, oidLength } from '../object/mod.ts';
import { badBitmap } from './roaring.ts';

const NUL = 0;
const SPACE = 0x20;
const SLASH = 0x2f;
/** A difference is looked for byte by byte this far, then in ever larger steps. */
const STEP_BYTES = 64;

/** What an entry of a tree that older ones lack is: its oid starts at `oidAt`. `others`: oids of the trees that stand under its name there. */
export interface NewEntry {
  readonly oidAt: number;
  readonly isTree: boolean;
  readonly others: Buffer[];
}

/**
 * Entries of a tree that none of the older trees has just so. The stretches that two trees share are compared as bytes, and only entries
 * around a difference are looked at: most trees differ from the one before in one entry. Links to other repositories are passed over.
 * @throws PackhouseError `bad-bitmap` at a tree that cannot be read
 */
export function newEntries(fresh: Buffer, olds: readonly Buffer[], format: ObjectFormat): NewEntry[] {
  const width = oidLength(format);
  const found = olds.length === 0 ? allEntries(fresh, width) : differing(fresh, olds[0]!, width);
  let left = found;
  for (let i = 1; i < olds.length && left.length > 0; i++) left = stillNew(fresh, left, olds[i]!, width);
  const entries: NewEntry[] = [];
  for (const { start, nul, others } of left) {
    const kind = kindOfMode(modeAt(fresh, start));
    if (kind !== 0) entries.push({ oidAt: nul + 1, isTree: kind === KIND_TREE, others });
  }
  return entries;
}

interface Candidate {
  readonly start: number;
  readonly nul: number;
  readonly others: Buffer[];
}

function nulAfter(data: Buffer, start: number, width: number): number {
  let at = start;
  while (data[at] !== NUL && at < data.length) at++;
  if (at + 1 + width > data.length) throw badBitmap('meets a tree that cannot be read', start);
  return at;
}

function modeAt(data: Buffer, start: number): number {
  let mode = 0;
  for (let at = start; data[at] !== SPACE; at++) {
    if (at >= data.length) throw badBitmap('meets a tree that cannot be read', start);
    mode = ((mode << 3) + (data[at]! - 0x30)) & 0xffff;
  }
  return mode;
}

function isTree(data: Buffer, start: number): boolean {
  return kindOfMode(modeAt(data, start)) === KIND_TREE;
}

function allEntries(fresh: Buffer, width: number): Candidate[] {
  const found: Candidate[] = [];
  for (let start = 0; start < fresh.length; ) {
    const nul = nulAfter(fresh, start, width);
    found.push({ start, nul, others: [] });
    start = nul + 1 + width;
  }
  return found;
}

/** Entries in which a tree differs from an older one, both sides walked together. */
function differing(fresh: Buffer, old: Buffer, width: number): Candidate[] {
  const found: Candidate[] = [];
  let i = 0;
  let j = 0;
  while (i < fresh.length) {
    const same = i + commonBytes(fresh, i, old, j);
    if (same === fresh.length) return found;
    let nul = nulAfter(fresh, i, width);
    for (let next = nul + 1 + width; next <= same; next = nul + 1 + width) {
      j += next - i;
      i = next;
      if (i === fresh.length) return found;
      nul = nulAfter(fresh, i, width);
    }
    const others: Buffer[] = [];
    const order = j >= old.length ? -1 : pairUp(fresh, i, nul, old, j, width, others);
    if (order <= 0) {
      found.push({ start: i, nul, others });
      i = nul + 1 + width;
    }
    if (order >= 0) j = nulAfter(old, j, width) + 1 + width;
  }
  return found;
}

/** Git's order of two entries' names; of two trees of the same name the old one is kept in `others`. */
function pairUp(
  fresh: Buffer,
  start: number,
  nul: number,
  old: Buffer,
  oldStart: number,
  width: number,
  others: Buffer[],
): number {
  const oldNul = nulAfter(old, oldStart, width);
  const name = fresh.indexOf(SPACE, start) + 1;
  const oldName = old.indexOf(SPACE, oldStart) + 1;
  const length = Math.min(nul - name, oldNul - oldName);
  const order = fresh.compare(old, oldName, oldName + length, name, name + length);
  if (order !== 0) return order;
  const bothTrees = [isTree(fresh, start), isTree(old, oldStart)] as const;
  const after = nul - name > length ? fresh[name + length]! : bothTrees[0] ? SLASH : 0;
  const oldAfter = oldNul - oldName > length ? old[oldName + length]! : bothTrees[1] ? SLASH : 0;
  if (after === oldAfter && bothTrees[0] && bothTrees[1]) others.push(old.subarray(oldNul + 1, oldNul + 1 + width));
  return after - oldAfter;
}

/** Those of some entries that another old tree does not have either. */
function stillNew(fresh: Buffer, entries: readonly Candidate[], old: Buffer, width: number): Candidate[] {
  const left: Candidate[] = [];
  let j = 0;
  for (const entry of entries) {
    let order = 1;
    let isSame = false;
    while (j < old.length) {
      const end = entry.nul + 1 + width;
      isSame = old.compare(fresh, entry.start, end, j, Math.min(old.length, j + end - entry.start)) === 0;
      if (isSame) break;
      order = pairUp(fresh, entry.start, entry.nul, old, j, width, entry.others);
      if (order <= 0) break;
      j = nulAfter(old, j, width) + 1 + width;
    }
    if (!isSame) left.push(entry);
  }
  return left;
}

/** How many bytes two buffers share from some places on. */
function commonBytes(a: Buffer, i: number, b: Buffer, j: number): number {
  const max = Math.min(a.length - i, b.length - j);
  let same = 0;
  let step = STEP_BYTES;
  while (same < max) {
    const size = Math.min(step, max - same);
    if (a.compare(b, j + same, j + same + size, i + same, i + same + size) === 0) {
      same += size;
      step *= 2;
      continue;
    }
    if (size <= STEP_BYTES) {
      while (a[i + same] === b[j + same]) same++;
      return same;
    }
    step = Math.max(STEP_BYTES, size >>> 2);
  }
  return same;
}
