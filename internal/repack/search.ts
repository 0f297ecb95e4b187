import { deflateSync } from 'node:zlib';
import { createDelta, type DeltaIndex, deltaIndexBytes, indexForDelta } from '../packformat/mod.ts';
import { type Chains, keptBase } from './chains.ts';
import type { FoundDeltas } from './found-deltas.ts';
import type { ObjectBytes } from './object-bytes.ts';
import { isInPack, type ObjectTable, searchedHome, wholeCopy } from './object-table.ts';
import type { RepackSettings } from './types.ts';
import type { History } from './walk.ts';

/** Git tries no smaller objects: there is nothing to win. */
const OBJECT_BYTES_MIN = 50;

/** What a delta entry needs before its zlib stream, about. */
const ENTRY_HEAD_BYTES = 5;

/** An object in the window, with the index of its blocks once it was somebody's base. */
interface Neighbour {
  readonly object: number;
  readonly bytes: Buffer;
  index: DeltaIndex | null;
  /** As `homeOf` tells. */
  readonly home: number;
}

/** The best delta of an object so far. */
interface Candidate {
  readonly neighbour: Neighbour;
  readonly delta: Buffer;
  readonly depth: number;
}

export interface SearchParts {
  readonly table: ObjectTable;
  readonly chains: Chains;
  readonly bytes: ObjectBytes;
  readonly settings: RepackSettings;
  /** 1: deltas have been searched among all objects of that input. */
  readonly searched: Uint8Array;
  /** Takes a delta that was found: its size, its zlib stream. */
  readonly onDelta: (object: number, base: number, size: number, body: Buffer) => void;
}

/**
 * The order in which neighbours are likely to be alike, as git's pack-objects has it: by kind, by the hash of the path's end, the largest first
 * (deleting is cheaper than inserting), the newest first.
 */
export function searchOrder(table: ObjectTable, history: History): Uint32Array {
  const { recency, nameHash } = history;
  const order = new Uint32Array(table.keep.reduce((sum, stays) => sum + stays, 0));
  let filled = 0;
  for (let object = 0; object < table.count; object++) if (table.keep[object]) order[filled++] = object;
  const { kinds, sizes } = table;
  return order.sort(
    (a, b) => kinds[a]! - kinds[b]! || nameHash[a]! - nameHash[b]! || sizes[b]! - sizes[a]! || recency[a]! - recency[b]! || a - b,
  );
}

/**
 * Searches deltas for the objects that have none, by a window that slides over the search order. Objects that are deltas already are
 * neighbours too, but are read only where somebody near them is searched. When whole objects would be deltas but for the chains that hang on
 * them, those are taken apart and searched in a second round: else what is merged again and again would keep a whole object of each time.
 */
export function searchDeltas(order: Uint32Array, parts: SearchParts, onObject: () => void): void {
  const { chains, settings } = parts;
  if (settings.window <= 0 || settings.depth <= 0) return;
  const targets = new Uint8Array(chains.base.length).fill(1);
  const blocked = searchRound(order, targets, parts, onObject);
  if (!blocked.includes(1)) return;
  chains.release(blocked);
  searchRound(order, blocked, parts, () => {});
}

/** One round over the marked objects; what it marks are those that only the height of what hangs on them keeps whole. */
function searchRound(order: Uint32Array, marked: Uint8Array, parts: SearchParts, onObject: () => void): Uint8Array {
  const { table, chains, settings } = parts;
  const canBeBase = (object: number): boolean => {
    const size = table.sizes[object]!;
    return size >= OBJECT_BYTES_MIN && size <= settings.searchBytesMax;
  };
  const isSettled = settledObjects(order, parts);
  const isTarget = (object: number): boolean =>
    marked[object] === 1 && chains.base[object]! < 0 && isSettled[object] === 0 && canBeBase(object);
  const isWanted = new Uint8Array(order.length);
  for (let i = order.length - 1, near = 0; i >= 0; i--) {
    if (isTarget(order[i]!)) near = settings.window + 1;
    if (near-- > 0 && canBeBase(order[i]!)) isWanted[i] = 1;
  }
  const blocked = new Uint8Array(chains.base.length);
  const window = new SearchWindow(parts);
  let kind = 0;
  for (let i = 0; i < order.length; i++) {
    const object = order[i]!;
    if (kind !== table.kinds[object]) window.clear();
    kind = table.kinds[object]!;
    if (isWanted[i] && window.visit(object, isTarget(object)) === 'blocked') blocked[object] = 1;
    onObject();
  }
  return blocked;
}

/**
 * The pack that an object was left whole in by a search, among whose objects none is searched for it again, as git's pack-objects does not; -1:
 * none. Where its tree is taken apart there is a new search.
 */
function homeOf(object: number, { table, chains, searched }: SearchParts): number {
  return chains.isApart(object) ? -1 : searchedHome(table, object, searched);
}

/** 1: all that stands near in the order is of the pack in which the object was left whole: it need not even be read. */
function settledObjects(order: Uint32Array, parts: SearchParts): Uint8Array {
  const { table, searched, settings } = parts;
  const isSettled = new Uint8Array(table.count);
  const strangerAt = new Int32Array(searched.length).fill(-1 - settings.window);
  for (let i = 0; i < order.length; i++) {
    const object = order[i]!;
    const home = homeOf(object, parts);
    if (home >= 0 && i - strangerAt[home]! > settings.window) isSettled[object] = 1;
    for (let pack = 0; pack < searched.length; pack++) {
      if (searched[pack] === 1 && !isInPack(table, object, pack)) strangerAt[pack] = i;
    }
  }
  return isSettled;
}

