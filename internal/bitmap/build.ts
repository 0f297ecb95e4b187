import { assert } from '../base/mod.ts';
import { KIND_BLOB, KIND_TREE } from '../object/mod.ts';
import { BitSet } from './bitset.ts';
import { type History, readHistory } from './history.ts';
import { PackObjects, type PackRows } from './pack-objects.ts';
import { type ReachBitmaps, ReachWriter } from './reach-file.ts';
import { badBitmap } from './roaring.ts';
import { selectCommits } from './select-commits.ts';
import { newEntries } from './tree-news.ts';

/** A pack whose bitmaps are made or checked. */
export interface ReachInput extends PackRows {
  readonly format: 'sha1' | 'sha256';
  /** The pack's trailer. */
  readonly checksum: Buffer;
  /** Graph records of its commits and tags. */
  readonly graph: readonly Buffer[];
  /** The tree at a row, whole. The buffer is not changed while the work goes on. */
  readonly readTree: (row: number) => Buffer;
}

/** Histories that bring back old trees over and over are given up when they name this many objects for each that they have, and some more. */
const NEWS_FACTOR_MAX = 8;
const NEWS_FREE = 1_000_000;

export interface ReachLimits {
  readonly newsFree: number;
}

/**
 * Makes the bitmaps of a pack. Null when it is not closed (a commit or tree of it links to what it does not have), or when its history brings
 * back so much that it is not worth it. Time and memory grow with the objects: each tree is compared once with those before it.
 * @throws PackhouseError `bad-bitmap` when an object is not what its links say; what `readTree` throws
 */
export function buildReach(input: ReachInput, limits: ReachLimits = { newsFree: NEWS_FREE }): Buffer | null {
  const objects = new PackObjects(input, input.format);
  const writer = new ReachWriter(input.format, input.checksum, objects.kindsByPosition());
  const closures = closuresOf(input, objects, limits, writer);
  if (closures === null) return null;
  for (const { position, set } of closures) writer.add(position, set);
  return writer.finish();
}

/**
 * What is wrong with bitmaps of a pack, null when nothing is: everything is made again and compared.
 * @throws as `buildReach` does
 */
export function checkReach(input: ReachInput, bitmaps: ReachBitmaps): string | null {
  const objects = new PackObjects(input, input.format);
  const kinds = objects.kindsByPosition();
  for (let position = 0; position < kinds.length; position++)
    if (!bitmaps.ofKind(kinds[position]!).has(position)) return `the object at position ${position} is of another kind`;
  const isSelected = (row: number): boolean => bitmaps.hasBitmap(objects.order.positions[row]!);
  const closures = closuresOf(input, objects, { newsFree: NEWS_FREE }, bitmaps, isSelected);
  if (closures === null) return 'the pack is not closed';
  for (const { position, set } of closures) {
    const stored = new BitSet(objects.count);
    bitmaps.addReached(stored, position);
    if (!stored.equals(set)) return `the commit at position ${position} reaches something else`;
  }
  return null;
}

interface Closure {
  readonly position: number;
  readonly set: BitSet;
}

/** Where the bitmaps of commits are that came before. */
interface Before {
  addReached(into: BitSet, position: number): boolean;
}

function closuresOf(
  input: ReachInput,
  objects: PackObjects,
  limits: ReachLimits,
  before: Before,
  isSelected?: (row: number) => boolean,
): Iterable<Closure> | null {
  const history = readHistory(objects, input.graph, input.format);
  if (history === null) return null;
  const news = new TreeNews(input, objects, history, limits).run();
  if (news === null) return null;
  const selected =
    isSelected === undefined ? selectCommits(history) : Uint8Array.from(history.rows, (row) => (isSelected(row) ? 1 : 0));
  return closures(history, news, selected, objects, before);
}

/** What each commit brings: rows of trees and blobs that stand in its tree where none of its parents has the same. */
interface News {
  readonly rows: Uint32Array;
  readonly from: Float64Array;
  readonly to: Float64Array;
}

/** Finds what each commit brings by comparing its tree with its parents'. What it does not bring, a parent reaches. */
class TreeNews {
  readonly #input: ReachInput;
  readonly #objects: PackObjects;
  readonly #history: History;
  #rows = new Uint32Array(1 << 16);
  #used = 0;
  /** The commit that brought an object last, plus one. */
  readonly #broughtBy: Uint32Array;
  readonly #max: number;

