import type { ObjectTable } from './object-table.ts';

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

  /** Starts with the deltas that can be kept; chains that are too long are cut into pieces that are not. */
  constructor(table: ObjectTable, depth: number) {
    this.base = new Int32Array(table.count).fill(-1);
    this.#height = new Uint16Array(table.count);
    this.#depth = depth;
    for (let object = 0; object < table.count; object++) {
      if (!table.keep[object]) continue;
      const base = table.copyBase[table.chosen[object]!]!;
      if (base >= 0 && table.keep[base]) this.base[object] = base;
    }
    this.#cut();
    for (let object = 0; object < table.count; object++) this.#raise(object);
  }

  #cut(): void {
    const unknown = 0xffff;
    const depths = new Uint16Array(this.base.length).fill(unknown);
    const climb: number[] = [];
    for (let object = 0; object < this.base.length; object++) {
      let at = object;
      while (at >= 0 && depths[at] === unknown) {
        climb.push(at);
        at = this.base[at]!;
      }
      let depth = at < 0 ? -1 : depths[at]!;
      while (climb.length > 0) {
        const next = climb.pop()!;
        if (++depth > this.#depth) {
          this.base[next] = -1;
          depth = 0;
        }
        depths[next] = depth;
      }
    }
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
}