/** Deltas that were taken apart and not found again are better than nothing, where chains have room for them. */
export function takeBack(table: ObjectTable, chains: Chains, found: FoundDeltas): void {
  for (let object = 0; object < table.count; object++) {
    if (chains.base[object]! >= 0) continue;
    const had = found.baseOf(object);
    if (had >= 0 && chains.link(object, had)) continue;
    const base = keptBase(table, object);
    if (base >= 0) chains.link(object, base);
  }
}

/**
 * The window has two halves: objects that came whole, as git's has, and those that are deltas already. Versions of a file that were merged
 * before form a tree; its root meets the root of the next tree only if the members of both are not all that it sees.
 */
class SearchWindow {
  readonly #parts: SearchParts;
  /** In each half the last one is tried first. */
  readonly #targets: Neighbour[] = [];
  readonly #others: Neighbour[] = [];
  #heldBytes = 0;

  constructor(parts: SearchParts) {
    this.#parts = parts;
  }

  clear(): void {
    this.#targets.length = 0;
    this.#others.length = 0;
    this.#heldBytes = 0;
  }

  /** Takes the next object in, and searches a delta for it if it is a target. `blocked`: there would be one, but for what hangs on it. */
  visit(object: number, isTarget: boolean): 'blocked' | 'done' {
    const { chains, settings, bytes } = this.#parts;
    const entering: Neighbour = { object, bytes: bytes.read(object), index: null, home: homeOf(object, this.#parts) };
    this.#makeRoom(isTarget ? this.#targets : this.#others, entering.bytes.length);
    const best = isTarget ? this.#search(entering, chains.depthMax(object)) : null;
    const isBlocked = isTarget && best === null && chains.height(object) > 0 && this.#search(entering, settings.depth) !== null;
    const isTaken = best !== null && this.#take(entering, best);
    // At the end of its chain it can be nobody's base.
    if (!isTaken || best.depth < settings.depth) {
      (isTarget ? this.#targets : this.#others).push(entering);
      this.#heldBytes += entering.bytes.length;
    }
    if (isTaken) this.#favour(best.neighbour);
    return isBlocked ? 'blocked' : 'done';
  }

  #makeRoom(half: Neighbour[], bytes: number): void {
    const { window, windowMemoryBytesMax } = this.#parts.settings;
    if (half.length >= window) this.#forgetFirst(half);
    while (this.#heldBytes + bytes > windowMemoryBytesMax && this.#targets.length + this.#others.length > 0) {
      this.#forgetFirst(this.#others.length > 0 ? this.#others : this.#targets);
    }
  }

  #forgetFirst(half: Neighbour[]): void {
    const { bytes, index } = half.shift()!;
    this.#heldBytes -= bytes.length + (index === null ? 0 : deltaIndexBytes(bytes.length));
  }

  /** A base that was good once is likely to be again: it stays longest. */
  #favour(base: Neighbour): void {
    const half = this.#targets.includes(base) ? this.#targets : this.#others;
    half.splice(half.indexOf(base), 1);
    half.push(base);
  }

  /** The best delta that is not deeper than `depthMax`. */
  #search(target: Neighbour, depthMax: number): Candidate | null {
    let best: Candidate | null = null;
    for (const half of [this.#targets, this.#others]) {
      for (let i = half.length - 1; i >= 0; i--) best = this.#try(half[i]!, target, best, depthMax) ?? best;
    }
    return best;
  }

  /** A better delta on that neighbour, or null. */
  #try(neighbour: Neighbour, target: Neighbour, best: Candidate | null, depthMax: number): Candidate | null {
    const { chains, table } = this.#parts;
    if (target.home >= 0 && isInPack(table, neighbour.object, target.home)) return null;
    const size = target.bytes.length;
    const baseSize = neighbour.bytes.length;
    if (size < baseSize >>> 5) return null;
    const depth = chains.depthUnless(neighbour.object, target.object);
    if (depth < 0 || depth + 1 > depthMax) return null;
    // Git's rule: the deeper a base lies, the more its delta must save.
    const limit = best === null ? (size >>> 1) - 20 : best.delta.length;
    const limitDepth = best === null ? 1 : best.depth;
    const bytesMax = Math.floor((limit * (depthMax - depth)) / (depthMax - limitDepth + 1));
    if (bytesMax <= 0 || Math.max(0, size - baseSize) >= bytesMax) return null;
    if (neighbour.index === null) {
      neighbour.index = indexForDelta(neighbour.bytes);
      this.#heldBytes += deltaIndexBytes(baseSize);
    }
    const delta = createDelta(neighbour.index, target.bytes, bytesMax);
    if (delta === null) return null;
    if (best !== null && delta.length >= best.delta.length && depth + 1 >= best.depth) return null;
    return { neighbour, delta: Buffer.from(delta), depth: depth + 1 };
  }

  /** Links the delta, unless the object is smaller as it is. */
  #take(target: Neighbour, best: Candidate): boolean {
    const { chains, settings, onDelta } = this.#parts;
    const body = deflateSync(best.delta, { level: settings.compressionLevel });
    if (body.length + ENTRY_HEAD_BYTES >= this.#wholeBytes(target)) return false;
    if (!chains.link(target.object, best.neighbour.object)) return false;
    onDelta(target.object, best.neighbour.object, best.delta.length, body);
    return true;
  }

  /** What the object takes when it is whole. Of a delta that came with its base that is not told: what becomes of all is weighed at the end. */
  #wholeBytes(target: Neighbour): number {
    const { table, settings } = this.#parts;
    const whole = wholeCopy(table, target.object);
    if (whole >= 0) return table.copyLength[whole]!;
    if (keptBase(table, target.object) >= 0) return Number.POSITIVE_INFINITY;
    return deflateSync(target.bytes, { level: settings.compressionLevel }).length;
  }
}
