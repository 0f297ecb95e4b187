// Message expansion, of four blocks at a time.

import { W } from './layout';

@inline
function big(address: usize): v128 {
  const bytes = v128.load(address);
  return i8x16.swizzle(bytes, i8x16(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12));
}

@inline
export function rotate(x: v128, bits: i32): v128 {
  return v128.or(i32x4.shl(x, bits), i32x4.shr_u(x, 32 - bits));
}

/** Words of four blocks, one block in each lane of a group. */
export function loadWords(group: usize, a: usize, b: usize, c: usize, d: usize): void {
  for (let part: usize = 0; part < 64; part += 16) {
    const p = big(a + part);
    const q = big(b + part);
    const r = big(c + part);
    const s = big(d + part);
    const pq = v128.shuffle<u32>(p, q, 0, 4, 1, 5);
    const rs = v128.shuffle<u32>(r, s, 0, 4, 1, 5);
    const pqHigh = v128.shuffle<u32>(p, q, 2, 6, 3, 7);
    const rsHigh = v128.shuffle<u32>(r, s, 2, 6, 3, 7);
    const into = W + group + (part << 2);
    v128.store(into, v128.shuffle<u64>(pq, rs, 0, 2));
    v128.store(into + 16, v128.shuffle<u64>(pq, rs, 1, 3));
    v128.store(into + 32, v128.shuffle<u64>(pqHigh, rsHigh, 0, 2));
    v128.store(into + 48, v128.shuffle<u64>(pqHigh, rsHigh, 1, 3));
  }
}

/** Word `at` of the expanded message, made of those before it. */
@inline
export function nextWord(at: usize): v128 {
  const near = v128.xor(v128.load(at - 3 * 16), v128.load(at - 8 * 16));
  const far = v128.xor(v128.load(at - 14 * 16), v128.load(at - 16 * 16));
  const word = rotate(v128.xor(near, far), 1);
  v128.store(at, word);
  return word;
}

/** Expands the blocks of the first group. */
export function expand(): void {
  for (let at: usize = W + 16 * 16; at < W + 80 * 16; at += 64) {
    nextWord(at);
    nextWord(at + 16);
    nextWord(at + 32);
    nextWord(at + 48);
  }
}
