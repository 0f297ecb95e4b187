// The unavoidable conditions of Stevens and Shumow, on two bits of the expanded message each. A disturbance vector moves by a step when K does, and
// its conditions with it: so each is told once for a class, by its distance to K, and judged for all K of it at once, in four blocks.

import { FIRST, MAY, W } from './layout';

@inline
function word(words: usize, step: i32): v128 {
  return v128.load(words + (step << 4));
}

/** Of four words, 8 steps apart, the lowest bytes. */
@inline
function lowBytes(words: usize, step: i32): v128 {
  const mask = i32x4.splat(0xff);
  const near = v128.or(v128.and(word(words, step), mask), i32x4.shl(v128.and(word(words, step + 8), mask), 8));
  return v128.or(near, v128.or(i32x4.shl(v128.and(word(words, step + 16), mask), 16), i32x4.shl(word(words, step + 24), 24)));
}

/** The highest bytes. */
@inline
function highBytes(words: usize, step: i32): v128 {
  const near = v128.or(i32x4.shr_u(word(words, step), 24), v128.and(i32x4.shr_u(word(words, step + 8), 16), i32x4.splat(0xff00)));
  const far = v128.and(i32x4.shr_u(word(words, step + 16), 8), i32x4.splat(0xff0000));
  return v128.or(near, v128.or(far, v128.and(word(words, step + 24), i32x4.splat(0xff000000))));
}

/** Of the word in which bits of even places are exchanged for odd ones of the next: `low` and `high` by `by` bits. */
@inline
function exchanged(low: v128, high: v128, by: i32, mask: i32): v128 {
  return v128.and(v128.xor(i32x4.shr_u(low, by), high), i32x4.splat(mask));
}

/** Bit `step - FIRST` of these is a bit of that step's word, in each lane. */
let b0: v128 = i32x4.splat(0);
let b1: v128 = i32x4.splat(0);
let b2: v128 = i32x4.splat(0);
let b3: v128 = i32x4.splat(0);
let b4: v128 = i32x4.splat(0);
let b5: v128 = i32x4.splat(0);
let b6: v128 = i32x4.splat(0);
let b7: v128 = i32x4.splat(0);
let b28: v128 = i32x4.splat(0);
let b29: v128 = i32x4.splat(0);
let b30: v128 = i32x4.splat(0);

/** Transposes the bits of eight words, in each of their bytes. */
@inline
function transpose(p0: v128, p1: v128, p2: v128, p3: v128, p4: v128, p5: v128, p6: v128, p7: v128): void {
  let t = exchanged(p0, p4, 4, 0x0f0f0f0f);
  const q4 = v128.xor(p4, t);
  const q0 = v128.xor(p0, i32x4.shl(t, 4));
  t = exchanged(p1, p5, 4, 0x0f0f0f0f);
  const q5 = v128.xor(p5, t);
  const q1 = v128.xor(p1, i32x4.shl(t, 4));
  t = exchanged(p2, p6, 4, 0x0f0f0f0f);
  const q6 = v128.xor(p6, t);
  const q2 = v128.xor(p2, i32x4.shl(t, 4));
  t = exchanged(p3, p7, 4, 0x0f0f0f0f);
  const q7 = v128.xor(p7, t);
  const q3 = v128.xor(p3, i32x4.shl(t, 4));
  t = exchanged(q0, q2, 2, 0x33333333);
  const r2 = v128.xor(q2, t);
  const r0 = v128.xor(q0, i32x4.shl(t, 2));
  t = exchanged(q1, q3, 2, 0x33333333);
  const r3 = v128.xor(q3, t);
  const r1 = v128.xor(q1, i32x4.shl(t, 2));
  t = exchanged(q4, q6, 2, 0x33333333);
  const r6 = v128.xor(q6, t);
  const r4 = v128.xor(q4, i32x4.shl(t, 2));
  t = exchanged(q5, q7, 2, 0x33333333);
  const r7 = v128.xor(q7, t);
  const r5 = v128.xor(q5, i32x4.shl(t, 2));
  t = exchanged(r0, r1, 1, 0x55555555);
  b1 = v128.xor(r1, t);
  b0 = v128.xor(r0, i32x4.shl(t, 1));
  t = exchanged(r2, r3, 1, 0x55555555);
  b3 = v128.xor(r3, t);
  b2 = v128.xor(r2, i32x4.shl(t, 1));
  t = exchanged(r4, r5, 1, 0x55555555);
  b5 = v128.xor(r5, t);
  b4 = v128.xor(r4, i32x4.shl(t, 1));
  t = exchanged(r6, r7, 1, 0x55555555);
  b7 = v128.xor(r7, t);
  b6 = v128.xor(r6, i32x4.shl(t, 1));
}

