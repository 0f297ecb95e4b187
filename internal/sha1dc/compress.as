// SHA-1's compression, in all eight lanes or in one. Both note the states before steps 58 and 65.

import { nextWord, rotate } from './expand';
import { AT58, AT65, CHAIN, GROUP, K0, K1, K2, K3, W } from './layout';

@inline
function choose(b: v128, c: v128, d: v128): v128 {
  return v128.xor(d, v128.and(b, v128.xor(c, d)));
}

@inline
function parity(b: v128, c: v128, d: v128): v128 {
  return v128.xor(v128.xor(b, c), d);
}

@inline
function majority(b: v128, c: v128, d: v128): v128 {
  return v128.or(v128.and(b, c), v128.and(d, v128.or(b, c)));
}

/** What a step makes, in the order in which its parts are known: `a` is what the step before has made. */
@inline
function sum(a: v128, f: v128, e: v128, word: v128, k: u32): v128 {
  return i32x4.add(rotate(a, 5), i32x4.add(f, i32x4.add(e, i32x4.add(word, i32x4.splat(k)))));
}

@inline
function keep(at: usize, a: v128, b: v128, c: v128, d: v128, e: v128): void {
  v128.store(at, a);
  v128.store(at + 16, b);
  v128.store(at + 32, c);
  v128.store(at + 48, d);
  v128.store(at + 64, e);
}

@inline
function add(at: usize, a: v128, b: v128, c: v128, d: v128, e: v128): void {
  keep(
    at,
    i32x4.add(v128.load(at), a),
    i32x4.add(v128.load(at + 16), b),
    i32x4.add(v128.load(at + 32), c),
    i32x4.add(v128.load(at + 48), d),
    i32x4.add(v128.load(at + 64), e),
  );
}

/**
 * Compresses a block in each of the eight lanes into their chaining values; expands the blocks, of which the first 16 words are there, and notes the states before
 * steps 58 and 65. The groups take turns because each step waits for the one before, and words are made when they are needed for the same reason.
 */
