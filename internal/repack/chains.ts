import { DEFAULT_PACK_LIMITS } from '../ingest/mod.ts';
import type { ObjectTable } from './object-table.ts';

/** Chains that are kept for their size may be as long as those of an incoming pack. */
const KEPT_DEPTH_MAX = DEFAULT_PACK_LIMITS.deltaDepthMax;

/** The object that an object's chosen copy is a delta of, -1 when the copy is whole or its base does not stay. */
export function keptBase(table: ObjectTable, object: number): number {
  if (!table.keep[object]) return -1;
  const base = table.copyBase[table.chosen[object]!]!;
  return base >= 0 && table.keep[base] ? base : -1;
}

/**
 * The delta chains of the output while it is planned: what each object is a delta of, and how far chains reach in both directions, so that
 * a new link never closes a circle nor makes a chain longer than `depth`.
 */
export class Chains {
  /** Object that each is a delta of in the output, -1 for a whole one. */
  readonly base: Int32Array;
  /** Links of the longest chain that hangs on each. */
  readonly #height: Uint16Array;
  readonly #depth: number;
  /** 1: the tree that it came in was taken apart. */
  readonly #apart: Uint8Array;

  /** Starts with the deltas that can be kept. Trees of deltas that are too deep are taken apart, to be searched anew as a whole. */
  constructor(table: ObjectTable, depth: number) {
    this.base = Int32Array.from({ length: table.count }, (_, object) => keptBase(table, object));
    this.#height = new Uint16Array(table.count);
    this.#depth = depth;
    this.#apart = new Uint8Array(table.count);
    const deepest = this.#deepest();
    this.#takeApart((root) => deepest[root]! > depth);
  }

  /** Links of the longest chain under each root. */
  #deepest(): Uint32Array {
    const { base } = this;
    const roots = chainRoots(this.base);
    const depths = new Uint32Array(base.length);
    const deepest = new Uint32Array(base.length);
    const climb: number[] = [];
    for (let object = 0; object < base.length; object++) {
      let at = object;
      while (depths[at] === 0 && base[at]! >= 0) {
        climb.push(at);
        at = base[at]!;
      }
      for (let depth = depths[at]! + 1; climb.length > 0; depth++) depths[climb.pop()!] = depth;
      const root = roots[object]!;
      if (depths[object]! > deepest[root]!) deepest[root] = depths[object]!;
    }
    return deepest;
  }

  /**
   * Makes the objects of some trees of deltas whole again, to be searched anew together. One push after the other makes chains as long as the
   * history, each version a delta of the one before: cut into pieces, each piece would keep a whole version and leave no depth to
   * hang it anywhere, where a search over all of them makes trees that are wide instead.
   */
  #takeApart(isChosen: (root: number) => boolean): void {
    const roots = chainRoots(this.base);
    for (let object = 0; object < roots.length; object++) {
      if (!isChosen(roots[object]!)) continue;
      this.base[object] = -1;
      this.#apart[object] = 1;
    }
    this.#height.fill(0);
    for (let object = 0; object < roots.length; object++) this.#raise(object);
  }

  /** Makes the objects that hang on marked whole ones whole too, and marks them. */
  release(marked: Uint8Array): void {
    const before = this.base.slice();
    this.#takeApart((root) => marked[root] === 1);
    for (let object = 0; object < before.length; object++) if (before[object] !== this.base[object]) marked[object] = 1;
  }

  isApart(object: number): boolean {
    return this.#apart[object] === 1;
  }

  /** Links of the longest chain that hangs on an object. */
  height(object: number): number {
    return this.#height[object]!;
  }

  /** Tells all that an object hangs on how high the chain above them is. */
  #raise(object: number): void {
    let height = this.#height[object]!;
    for (let at = this.base[object]!; at >= 0; at = this.base[at]!) {
      if (this.#height[at]! >= ++height) return;
      this.#height[at] = height;
    }
  }

  /** Links between an object and the whole one at the end of its chain; -1 when `other` is on the way, whose delta it so cannot be. */
  depthUnless(object: number, other: number): number {
    let depth = 0;
    for (let at = object; at !== other; depth++) {
      at = this.base[at]!;
      if (at < 0) return depth;
    }
    return -1;
  }

  /** How deep an object may lie, by what hangs on it already. */
  depthMax(object: number): number {
    return this.#depth - this.#height[object]!;
  }

  /** Makes an object that is whole a delta, if neither rule is broken by it. */
  link(object: number, base: number): boolean {
    const depth = this.depthUnless(base, object);
    if (this.base[object]! >= 0 || depth < 0 || depth + 1 > this.depthMax(object)) return false;
    this.base[object] = base;
    this.#raise(object);
    return true;
  }

  /** Puts back how an object came, whatever that does to the depth of the chains; `cutTooDeep` is to follow. */
  restore(object: number, base: number): void {
    this.base[object] = base;
  }

  /** After `restore`: what lies deeper than any reader goes is whole. */
  cutTooDeep(): void {
    const { base } = this;
    const depths = new Int32Array(base.length).fill(-1);
    const climb: number[] = [];
    for (let object = 0; object < base.length; object++) {
      let at = object;
      for (; depths[at]! < 0 && base[at]! >= 0; at = base[at]!) climb.push(at);
      if (depths[at]! < 0) depths[at] = 0;
      for (let depth = depths[at]! + 1; climb.length > 0; depth++) {
        const next = climb.pop()!;
        if (depth > KEPT_DEPTH_MAX) {
          base[next] = -1;
          depth = 0;
        }
        depths[next] = depth;
      }
    }
  }
}

/** The whole object at the end of each object's chain. */
export function chainRoots(base: Int32Array): Int32Array {
  const roots = new Int32Array(base.length).fill(-1);
  const climb: number[] = [];
  for (let object = 0; object < base.length; object++) {
    let at = object;
    while (roots[at]! < 0 && base[at]! >= 0) {
      climb.push(at);
      at = base[at]!;
    }
    if (roots[at]! < 0) roots[at] = at;
    const root = roots[at]!;
    while (climb.length > 0) roots[climb.pop()!] = root;
  }
  return roots;
}
