// SHA-1's compression of expanded blocks, in all four lanes or in one. Both note the states before steps 58 and 65.

import { rotate } from './expand';
import { AT58, AT65, CHAIN, K0, K1, K2, K3, W } from './layout';

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

@inline
function sum(a: v128, f: v128, e: v128, at: usize, k: u32): v128 {
  return i32x4.add(i32x4.add(rotate(a, 5), f), i32x4.add(e, i32x4.add(v128.load(at), i32x4.splat(k))));
}

@inline
function keep(at: usize, a: v128, b: v128, c: v128, d: v128, e: v128): void {
  v128.store(at, a);
  v128.store(at + 16, b);
  v128.store(at + 32, c);
  v128.store(at + 48, d);
  v128.store(at + 64, e);
}

/** Compresses the expanded blocks into the lanes' chaining values, and notes the states before steps 58 and 65. */
export function compressLanes(): void {
  let a = v128.load(CHAIN);
  let b = v128.load(CHAIN + 16);
  let c = v128.load(CHAIN + 32);
  let d = v128.load(CHAIN + 48);
  let e = v128.load(CHAIN + 64);
  let at: usize = W;
  for (; at < W + 20 * 16; at += 5 * 16) {
    e = sum(a, choose(b, c, d), e, at, K0);
    b = rotate(b, 30);
    d = sum(e, choose(a, b, c), d, at + 16, K0);
    a = rotate(a, 30);
    c = sum(d, choose(e, a, b), c, at + 32, K0);
    e = rotate(e, 30);
    b = sum(c, choose(d, e, a), b, at + 48, K0);
    d = rotate(d, 30);
    a = sum(b, choose(c, d, e), a, at + 64, K0);
    c = rotate(c, 30);
  }
  for (; at < W + 40 * 16; at += 5 * 16) {
    e = sum(a, parity(b, c, d), e, at, K1);
    b = rotate(b, 30);
    d = sum(e, parity(a, b, c), d, at + 16, K1);
    a = rotate(a, 30);
    c = sum(d, parity(e, a, b), c, at + 32, K1);
    e = rotate(e, 30);
    b = sum(c, parity(d, e, a), b, at + 48, K1);
    d = rotate(d, 30);
    a = sum(b, parity(c, d, e), a, at + 64, K1);
    c = rotate(c, 30);
  }
  for (; at < W + 60 * 16; at += 5 * 16) {
    e = sum(a, majority(b, c, d), e, at, K2);
    b = rotate(b, 30);
    d = sum(e, majority(a, b, c), d, at + 16, K2);
    a = rotate(a, 30);
    c = sum(d, majority(e, a, b), c, at + 32, K2);
    e = rotate(e, 30);
    // The last one before step 58, in the order of a step.
    if (at == W + 55 * 16) keep(AT58, c, d, e, a, b);
    b = sum(c, majority(d, e, a), b, at + 48, K2);
    d = rotate(d, 30);
    a = sum(b, majority(c, d, e), a, at + 64, K2);
    c = rotate(c, 30);
  }
  for (; at < W + 80 * 16; at += 5 * 16) {
    if (at == W + 65 * 16) keep(AT65, a, b, c, d, e);
    e = sum(a, parity(b, c, d), e, at, K3);
    b = rotate(b, 30);
    d = sum(e, parity(a, b, c), d, at + 16, K3);
    a = rotate(a, 30);
    c = sum(d, parity(e, a, b), c, at + 32, K3);
    e = rotate(e, 30);
    b = sum(c, parity(d, e, a), b, at + 48, K3);
    d = rotate(d, 30);
    a = sum(b, parity(c, d, e), a, at + 64, K3);
    c = rotate(c, 30);
  }
  v128.store(CHAIN, i32x4.add(v128.load(CHAIN), a));
  v128.store(CHAIN + 16, i32x4.add(v128.load(CHAIN + 16), b));
  v128.store(CHAIN + 32, i32x4.add(v128.load(CHAIN + 32), c));
  v128.store(CHAIN + 48, i32x4.add(v128.load(CHAIN + 48), d));
  v128.store(CHAIN + 64, i32x4.add(v128.load(CHAIN + 64), e));
}