export function compressLanes(): void {
  let a = v128.load(CHAIN);
  let b = v128.load(CHAIN + 16);
  let c = v128.load(CHAIN + 32);
  let d = v128.load(CHAIN + 48);
  let e = v128.load(CHAIN + 64);
  let v = v128.load(CHAIN + GROUP);
  let w = v128.load(CHAIN + GROUP + 16);
  let x = v128.load(CHAIN + GROUP + 32);
  let y = v128.load(CHAIN + GROUP + 48);
  let z = v128.load(CHAIN + GROUP + 64);
  let at: usize = W;
  for (; at < W + 15 * 16; at += 5 * 16) {
    e = sum(a, choose(b, c, d), e, v128.load(at), K0);
    b = rotate(b, 30);
    z = sum(v, choose(w, x, y), z, v128.load(at + GROUP), K0);
    w = rotate(w, 30);
    d = sum(e, choose(a, b, c), d, v128.load(at + 16), K0);
    a = rotate(a, 30);
    y = sum(z, choose(v, w, x), y, v128.load(at + 16 + GROUP), K0);
    v = rotate(v, 30);
    c = sum(d, choose(e, a, b), c, v128.load(at + 32), K0);
    e = rotate(e, 30);
    x = sum(y, choose(z, v, w), x, v128.load(at + 32 + GROUP), K0);
    z = rotate(z, 30);
    b = sum(c, choose(d, e, a), b, v128.load(at + 48), K0);
    d = rotate(d, 30);
    w = sum(x, choose(y, z, v), w, v128.load(at + 48 + GROUP), K0);
    y = rotate(y, 30);
    a = sum(b, choose(c, d, e), a, v128.load(at + 64), K0);
    c = rotate(c, 30);
    v = sum(w, choose(x, y, z), v, v128.load(at + 64 + GROUP), K0);
    x = rotate(x, 30);
  }
  e = sum(a, choose(b, c, d), e, v128.load(at), K0);
  b = rotate(b, 30);
  z = sum(v, choose(w, x, y), z, v128.load(at + GROUP), K0);
  w = rotate(w, 30);
  d = sum(e, choose(a, b, c), d, nextWord(at + 16), K0);
  a = rotate(a, 30);
  y = sum(z, choose(v, w, x), y, nextWord(at + 16 + GROUP), K0);
  v = rotate(v, 30);
  c = sum(d, choose(e, a, b), c, nextWord(at + 32), K0);
  e = rotate(e, 30);
  x = sum(y, choose(z, v, w), x, nextWord(at + 32 + GROUP), K0);
  z = rotate(z, 30);
  b = sum(c, choose(d, e, a), b, nextWord(at + 48), K0);
  d = rotate(d, 30);
  w = sum(x, choose(y, z, v), w, nextWord(at + 48 + GROUP), K0);
  y = rotate(y, 30);
  a = sum(b, choose(c, d, e), a, nextWord(at + 64), K0);
  c = rotate(c, 30);
  v = sum(w, choose(x, y, z), v, nextWord(at + 64 + GROUP), K0);
  x = rotate(x, 30);
  for (at += 5 * 16; at < W + 40 * 16; at += 5 * 16) {
    e = sum(a, parity(b, c, d), e, nextWord(at), K1);
    b = rotate(b, 30);
    z = sum(v, parity(w, x, y), z, nextWord(at + GROUP), K1);
    w = rotate(w, 30);
    d = sum(e, parity(a, b, c), d, nextWord(at + 16), K1);
    a = rotate(a, 30);
    y = sum(z, parity(v, w, x), y, nextWord(at + 16 + GROUP), K1);
    v = rotate(v, 30);
    c = sum(d, parity(e, a, b), c, nextWord(at + 32), K1);
    e = rotate(e, 30);
    x = sum(y, parity(z, v, w), x, nextWord(at + 32 + GROUP), K1);
    z = rotate(z, 30);
    b = sum(c, parity(d, e, a), b, nextWord(at + 48), K1);
    d = rotate(d, 30);
    w = sum(x, parity(y, z, v), w, nextWord(at + 48 + GROUP), K1);
    y = rotate(y, 30);
    a = sum(b, parity(c, d, e), a, nextWord(at + 64), K1);
    c = rotate(c, 30);
    v = sum(w, parity(x, y, z), v, nextWord(at + 64 + GROUP), K1);
    x = rotate(x, 30);
  }
  for (; at < W + 60 * 16; at += 5 * 16) {
    e = sum(a, majority(b, c, d), e, nextWord(at), K2);
    b = rotate(b, 30);
    z = sum(v, majority(w, x, y), z, nextWord(at + GROUP), K2);
    w = rotate(w, 30);
    d = sum(e, majority(a, b, c), d, nextWord(at + 16), K2);
    a = rotate(a, 30);
    y = sum(z, majority(v, w, x), y, nextWord(at + 16 + GROUP), K2);
    v = rotate(v, 30);
    c = sum(d, majority(e, a, b), c, nextWord(at + 32), K2);
    e = rotate(e, 30);
    x = sum(y, majority(z, v, w), x, nextWord(at + 32 + GROUP), K2);
    z = rotate(z, 30);
    // The last one before step 58, in the order of a step.
    if (at == W + 55 * 16) {
      keep(AT58, c, d, e, a, b);
      keep(AT58 + GROUP, x, y, z, v, w);
    }
    b = sum(c, majority(d, e, a), b, nextWord(at + 48), K2);
    d = rotate(d, 30);
    w = sum(x, majority(y, z, v), w, nextWord(at + 48 + GROUP), K2);
    y = rotate(y, 30);
    a = sum(b, majority(c, d, e), a, nextWord(at + 64), K2);
    c = rotate(c, 30);
    v = sum(w, majority(x, y, z), v, nextWord(at + 64 + GROUP), K2);
    x = rotate(x, 30);
  }
  for (; at < W + 80 * 16; at += 5 * 16) {
    if (at == W + 65 * 16) {
      keep(AT65, a, b, c, d, e);
      keep(AT65 + GROUP, v, w, x, y, z);
    }
    e = sum(a, parity(b, c, d), e, nextWord(at), K3);
    b = rotate(b, 30);
    z = sum(v, parity(w, x, y), z, nextWord(at + GROUP), K3);
    w = rotate(w, 30);
    d = sum(e, parity(a, b, c), d, nextWord(at + 16), K3);
    a = rotate(a, 30);
    y = sum(z, parity(v, w, x), y, nextWord(at + 16 + GROUP), K3);
    v = rotate(v, 30);
    c = sum(d, parity(e, a, b), c, nextWord(at + 32), K3);
    e = rotate(e, 30);
    x = sum(y, parity(z, v, w), x, nextWord(at + 32 + GROUP), K3);
    z = rotate(z, 30);
    b = sum(c, parity(d, e, a), b, nextWord(at + 48), K3);
    d = rotate(d, 30);
    w = sum(x, parity(y, z, v), w, nextWord(at + 48 + GROUP), K3);
    y = rotate(y, 30);
    a = sum(b, parity(c, d, e), a, nextWord(at + 64), K3);
    c = rotate(c, 30);
    v = sum(w, parity(x, y, z), v, nextWord(at + 64 + GROUP), K3);
    x = rotate(x, 30);
  }
  add(CHAIN, a, b, c, d, e);
  add(CHAIN + GROUP, v, w, x, y, z);
}

