// The test that decides: with a disturbance vector's differences there is another block that ends in the same chaining value.

import { f, step1 } from './compress';
import { differencesOf } from './disturbance';
import { AT58, AT65, FIRST, LONE, MAY, OTHER, W } from './layout';

/**
 * Whether the block that differs by a disturbance vector's message differences, with the same state before a step at which that vector leaves none, ends in
 * the same chaining value: computed from that state backwards to the chaining value it would need, and forwards.
 */
function meets(differences: usize, from: usize, state: usize, chain: usize): bool {
  for (let at: usize = 0; at < 320; at += 16) {
    v128.store(OTHER + at, v128.xor(v128.load(LONE + at), v128.load(differences + at)));
  }
  let a = load<u32>(state);
  let b = load<u32>(state + 16);
  let c = load<u32>(state + 32);
  let d = load<u32>(state + 48);
  let e = load<u32>(state + 64);
  let at = OTHER + (from << 2);
  for (; at < OTHER + 60 * 4; at += 4) {
    const next = step1(a, f(40, b, c, d), e, at);
    e = d;
    d = c;
    c = rotl<u32>(b, 30);
    b = a;
    a = next;
  }
  for (; at < OTHER + 80 * 4; at += 4) {
    const next = step1(a, f(60, b, c, d), e, at);
    e = d;
    d = c;
    c = rotl<u32>(b, 30);
    b = a;
    a = next;
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
  at = OTHER + (from << 2) - 4;
  for (; at >= OTHER + 60 * 4; at -= 4) {
    const next = a;
    a = b;
    b = rotl<u32>(c, 2);
    c = d;
    d = e;
    e = next - step1(a, f(60, b, c, d), 0, at);
  }
  for (; at >= OTHER + 40 * 4; at -= 4) {
    const next = a;
    a = b;
    b = rotl<u32>(c, 2);
    c = d;
    d = e;
    e = next - step1(a, f(40, b, c, d), 0, at);
  }
  for (; at >= OTHER + 20 * 4; at -= 4) {
    const next = a;
    a = b;
    b = rotl<u32>(c, 2);
    c = d;
    d = e;
    e = next - step1(a, f(20, b, c, d), 0, at);
  }
  for (; at >= OTHER; at -= 4) {
    const next = a;
    a = b;
    b = rotl<u32>(c, 2);
    c = d;
    d = e;
    e = next - step1(a, f(0, b, c, d), 0, at);
  }
  return (
    a + a1 == load<u32>(chain) &&
    b + b1 == load<u32>(chain + 16) &&
    c + c1 == load<u32>(chain + 32) &&
    d + d1 == load<u32>(chain + 48) &&
    e + e1 == load<u32>(chain + 64)
  );
}

function meetsAny(may: u32, type: i32, bit: i32, lane: usize, chain: usize): bool {
  for (let rest = may; rest != 0; rest &= rest - 1) {
    const k = ctz<u32>(rest) + FIRST;
    const state = (k < 50 ? AT58 : AT65) + (lane << 2);
    if (meets(differencesOf(type, k, bit), k < 50 ? 58 : 65, state, chain)) return true;
  }
  return false;
}

/** Whether the block in a lane, which was compressed into `chain`, was made by an attack. */
export function isAttack(lane: usize, chain: usize): bool {
  const at = MAY + (lane << 2);
  const i0 = load<u32>(at);
  const i2 = load<u32>(at + 16);
  const ii0 = load<u32>(at + 32);
  const ii2 = load<u32>(at + 48);
  if ((i0 | i2 | ii0 | ii2) == 0) return false;
  for (let step: usize = 0; step < 80; step++) store<u32>(LONE + (step << 2), load<u32>(W + (step << 4) + (lane << 2)));
  return (
    meetsAny(i0, 1, 0, lane, chain) || meetsAny(i2, 1, 2, lane, chain) || meetsAny(ii0, 2, 0, lane, chain) || meetsAny(ii2, 2, 2, lane, chain)
  );
}
