import { assert } from '../base/mod.ts';

/**
 * A set of numbers below a bound, one bit each: what sets of positions in one pack are while they are worked with. The answer of a clone is
 * nearly all ones, and a bit an object is 125 KB for a million, so nothing sparser pays while a set grows; `encodeBits` makes it small.
 */
export class BitSet {
  readonly length: number;
  /** Number n is bit `n & 31` of word `n >>> 5`; bits at `length` and above are 0. */
  readonly words: Uint32Array;

  constructor(length: number, words = new Uint32Array(wordsFor(length))) {
    assert(length >= 0 && length < 2 ** 32 && words.length === wordsFor(length), `a set of numbers below ${length}`);
    this.length = length;
    this.words = words;
  }

  has(n: number): boolean {
    return ((this.words[n >>> 5]! >>> (n & 31)) & 1) === 1;
  }

  /** False when the number was in the set already. */
  add(n: number): boolean {
    const word = this.words[n >>> 5]!;
    const bit = 1 << (n & 31);
    if ((word & bit) !== 0) return false;
    this.words[n >>> 5] = word | bit;
    return true;
  }

  delete(n: number): void {
    this.words[n >>> 5]! &= ~(1 << (n & 31));
  }

  /** Adds `[from, to)`. */
  addRange(from: number, to: number): void {
    if (from >= to) return;
    const first = from >>> 5;
    const last = (to - 1) >>> 5;
    const head = -1 << (from & 31);
    const tail = -1 >>> (31 - ((to - 1) & 31));
    if (first === last) {
      this.words[first]! |= head & tail;
      return;
    }
    this.words[first]! |= head;
    this.words.fill(0xffffffff, first + 1, last);
    this.words[last]! |= tail;
  }

  /** Adds the members of another set of the same bound. */
  or(other: BitSet): void {
    const { words } = this;
    const from = other.words;
    for (let i = 0; i < words.length; i++) words[i]! |= from[i]!;
  }

  /** Keeps what is in both. */
  and(other: BitSet): void {
    const { words } = this;
    const from = other.words;
    for (let i = 0; i < words.length; i++) words[i]! &= from[i]!;
  }

  /** Takes the members of another set away. */
  andNot(other: BitSet): void {
    const { words } = this;
    const from = other.words;
    for (let i = 0; i < words.length; i++) words[i]! &= ~from[i]!;
  }

  /** Keeps what is in one of the two and not in both. */
  xor(other: BitSet): void {
    const { words } = this;
    const from = other.words;
    for (let i = 0; i < words.length; i++) words[i]! ^= from[i]!;
  }

  clear(): void {
    this.words.fill(0);
  }

  clone(): BitSet {
    return new BitSet(this.length, this.words.slice());
  }

  equals(other: BitSet): boolean {
    if (other.length !== this.length) return false;
    for (let i = 0; i < this.words.length; i++) if (this.words[i] !== other.words[i]) return false;
    return true;
  }

  /** How many members there are, below a number when one is given. */
  count(below = this.length): number {
    const { words } = this;
    const whole = below >>> 5;
    let sum = 0;
    for (let i = 0; i < whole; i++) sum += popCount(words[i]!);
    const rest = below & 31;
    return rest === 0 ? sum : sum + popCount(words[whole]! & ~(-1 << rest));
  }

  /** The first member at or above a number; `length` when there is none. */
  next(from: number): number {
    return this.#scan(from, 0);
  }

  /** The first number at or above one that is no member; `length` when there is none. */
  nextClear(from: number): number {
    return this.#scan(from, -1);
  }

  #scan(from: number, flip: number): number {
    if (from >= this.length) return this.length;
    const { words } = this;
    let i = from >>> 5;
    let word = (words[i]! ^ flip) & (-1 << (from & 31));
    while (word === 0) {
      if (++i === words.length) return this.length;
      word = words[i]! ^ flip;
    }
    return Math.min(this.length, i * 32 + lowestBit(word));
  }

  /** Every member, ascending. */
  forEach(visit: (n: number) => void): void {
    const { words } = this;
    for (let i = 0; i < words.length; i++) {
      for (let word = words[i]!; word !== 0; word &= word - 1) visit(i * 32 + lowestBit(word));
    }
  }

  *[Symbol.iterator](): Generator<number> {
    for (let n = this.next(0); n < this.length; n = this.next(n + 1)) yield n;
  }
}

export function wordsFor(length: number): number {
  return Math.ceil(length / 32);
}

export function popCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}