/** The same, of which only bits 4 to 6 are made. */
@inline
function transposeHigh(p0: v128, p1: v128, p2: v128, p3: v128, p4: v128, p5: v128, p6: v128, p7: v128): void {
  const q4 = v128.xor(p4, exchanged(p0, p4, 4, 0x0f0f0f0f));
  const q5 = v128.xor(p5, exchanged(p1, p5, 4, 0x0f0f0f0f));
  const q6 = v128.xor(p6, exchanged(p2, p6, 4, 0x0f0f0f0f));
  const q7 = v128.xor(p7, exchanged(p3, p7, 4, 0x0f0f0f0f));
  let t = exchanged(q4, q6, 2, 0x33333333);
  const r6 = v128.xor(q6, t);
  const r4 = v128.xor(q4, i32x4.shl(t, 2));
  t = exchanged(q5, q7, 2, 0x33333333);
  const r7 = v128.xor(q7, t);
  const r5 = v128.xor(q5, i32x4.shl(t, 2));
  t = exchanged(r4, r5, 1, 0x55555555);
  b29 = v128.xor(r5, t);
  b28 = v128.xor(r4, i32x4.shl(t, 1));
  b30 = v128.xor(r6, i32x4.shl(exchanged(r6, r7, 1, 0x55555555), 1));
}

/** Picked bits, so that bit K - FIRST is that of step K + `by`. */
@inline
function seen(bits: v128, by: i32): v128 {
  return by < 0 ? i32x4.shl(bits, -by) : i32x4.shr_u(bits, by);
}

@inline
function range(low: i32, high: i32): v128 {
  return i32x4.splat(((1 << (high - low + 1)) - 1) << (low - FIRST));
}

/** Bit K - FIRST: whether bits of steps K + `byA` and K + `byB` are different. */
@inline
function diff(a: v128, byA: i32, b: v128, byB: i32): v128 {
  return v128.xor(seen(a, byA), seen(b, byB));
}

@inline
function within(bits: v128, low: i32, high: i32): v128 {
  return v128.and(bits, range(low, high));
}

/** The K from `low` to `high` whose bit is not set. */
@inline
function unless(bits: v128, low: i32, high: i32): v128 {
  return v128.andnot(range(low, high), bits);
}

/**
 * Which disturbance vectors may have made the expanded blocks of a group: of each class a word in which bit K - FIRST of a lane is set when none of the
 * conditions on I(K,0) and so on fails there. Whether any is set.
 */