  constructor(input: ReachInput, objects: PackObjects, history: History, limits: ReachLimits) {
    this.#input = input;
    this.#objects = objects;
    this.#history = history;
    this.#broughtBy = new Uint32Array(objects.count);
    this.#max = limits.newsFree + NEWS_FACTOR_MAX * objects.count;
  }

  /** Null when a tree links to what the pack does not have, or when it becomes too much. */
  run(): News | null {
    const { count, parents, parentsAt, trees } = this.#history;
    const from = new Float64Array(count);
    const to = new Float64Array(count);
    // The youngest first, as packs keep trees: the base of a delta has then just been read.
    for (let commit = count - 1; commit >= 0; commit--) {
      from[commit] = this.#used;
      const olds: number[] = [];
      for (let i = parentsAt[commit]!; i < parentsAt[commit + 1]!; i++) olds.push(trees[parents[i]!]!);
      if (!this.#compare(commit, trees[commit]!, olds) || this.#used > this.#max) return null;
      to[commit] = this.#used;
    }
    return { rows: this.#rows.subarray(0, this.#used), from, to };
  }

  #compare(commit: number, root: number, olds: readonly number[]): boolean {
    if (olds.includes(root)) return true;
    this.#expect(root, KIND_TREE);
    this.#bring(root, commit);
    const stack = [{ tree: root, olds }];
    for (let pair = stack.pop(); pair !== undefined; pair = stack.pop()) {
      const fresh = this.#input.readTree(pair.tree);
      const before = pair.olds.map((row) => this.#input.readTree(row));
      for (const { oidAt, isTree, others } of newEntries(fresh, before, this.#input.format)) {
        const row = this.#objects.rowOf(fresh, oidAt);
        if (row < 0) return false;
        this.#expect(row, isTree ? KIND_TREE : KIND_BLOB);
        // What was brought by this commit already was compared with some of its parents', or listed whole.
        if (!this.#bring(row, commit) || !isTree) continue;
        const rows = others.map((oid) => this.#objects.rowOf(oid, 0));
        if (rows.includes(-1)) return false;
        if (!rows.includes(row)) stack.push({ tree: row, olds: rows });
      }
      if (this.#used > this.#max) return false;
    }
    return true;
  }

  #expect(row: number, kind: number): void {
    if (this.#objects.kinds[row] !== kind)
      throw badBitmap(`meets an object of kind ${this.#objects.kinds[row]}, not ${kind}`, row);
  }

  #bring(row: number, commit: number): boolean {
    if (this.#broughtBy[row] === commit + 1) return false;
    this.#broughtBy[row] = commit + 1;
    if (this.#used === this.#rows.length) {
      const wider = new Uint32Array(this.#used * 2);
      wider.set(this.#rows);
      this.#rows = wider;
    }
    this.#rows[this.#used++] = row;
    return true;
  }
}

/** How many of the last sets are kept as they are: a child's is made from its parents'. */
const KEPT_SETS = 32;

/** What each selected commit reaches, parents before children. Nobody may change a set. */
function* closures(history: History, news: News, selected: Uint8Array, objects: PackObjects, before: Before): Generator<Closure> {
  const kept = new Map<number, BitSet>();
  const { positions } = objects.order;
  const { parents, parentsAt, rows } = history;
  const visited = new Uint32Array(history.count);
  for (let commit = 0; commit < history.count; commit++) {
    if (!selected[commit]) continue;
    const set = new BitSet(objects.count);
    const stack = [commit];
    visited[commit] = commit + 1;
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      const position = positions[rows[at]!]!;
      if (set.has(position)) continue;
      if (selected[at] && at !== commit) {
        const known = kept.get(at);
        if (known !== undefined) set.or(known);
        else assert(before.addReached(set, position), 'a parent has its bitmap before a child');
        continue;
      }
      set.add(position);
      for (let i = news.from[at]!; i < news.to[at]!; i++) set.add(positions[news.rows[i]!]!);
      for (let i = parentsAt[at]!; i < parentsAt[at + 1]!; i++) {
        const parent = parents[i]!;
        if (visited[parent] === commit + 1) continue;
        visited[parent] = commit + 1;
        stack.push(parent);
      }
    }
    kept.set(commit, set);
    if (kept.size > KEPT_SETS) kept.delete(kept.keys().next().value!);
    yield { position: positions[rows[commit]!]!, set };
  }
}
