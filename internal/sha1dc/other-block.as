// The test that decides: with a disturbance vector's differences there is another block that ends in the same chaining value.

import { f, k, sum1 } from './compress';
import { differencesOf } from './disturbance';
import { AT58, AT65, FIRST, MAY, NEEDED, W } from './layout';

/** A word of the other block, of which `words` and `differences` are those of this one. */
@inline
function other(words: usize, differences: usize, step: i32): u32 {
  return load<u32>(words + (<usize>step << 4)) ^ load<u32>(differences + (<usize>step << 2));
}

/** What `e` was before a step that has made `next`, when it had these. */
@inline
function before(step: i32, next: u32, a: u32, b: u32, c: u32, d: u32, word: u32): u32 {
  return next - rotl<u32>(a, 5) - (word + k(step)) - f(step, b, c, d);
}

/**
 * Whether the block that differs by a disturbance vector's message differences, with the same state before a step at which that vector leaves none, ends in
 * the same chaining value: computed from that state backwards to the chaining value it would need, and forwards.
 */
function meets(words: usize, differences: usize, from: i32, state: usize, chain: usize): bool {
  let a = load<u32>(state);
  let b = load<u32>(state + 16);
  let c = load<u32>(state + 32);
  let d = load<u32>(state + 48);
  let e = load<u32>(state + 64);
  let step = from;
  for (; step < 60; step++) {
    const next = sum1(40, a, b, c, d, e, other(words, differences, step));
    e = d;
    d = c;
    c = rotl<u32>(b, 30);
    b = a;
    a = next;
  }
  for (; step < 80; step += 5) {
    e = sum1(60, a, b, c, d, e, other(words, differences, step));
    b = rotl<u32>(b, 30);
    d = sum1(60, e, a, b, c, d, other(words, differences, step + 1));
    a = rotl<u32>(a, 30);
    c = sum1(60, d, e, a, b, c, other(words, differences, step + 2));
    e = rotl<u32>(e, 30);
    b = sum1(60, c, d, e, a, b, other(words, differences, step + 3));
    d = rotl<u32>(d, 30);
    a = sum1(60, b, c, d, e, a, other(words, differences, step + 4));
    c = rotl<u32>(c, 30);
  }
  const a1 = a;
  const b1 = b;
  const c1 = c;
  const d1 = d;
  const e1 = e;
  a = load<u32>(state);
  b = load<u32>(state + 16);
  c = load<u32>(state + 32);
  d = load<u32>(state + 48);
  e = load<u32>(state + 64);
  step = from;
  while (step % 5 != 0) {
    step--;
    const next = a;
    a = b;
    b = rotl<u32>(c, 2);
    c = d;
    d = e;
    e = before(40, next, a, b, c, d, other(words, differences, step));
  }
  while (step > 60) {
    step -= 5;
    c = rotl<u32>(c, 2);
    a = before(60, a, b, c, d, e, other(words, differences, step + 4));
    d = rotl<u32>(d, 2);
    b = before(60, b, c, d, e, a, other(words, differences, step + 3));
    e = rotl<u32>(e, 2);
    c = before(60, c, d, e, a, b, other(words, differences, step + 2));
    a = rotl<u32>(a, 2);
    d = before(60, d, e, a, b, c, other(words, differences, step + 1));
    b = rotl<u32>(b, 2);
    e = before(60, e, a, b, c, d, other(words, differences, step));
  }
  while (step > 40) {
    step -= 5;
    c = rotl<u32>(c, 2);
    a = before(40, a, b, c, d, e, other(words, differences, step + 4));
    d = rotl<u32>(d, 2);
    b = before(40, b, c, d, e, a, other(words, differences, step + 3));
    e = rotl<u32>(e, 2);
    c = before(40, c, d, e, a, b, other(words, differences, step + 2));
    a = rotl<u32>(a, 2);
    d = before(40, d, e, a, b, c, other(words, differences, step + 1));
    b = rotl<u32>(b, 2);
    e = before(40, e, a, b, c, d, other(words, differences, step));
  }
  while (step > 20) {
    step -= 5;
    c = rotl<u32>(c, 2);
    a = before(20, a, b, c, d, e, other(words, differences, step + 4));
    d = rotl<u32>(d, 2);
    b = before(20, b, c, d, e, a, other(words, differences, step + 3));
    e = rotl<u32>(e, 2);
    c = before(20, c, d, e, a, b, other(words, differences, step + 2));
    a = rotl<u32>(a, 2);
    d = before(20, d, e, a, b, c, other(words, differences, step + 1));
    b = rotl<u32>(b, 2);
    e = before(20, e, a, b, c, d, other(words, differences, step));
  }
  while (step > 0) {
    step -= 5;
    c = rotl<u32>(c, 2);
    a = before(0, a, b, c, d, e, other(words, differences, step + 4));
    d = rotl<u32>(d, 2);
    b = before(0, b, c, d, e, a, other(words, differences, step + 3));
    e = rotl<u32>(e, 2);
    c = before(0, c, d, e, a, b, other(words, differences, step + 2));
    a = rotl<u32>(a, 2);
    d = before(0, d, e, a, b, c, other(words, differences, step + 1));
    b = rotl<u32>(b, 2);
    e = before(0, e, a, b, c, d, other(words, differences, step));
  }
  store<u32>(NEEDED, a + a1);
  store<u32>(NEEDED + 4, b + b1);
  store<u32>(NEEDED + 8, c + c1);
  store<u32>(NEEDED + 12, d + d1);
  store<u32>(NEEDED + 16, e + e1);
  for (let word: usize = 0; word < 5; word++) {
    if (load<u32>(NEEDED + (word << 2)) != load<u32>(chain + (word << 4))) return false;
  }
  return true;
}

/** `at` is where a lane begins in the vectors of its group. */
function meetsAny(may: u32, type: i32, bit: i32, at: usize, chain: usize): bool {
  for (let rest = may; rest != 0; rest &= rest - 1) {
    const k = ctz<u32>(rest) + FIRST;
    const state = (k < 50 ? AT58 : AT65) + at;
    if (meets(W + at, differencesOf(type, k, bit), k < 50 ? 58 : 65, state, chain)) return true;
  }
  return false;
}

/** Whether the block in a lane of the group, which was compressed into `chain`, was made by an attack. */
export function isAttack(group: usize, lane: usize, chain: usize): bool {
  const at = group + (lane << 2);
  return (
    meetsAny(load<u32>(at + MAY), 1, 0, at, chain) ||
    meetsAny(load<u32>(at + MAY + 16), 1, 2, at, chain) ||
    meetsAny(load<u32>(at + MAY + 32), 2, 0, at, chain) ||
    meetsAny(load<u32>(at + MAY + 48), 2, 2, at, chain)
  );
}
