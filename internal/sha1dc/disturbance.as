// The disturbance vectors that attacks can use, and the differences of the expanded message that each stands for. Source: Manuel (classification), Stevens.

import { DIFFERENCES, DISTURBANCES } from './layout';

function disturbance(step: i32): u32 {
  return load<u32>(DISTURBANCES + ((step + 5) << 2));
}

/** Manuel's types: all of 16 words are zero but the last (I), or but the second, the fourth and the last (II). */
function expandDisturbances(type: i32, k: i32, bit: i32, into: usize): void {
  for (let step = -5; step < 85; step++) store<u32>(DISTURBANCES + ((step + 5) << 2), 0);
  if (type == 2) {
    store<u32>(DISTURBANCES + ((k + 6) << 2), rotl<u32>(1, bit + 31));
    store<u32>(DISTURBANCES + ((k + 8) << 2), rotl<u32>(1, bit + 31));
  }
  store<u32>(DISTURBANCES + ((k + 20) << 2), 1 << bit);
  for (let step = k + 16; step < 80; step++) {
    const word = rotl<u32>(disturbance(step - 3) ^ disturbance(step - 8) ^ disturbance(step - 14) ^ disturbance(step - 16), 1);
    store<u32>(DISTURBANCES + ((step + 5) << 2), word);
  }
  for (let step = k - 1; step >= -5; step--) {
    const word = rotr<u32>(disturbance(step + 16), 1) ^ disturbance(step + 13) ^ disturbance(step + 8) ^ disturbance(step + 2);
    store<u32>(DISTURBANCES + ((step + 5) << 2), word);
  }
  // Each disturbance begins a local collision: the five steps after it take it back.
  for (let step = 0; step < 80; step++) {
    const late = disturbance(step - 3) ^ disturbance(step - 4) ^ disturbance(step - 5);
    const word = disturbance(step) ^ rotl<u32>(disturbance(step - 1), 5) ^ disturbance(step - 2) ^ rotl<u32>(late, 30);
    store<u32>(into + (step << 2), word);
  }
}

/** Where the differences of a class begin: I(43-52,0), I(46-51,2), II(45-56,0), II(46,2), II(49-51,2). */
@inline
export function differencesOf(type: i32, k: i32, bit: i32): usize {
  const row = type == 1 ? (bit == 0 ? k - 43 : k - 36) : bit == 0 ? k - 29 : k == 46 ? 28 : k - 20;
  return DIFFERENCES + row * 320;
}

/** Makes the differences of all of them. */
export function expandAll(): void {
  for (let k = 43; k <= 52; k++) expandDisturbances(1, k, 0, differencesOf(1, k, 0));
  for (let k = 46; k <= 51; k++) expandDisturbances(1, k, 2, differencesOf(1, k, 2));
  for (let k = 45; k <= 56; k++) expandDisturbances(2, k, 0, differencesOf(2, k, 0));
  expandDisturbances(2, 46, 2, differencesOf(2, 46, 2));
  for (let k = 49; k <= 51; k++) expandDisturbances(2, k, 2, differencesOf(2, k, 2));
}