/** What a step makes of b, c and d. */
@inline
export function f(step: i32, b: u32, c: u32, d: u32): u32 {
  if (step < 20) return d ^ (b & (c ^ d));
  if (step < 40) return b ^ c ^ d;
  if (step < 60) return (b & c) | (d & (b | c));
  return b ^ c ^ d;
}

/** The constant of a step. */
@inline
export function k(step: i32): u32 {
  if (step < 20) return K0;
  if (step < 40) return K1;
  if (step < 60) return K2;
  return K3;
}

/** What a step makes, in the order in which its parts are known. */
@inline
export function sum1(step: i32, a: u32, b: u32, c: u32, d: u32, e: u32, word: u32): u32 {
  return rotl<u32>(a, 5) + (f(step, b, c, d) + (e + (word + k(step))));
}

@inline
export function keep1(at: usize, a: u32, b: u32, c: u32, d: u32, e: u32): void {
  store<u32>(at, a);
  store<u32>(at + 16, b);
  store<u32>(at + 32, c);
  store<u32>(at + 48, d);
  store<u32>(at + 64, e);
}

/** Compresses the expanded block of one lane of the first group into the chaining value at `chain`, and notes the states before steps 58 and 65. */
export function compressOne(lane: usize, chain: usize): void {
  const a0 = load<u32>(chain);
  const b0 = load<u32>(chain + 16);
  const c0 = load<u32>(chain + 32);
  const d0 = load<u32>(chain + 48);
  const e0 = load<u32>(chain + 64);
  let a = a0;
  let b = b0;
  let c = c0;
  let d = d0;
  let e = e0;
  const words = W + (lane << 2);
  let at = words;
  for (; at < words + 20 * 16; at += 5 * 16) {
    e = sum1(0, a, b, c, d, e, load<u32>(at));
    b = rotl<u32>(b, 30);
    d = sum1(0, e, a, b, c, d, load<u32>(at + 16));
    a = rotl<u32>(a, 30);
    c = sum1(0, d, e, a, b, c, load<u32>(at + 32));
    e = rotl<u32>(e, 30);
    b = sum1(0, c, d, e, a, b, load<u32>(at + 48));
    d = rotl<u32>(d, 30);
    a = sum1(0, b, c, d, e, a, load<u32>(at + 64));
    c = rotl<u32>(c, 30);
  }
  for (; at < words + 40 * 16; at += 5 * 16) {
    e = sum1(20, a, b, c, d, e, load<u32>(at));
    b = rotl<u32>(b, 30);
    d = sum1(20, e, a, b, c, d, load<u32>(at + 16));
    a = rotl<u32>(a, 30);
    c = sum1(20, d, e, a, b, c, load<u32>(at + 32));
    e = rotl<u32>(e, 30);
    b = sum1(20, c, d, e, a, b, load<u32>(at + 48));
    d = rotl<u32>(d, 30);
    a = sum1(20, b, c, d, e, a, load<u32>(at + 64));
    c = rotl<u32>(c, 30);
  }
  for (; at < words + 60 * 16; at += 5 * 16) {
    e = sum1(40, a, b, c, d, e, load<u32>(at));
    b = rotl<u32>(b, 30);
    d = sum1(40, e, a, b, c, d, load<u32>(at + 16));
    a = rotl<u32>(a, 30);
    c = sum1(40, d, e, a, b, c, load<u32>(at + 32));
    e = rotl<u32>(e, 30);
    if (at == words + 55 * 16) keep1(AT58 + (lane << 2), c, d, e, a, b);
    b = sum1(40, c, d, e, a, b, load<u32>(at + 48));
    d = rotl<u32>(d, 30);
    a = sum1(40, b, c, d, e, a, load<u32>(at + 64));
    c = rotl<u32>(c, 30);
  }
  for (; at < words + 80 * 16; at += 5 * 16) {
    if (at == words + 65 * 16) keep1(AT65 + (lane << 2), a, b, c, d, e);
    e = sum1(60, a, b, c, d, e, load<u32>(at));
    b = rotl<u32>(b, 30);
    d = sum1(60, e, a, b, c, d, load<u32>(at + 16));
    a = rotl<u32>(a, 30);
    c = sum1(60, d, e, a, b, c, load<u32>(at + 32));
    e = rotl<u32>(e, 30);
    b = sum1(60, c, d, e, a, b, load<u32>(at + 48));
    d = rotl<u32>(d, 30);
    a = sum1(60, b, c, d, e, a, load<u32>(at + 64));
    c = rotl<u32>(c, 30);
  }
  keep1(chain, a0 + a, b0 + b, c0 + c, d0 + d, e0 + e);
}
