import { keepBytes } from '../base/mod.ts';
import type { Ref, RepositoryState } from '../catalog/mod.ts';

/** So many changes are kept aside, and the root of the number of refs more: then they are merged. */
const CHANGES_MIN = 64;

/**
 * Refs by name, in byte order of names when they are walked. A push changes a few of many, so a state is the changes over a whole that it shares
 * with earlier states: making the next one costs the changes, not the refs. Never changed once made.
 */
export class LayeredRefs implements ReadonlyMap<string, Ref> {
  /** In byte order. */
  readonly #whole: ReadonlyMap<string, Ref>;
  /** Null for a ref that is gone. */
  readonly #changes: ReadonlyMap<string, Ref | null>;
  readonly size: number;
  #merged: ReadonlyMap<string, Ref> | null = null;

  private constructor(whole: ReadonlyMap<string, Ref>, changes: ReadonlyMap<string, Ref | null>, size: number) {
    this.#whole = whole;
    this.#changes = changes;
    this.size = size;
  }

  static of(refs: Iterable<Ref>): LayeredRefs {
    const whole = new Map([...refs].sort(byName).map((ref) => [ref.name, kept(ref)]));
    return new LayeredRefs(whole, NO_CHANGES, whole.size);
  }

  /** The state after some refs have got other values or are gone. */
  with(changed: RepositoryState['refs']): LayeredRefs {
    const changes = new Map(this.#changes);
    let { size } = this;
    for (const ref of changed) {
      const isThere = changes.has(ref.name) ? changes.get(ref.name) !== null : this.#whole.has(ref.name);
      if (ref.oid === null) changes.set(ref.name, null);
      else changes.set(ref.name, kept(ref));
      size += Number(ref.oid !== null) - Number(isThere);
    }
    const next = new LayeredRefs(this.#whole, changes, size);
    if (changes.size <= CHANGES_MIN + Math.sqrt(this.#whole.size)) return next;
    return new LayeredRefs(next.#all(), NO_CHANGES, size);
  }

  get(name: string): Ref | undefined {
    const change = this.#changes.get(name);
    return change === undefined ? this.#whole.get(name) : (change ?? undefined);
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  keys(): MapIterator<string> {
    return this.#all().keys();
  }

  values(): MapIterator<Ref> {
    return this.#all().values();
  }

  entries(): MapIterator<[string, Ref]> {
    return this.#all().entries();
  }

  [Symbol.iterator](): MapIterator<[string, Ref]> {
    return this.entries();
  }

  forEach(each: (ref: Ref, name: string, refs: ReadonlyMap<string, Ref>) => void): void {
    for (const [name, ref] of this.#all()) each(ref, name, this);
  }

  #all(): ReadonlyMap<string, Ref> {
    this.#merged ??= this.#changes.size === 0 ? this.#whole : merged(this.#whole, this.#changes);
    return this.#merged;
  }
}

function kept(ref: Ref): Ref {
  return { ...ref, oid: keepBytes(ref.oid), peeled: ref.peeled && keepBytes(ref.peeled) };
}

const NO_CHANGES: ReadonlyMap<string, Ref | null> = new Map();

/** Binary strings compare as their bytes do. */
function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

function merged(whole: ReadonlyMap<string, Ref>, changes: ReadonlyMap<string, Ref | null>): ReadonlyMap<string, Ref> {
  const changed = [...changes].filter((change): change is [string, Ref] => change[1] !== null).map(([, ref]) => ref);
  changed.sort(byName);
  const refs = new Map<string, Ref>();
  let at = 0;
  for (const [name, ref] of whole) {
    for (; at < changed.length && changed[at]!.name <= name; at++) refs.set(changed[at]!.name, changed[at]!);
    if (!changes.has(name)) refs.set(name, ref);
  }
  for (; at < changed.length; at++) refs.set(changed[at]!.name, changed[at]!);
  return refs;
}