@inline
export function f(step: i32, b: u32, c: u32, d: u32): u32 {
  if (step < 20) return (d ^ (b & (c ^ d))) + K0;
  if (step < 40) return (b ^ c ^ d) + K1;
  if (step < 60) return ((b & c) | (d & (b | c))) + K2;
  return (b ^ c ^ d) + K3;
}

@inline
export function step1(a: u32, fk: u32, e: u32, at: usize): u32 {
  return rotl<u32>(a, 5) + fk + e + load<u32>(at);
}

@inline
export function keep1(at: usize, a: u32, b: u32, c: u32, d: u32, e: u32): void {
  store<u32>(at, a);
  store<u32>(at + 16, b);
  store<u32>(at + 32, c);
  store<u32>(at + 48, d);
  store<u32>(at + 64, e);
}

/** Compresses the block of one lane into the chaining value at `chain`, and notes the states before steps 58 and 65. */
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
    e = step1(a, f(0, b, c, d), e, at);
    b = rotl<u32>(b, 30);
    d = step1(e, f(0, a, b, c), d, at + 16);
    a = rotl<u32>(a, 30);
    c = step1(d, f(0, e, a, b), c, at + 32);
    e = rotl<u32>(e, 30);
    b = step1(c, f(0, d, e, a), b, at + 48);
    d = rotl<u32>(d, 30);
    a = step1(b, f(0, c, d, e), a, at + 64);
    c = rotl<u32>(c, 30);
  }
  for (; at < words + 40 * 16; at += 5 * 16) {
    e = step1(a, f(20, b, c, d), e, at);
    b = rotl<u32>(b, 30);
    d = step1(e, f(20, a, b, c), d, at + 16);
    a = rotl<u32>(a, 30);
    c = step1(d, f(20, e, a, b), c, at + 32);
    e = rotl<u32>(e, 30);
    b = step1(c, f(20, d, e, a), b, at + 48);
    d = rotl<u32>(d, 30);
    a = step1(b, f(20, c, d, e), a, at + 64);
    c = rotl<u32>(c, 30);
  }
  for (; at < words + 60 * 16; at += 5 * 16) {
    e = step1(a, f(40, b, c, d), e, at);
    b = rotl<u32>(b, 30);
    d = step1(e, f(40, a, b, c), d, at + 16);
    a = rotl<u32>(a, 30);
    c = step1(d, f(40, e, a, b), c, at + 32);
    e = rotl<u32>(e, 30);
    if (at == words + 55 * 16) keep1(AT58 + (lane << 2), c, d, e, a, b);
    b = step1(c, f(40, d, e, a), b, at + 48);
    d = rotl<u32>(d, 30);
    a = step1(b, f(40, c, d, e), a, at + 64);
    c = rotl<u32>(c, 30);
  }
  for (; at < words + 80 * 16; at += 5 * 16) {
    if (at == words + 65 * 16) keep1(AT65 + (lane << 2), a, b, c, d, e);
    e = step1(a, f(60, b, c, d), e, at);
    b = rotl<u32>(b, 30);
    d = step1(e, f(60, a, b, c), d, at + 16);
    a = rotl<u32>(a, 30);
    c = step1(d, f(60, e, a, b), c, at + 32);
    e = rotl<u32>(e, 30);
    b = step1(c, f(60, d, e, a), b, at + 48);
    d = rotl<u32>(d, 30);
    a = step1(b, f(60, c, d, e), a, at + 64);
    c = rotl<u32>(c, 30);
  }
  keep1(chain, a0 + a, b0 + b, c0 + c, d0 + d, e0 + e);
}
