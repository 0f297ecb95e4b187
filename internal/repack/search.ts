import { deflateSync } from 'node:zlib';
import { createDelta, type DeltaIndex, deltaIndexBytes, indexForDelta } from '../packformat/mod.ts';
import { type Chains, keptBase } from './chains.ts';
import type { ObjectBytes } from './object-bytes.ts';
import { type ObjectTable, wholeCopy } from './object-table.ts';
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

/** Whether an object is to be searched: it has no delta, and is of a size at which one pays. */
function isTarget({ table, chains, settings }: SearchParts, object: number): boolean {
  const size = table.sizes[object]!;
  return chains.base[object]! < 0 && size >= OBJECT_BYTES_MIN && size <= settings.searchBytesMax;
}

/**
 * Searches deltas for the objects of a stretch of the search order that have none, by a window that slides over it. Objects that are deltas
 * already are neighbours too, but are read only where somebody near them is searched.
 */
export function searchDeltas(order: Uint32Array, parts: SearchParts, onObject: () => void): void {
  const { table, settings } = parts;
  if (settings.window <= 0 || settings.depth <= 0) return;
  const wanted = nearTargets(order, parts);
  const window = new SearchWindow(parts);
  let kind = 0;
  for (let i = 0; i < order.length; i++) {
    const object = order[i]!;
    if (kind !== table.kinds[object]) window.clear();
    kind = table.kinds[object]!;
    if (wanted[i]) window.visit(object);
    onObject();
  }
}

/** Deltas that were taken apart and not found again are better than nothing, where chains have room for them. */
export function takeBack({ table, chains }: Pick<SearchParts, 'table' | 'chains'>): void {
  for (let object = 0; object < table.count; object++) {
    const base = chains.base[object]! < 0 ? keptBase(table, object) : -1;
    if (base >= 0) chains.link(object, base);
  }
}

/** 1 for what must be in the window: targets, and what is so near before one that it can be its base. */
function nearTargets(order: Uint32Array, parts: SearchParts): Uint8Array {
  const wanted = new Uint8Array(order.length);
  let near = 0;
  for (let i = order.length - 1; i >= 0; i--) {
    const object = order[i]!;
    if (isTarget(parts, object)) {
      wanted[i] = 1;
      near = parts.settings.window;
    } else if (near > 0) {
      near--;
      if (parts.table.sizes[object]! >= OBJECT_BYTES_MIN && parts.table.sizes[object]! <= parts.settings.searchBytesMax)
        wanted[i] = 1;
    }
  }
  return wanted;
}

class SearchWindow {
  readonly #parts: SearchParts;
  /** The last one is tried first. */
  #held: Neighbour[] = [];
  #heldBytes = 0;

  constructor(parts: SearchParts) {
    this.#parts = parts;
  }

  clear(): void {
    this.#held = [];
    this.#heldBytes = 0;
  }

  visit(object: number): void {
    const { table, settings, bytes } = this.#parts;
    const cost = table.sizes[object]!;
    while (
      this.#held.length > 0 &&
      (this.#held.length >= settings.window || this.#heldBytes + cost > settings.windowMemoryBytesMax)
    ) {
      this.#forget(this.#held[0]!, 0);
    }
    const entering: Neighbour = { object, bytes: bytes.read(object), index: null };
    const best = isTarget(this.#parts, object) ? this.#search(entering) : null;
    if (best !== null && this.#take(entering, best)) {
      // A base that was good once is likely to be again: it stays longest.
      const at = this.#held.indexOf(best.neighbour);
      this.#held.splice(at, 1);
      this.#held.push(best.neighbour);
      // At the end of its chain it can be nobody's base.
      if (best.depth >= settings.depth) return;
      this.#held.splice(this.#held.length - 1, 0, entering);
    } else {
      this.#held.push(entering);
    }
    this.#heldBytes += cost;
  }

  #forget(neighbour: Neighbour, at: number): void {
    this.#held.splice(at, 1);
    this.#heldBytes -= neighbour.bytes.length + (neighbour.index === null ? 0 : deltaIndexBytes(neighbour.bytes.length));
  }

  #search(target: Neighbour): Candidate | null {
    let best: Candidate | null = null;
    for (let i = this.#held.length - 1; i >= 0; i--) {
      const neighbour = this.#held[i];
      // An index that is made meanwhile may push neighbours out.
      if (neighbour !== undefined) best = this.#try(neighbour, target, best) ?? best;
    }
    return best;
  }

  /** A better delta on that neighbour, or null. */
  #try(neighbour: Neighbour, target: Neighbour, best: Candidate | null): Candidate | null {
    const { chains } = this.#parts;
    const size = target.bytes.length;
    const baseSize = neighbour.bytes.length;
    if (size < baseSize >>> 5) return null;
    const depth = chains.depthUnless(neighbour.object, target.object);
    const depthMax = chains.depthMax(target.object);
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
    const { table, chains, settings, onDelta } = this.#parts;
    const body = deflateSync(best.delta, { level: settings.compressionLevel });
    const whole = wholeCopy(table, target.object);
    if (whole >= 0 && body.length + ENTRY_HEAD_BYTES >= table.copyLength[whole]!) return false;
    if (!chains.link(target.object, best.neighbour.object)) return false;
    onDelta(target.object, best.neighbour.object, best.delta.length, body);
    return true;
  }
}
