/**
 * The conditions of the kernel told plainly, for comparing. Two bits of the expanded message, of steps K + `stepA` and K + `stepB`, must differ (1) or agree
 * (0) for all K from `low` to `high`. Source: Stevens and Shumow; only conditions on steps 35 to 64 are known to be unavoidable.
 */
type Condition = readonly [stepA: number, bitA: number, stepB: number, bitB: number, differ: number, low: number, high: number];

interface VectorClass {
  readonly name: string;
  readonly ks: readonly number[];
  readonly conditions: readonly Condition[];
}

const from = (low: number, high: number): number[] => Array.from({ length: high - low + 1 }, (_, i) => low + i);

export const CLASSES: readonly VectorClass[] = [
  {
    name: 'I(K,0)',
    ks: from(43, 52),
    conditions: [
      [-16, 3, -12, 28, 0, 51, 51],
      [-14, 4, -13, 4, 1, 50, 52],
      [-13, 4, -9, 29, 0, 48, 52],
      [-10, 4, -6, 29, 0, 45, 52],
      [-8, 29, -7, 29, 0, 48, 52],
      [-7, 29, -6, 29, 0, 47, 52],
      [-6, 4, -4, 4, 1, 43, 52],
      [-4, 4, -4, 29, 1, 44, 52],
      [-4, 4, -3, 29, 1, 43, 52],
      [-3, 29, -2, 4, 0, 43, 52],
      [-2, 4, -1, 29, 1, 43, 52],
      [-1, 29, 0, 4, 0, 43, 52],
      [0, 4, 1, 29, 1, 43, 52],
      [1, 29, 3, 29, 1, 43, 52],
      [3, 29, 4, 29, 0, 43, 52],
      [15, 0, 16, 5, 1, 43, 48],
      [16, 5, 20, 30, 0, 43, 44],
      [18, 1, 19, 6, 1, 43, 45],
    ],
  },
  {
    name: 'I(K,2)',
    ks: from(46, 51),
    conditions: [
      [-16, 5, -12, 30, 0, 51, 51],
      [-14, 1, -14, 6, 0, 51, 51],
      [-14, 1, -13, 6, 1, 49, 51],
      [-11, 1, -10, 6, 1, 46, 51],
      [-10, 6, -9, 1, 0, 49, 51],
      [-7, 1, -6, 6, 1, 46, 51],
      [-6, 6, -4, 6, 0, 46, 51],
      [-4, 6, -2, 6, 0, 46, 51],
      [-2, 6, 0, 6, 0, 46, 51],
      [0, 6, 1, 1, 0, 46, 51],
      [15, 2, 16, 7, 1, 46, 48],
    ],
  },
  {
    name: 'II(K,0)',
    ks: from(45, 56),
    conditions: [
      [-18, 4, -16, 4, 1, 54, 56],
      [-16, 4, -16, 29, 1, 56, 56],
      [-16, 4, -15, 29, 1, 55, 56],
      [-16, 4, -14, 4, 1, 52, 56],
      [-14, 4, -13, 29, 1, 53, 56],
      [-13, 30, -12, 3, 1, 48, 52],
      [-12, 3, -8, 28, 0, 47, 56],
      [-12, 4, -8, 29, 0, 47, 56],
      [-9, 4, -5, 29, 0, 45, 56],
      [-7, 29, -6, 29, 0, 47, 56],
      [-6, 29, -5, 29, 0, 46, 56],
      [-4, 4, -2, 29, 0, 45, 56],
      [-2, 29, -1, 29, 0, 45, 56],
      [-1, 29, 0, 29, 0, 45, 56],
      [2, 4, 4, 29, 0, 45, 55],
      [4, 4, 4, 29, 1, 45, 53],
      [4, 4, 8, 29, 0, 45, 56],
      [4, 29, 5, 29, 0, 45, 54],
      [7, 29, 8, 29, 0, 45, 52],
      [15, 0, 16, 5, 1, 45, 48],
      [18, 1, 19, 6, 1, 45, 45],
    ],
  },
  {
    name: 'II(K,2)',
    ks: [46, 49, 50, 51],
    conditions: [
      [-13, 0, -12, 5, 1, 49, 51],
      [-12, 5, -8, 30, 0, 49, 51],
      [-10, 1, -9, 6, 1, 46, 51],
      [-9, 6, -8, 1, 0, 49, 51],
      [-5, 1, -4, 6, 1, 46, 51],
      [-4, 6, -3, 1, 0, 46, 51],
      [1, 1, 2, 6, 1, 46, 51],
      [2, 6, 4, 6, 0, 46, 51],
      [4, 6, 5, 1, 0, 46, 51],
      [15, 2, 16, 7, 1, 46, 46],
    ],
  },
];

export function expandedWords(block: Buffer): Uint32Array {
  const words = new Uint32Array(80);
  for (let step = 0; step < 16; step++) words[step] = block.readUInt32BE(step * 4);
  for (let step = 16; step < 80; step++) {
    const word = words[step - 3]! ^ words[step - 8]! ^ words[step - 14]! ^ words[step - 16]!;
    words[step] = (word << 1) | (word >>> 31);
  }
  return words;
}

/** Whether the vector of a class with that K may have made the expanded block. */
export function mayBe(words: Uint32Array, { conditions }: VectorClass, k: number): boolean {
  return conditions.every(([stepA, bitA, stepB, bitB, differ, low, high]) => {
    if (k < low || k > high) return true;
    return (((words[k + stepA]! >>> bitA) ^ (words[k + stepB]! >>> bitB)) & 1) === differ;
  });
}

type State = readonly [a: number, b: number, c: number, d: number, e: number];

function rotated(word: number, bits: number): number {
  return ((word << bits) | (word >>> (32 - bits))) >>> 0;
}

/** The step's function of b, c and d, and its constant (FIPS 180-4, 4.1.1 and 4.2.1). */
function mixed(step: number, b: number, c: number, d: number): number {
  if (step < 20) return ((b & c) ^ (~b & d)) + 0x5a827999;
  if (step < 40) return (b ^ c ^ d) + 0x6ed9eba1;
  if (step < 60) return ((b & c) ^ (b & d) ^ (c & d)) + 0x8f1bbcdc;
  return (b ^ c ^ d) + 0xca62c1d6;
}

function after([a, b, c, d, e]: State, step: number, word: number): State {
  return [(rotated(a, 5) + mixed(step, b, c, d) + e + word) >>> 0, a, rotated(b, 30), c, d];
}

function before([next, a, rotatedB, c, d]: State, step: number, word: number): State {
  const b = rotated(rotatedB, 2);
  return [a, b, c, d, (next - rotated(a, 5) - mixed(step, b, c, d) - word) >>> 0];
}

/** What the state is before a step of the block that begins with `chain`. */
export function stateBefore(step: number, chain: State, words: Uint32Array): State {
  let state = chain;
  for (let i = 0; i < step; i++) state = after(state, i, words[i]!);
  return state;
}

/**
 * What the block that differs by `differences` of the expanded message must end in, when before step `from` it has the state that the block of `words` has there,
 * which began with `chain`.
 */
export function neededOf(chain: State, words: Uint32Array, differences: Uint32Array, from: number): number[] {
  let first = stateBefore(from, chain, words);
  let last = first;
  const other = words.map((word, step) => word ^ differences[step]!);
  for (let step = from - 1; step >= 0; step--) first = before(first, step, other[step]!);
  for (let step = from; step < 80; step++) last = after(last, step, other[step]!);
  return first.map((word, i) => (word + last[i]!) >>> 0);
}