export function checkConditions(group: usize): bool {
  const words = W + group;
  transpose(lowBytes(words, FIRST + 0), lowBytes(words, FIRST + 1), lowBytes(words, FIRST + 2), lowBytes(words, FIRST + 3), lowBytes(words, FIRST + 4), lowBytes(words, FIRST + 5), lowBytes(words, FIRST + 6), lowBytes(words, FIRST + 7));
  transposeHigh(highBytes(words, FIRST + 0), highBytes(words, FIRST + 1), highBytes(words, FIRST + 2), highBytes(words, FIRST + 3), highBytes(words, FIRST + 4), highBytes(words, FIRST + 5), highBytes(words, FIRST + 6), highBytes(words, FIRST + 7));
  let unlikeI0 = diff(b29, -3, b4, -2);
  unlikeI0 = v128.or(unlikeI0, diff(b29, -1, b4, 0));
  unlikeI0 = v128.or(unlikeI0, diff(b29, 3, b29, 4));
  let likeI0 = diff(b4, -6, b4, -4);
  likeI0 = v128.and(likeI0, diff(b4, -4, b29, -3));
  likeI0 = v128.and(likeI0, diff(b4, -2, b29, -1));
  likeI0 = v128.and(likeI0, diff(b4, 0, b29, 1));
  likeI0 = v128.and(likeI0, diff(b29, 1, b29, 3));
  let notI0 = v128.or(unlikeI0, v128.not(likeI0));
  notI0 = v128.or(notI0, within(diff(b5, 16, b30, 20), 43, 44));
  notI0 = v128.or(notI0, unless(diff(b1, 18, b6, 19), 43, 45));
  notI0 = v128.or(notI0, unless(diff(b0, 15, b5, 16), 43, 48));
  notI0 = v128.or(notI0, unless(diff(b4, -4, b29, -4), 44, 52));
  notI0 = v128.or(notI0, within(diff(b4, -10, b29, -6), 45, 52));
  notI0 = v128.or(notI0, within(diff(b29, -7, b29, -6), 47, 52));
  notI0 = v128.or(notI0, within(v128.or(diff(b4, -13, b29, -9), diff(b29, -8, b29, -7)), 48, 52));
  notI0 = v128.or(notI0, unless(diff(b4, -14, b4, -13), 50, 52));
  notI0 = v128.or(notI0, within(diff(b3, -16, b28, -12), 51, 51));
  let unlikeI2 = diff(b6, -6, b6, -4);
  unlikeI2 = v128.or(unlikeI2, diff(b6, -4, b6, -2));
  unlikeI2 = v128.or(unlikeI2, diff(b6, -2, b6, 0));
  unlikeI2 = v128.or(unlikeI2, diff(b6, 0, b1, 1));
  let likeI2 = diff(b1, -11, b6, -10);
  likeI2 = v128.and(likeI2, diff(b1, -7, b6, -6));
  let notI2 = v128.or(unlikeI2, v128.not(likeI2));
  notI2 = v128.or(notI2, unless(diff(b2, 15, b7, 16), 46, 48));
  notI2 = v128.or(notI2, within(diff(b6, -10, b1, -9), 49, 51));
  notI2 = v128.or(notI2, unless(diff(b1, -14, b6, -13), 49, 51));
  notI2 = v128.or(notI2, within(v128.or(diff(b5, -16, b30, -12), diff(b1, -14, b6, -14)), 51, 51));
  let unlikeII0 = diff(b4, -9, b29, -5);
  unlikeII0 = v128.or(unlikeII0, diff(b4, -4, b29, -2));
  unlikeII0 = v128.or(unlikeII0, diff(b29, -2, b29, -1));
  unlikeII0 = v128.or(unlikeII0, diff(b29, -1, b29, 0));
  unlikeII0 = v128.or(unlikeII0, diff(b4, 4, b29, 8));
  let notII0 = unlikeII0;
  notII0 = v128.or(notII0, unless(diff(b1, 18, b6, 19), 45, 45));
  notII0 = v128.or(notII0, unless(diff(b0, 15, b5, 16), 45, 48));
  notII0 = v128.or(notII0, within(diff(b29, 7, b29, 8), 45, 52));
  notII0 = v128.or(notII0, unless(diff(b4, 4, b29, 4), 45, 53));
  notII0 = v128.or(notII0, within(diff(b29, 4, b29, 5), 45, 54));
  notII0 = v128.or(notII0, within(diff(b4, 2, b29, 4), 45, 55));
  notII0 = v128.or(notII0, within(diff(b29, -6, b29, -5), 46, 56));
  notII0 = v128.or(notII0, within(v128.or(v128.or(diff(b3, -12, b28, -8), diff(b4, -12, b29, -8)), diff(b29, -7, b29, -6)), 47, 56));
  notII0 = v128.or(notII0, unless(diff(b30, -13, b3, -12), 48, 52));
  notII0 = v128.or(notII0, unless(diff(b4, -16, b4, -14), 52, 56));
  notII0 = v128.or(notII0, unless(diff(b4, -14, b29, -13), 53, 56));
  notII0 = v128.or(notII0, unless(diff(b4, -18, b4, -16), 54, 56));
  notII0 = v128.or(notII0, unless(diff(b4, -16, b29, -15), 55, 56));
  notII0 = v128.or(notII0, unless(diff(b4, -16, b29, -16), 56, 56));
  let unlikeII2 = diff(b6, -4, b1, -3);
  unlikeII2 = v128.or(unlikeII2, diff(b6, 2, b6, 4));
  unlikeII2 = v128.or(unlikeII2, diff(b6, 4, b1, 5));
  let likeII2 = diff(b1, -10, b6, -9);
  likeII2 = v128.and(likeII2, diff(b1, -5, b6, -4));
  likeII2 = v128.and(likeII2, diff(b1, 1, b6, 2));
  let notII2 = v128.or(unlikeII2, v128.not(likeII2));
  notII2 = v128.or(notII2, unless(diff(b2, 15, b7, 16), 46, 46));
  notII2 = v128.or(notII2, within(v128.or(diff(b5, -12, b30, -8), diff(b6, -9, b1, -8)), 49, 51));
  notII2 = v128.or(notII2, unless(diff(b0, -13, b5, -12), 49, 51));
  const mayI0 = v128.andnot(range(43, 52), notI0);
  const mayI2 = v128.andnot(range(46, 51), notI2);
  const mayII0 = v128.andnot(range(45, 56), notII0);
  const mayII2 = v128.andnot(v128.or(range(46, 46), range(49, 51)), notII2);
  v128.store(group + MAY, mayI0);
  v128.store(group + MAY + 16, mayI2);
  v128.store(group + MAY + 32, mayII0);
  v128.store(group + MAY + 48, mayII2);
  return v128.any_true(v128.or(v128.or(mayI0, mayI2), v128.or(mayII0, mayII2)));
}
