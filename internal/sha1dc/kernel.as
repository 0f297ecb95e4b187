// SHA-1 with collision detection: the kernel. What it does and why is told in mod.ts; devenv/kernels.ts makes kernel.wasm.ts of it.
//
// `lanes` works on eight messages at a time, one in each lane of two groups of vectors; `serial` on four blocks in a row of one message, whose expansion and
// conditions, which know no chaining value, are vectors too.

import { compressLanes, compressOne, keep1 } from './compress';
import { checkConditions } from './conditions';
import { expandAll } from './disturbance';
import { expand, loadWords } from './expand';
import { CHAIN, DIGESTS, GROUP, JOBS, LANES } from './layout';
import { isAttack } from './other-block';

/** Once, before anything else. */
export function init(): void {
  expandAll();
}

/** Goes on with one message: `blocks` blocks at `from`, the chaining value at `chain`, a word in every 16 bytes. Whether one is of an attack; it is compressed whatever it is. */
export function serial(chain: usize, from: usize, blocks: i32): bool {
  let found = false;
  for (let at = from; blocks > 0; blocks -= 4, at += 256) {
    loadWords(0, at, at + 64, at + 128, at + 192);
    expand();
    const isSeen = checkConditions(0);
    for (let lane: usize = 0; lane < <usize>min(blocks, 4); lane++) {
      compressOne(lane, chain);
      if (isSeen && isAttack(0, lane, chain)) found = true;
    }
  }
  return found;
}

/** Lanes, of both groups. */
const COUNT: usize = 8;
/** So many messages are not worth the work on all lanes. */
const SERIAL_MAX: i32 = 3;

/** Where the chaining value of a lane is. */
@inline
function chainOf(lane: usize): usize {
  return CHAIN + (lane >> 2) * GROUP + ((lane & 3) << 2);
}

@inline
function messageIn(lane: usize): i32 {
  return load<i32>(LANES + lane * 12);
}

/** The next block of the message in a lane. */
@inline
function nextIn(lane: usize): usize {
  return load<usize>(LANES + lane * 12 + 4);
}

/** Its blocks that are left; 0 where there is no message. */
@inline
function leftIn(lane: usize): i32 {
  return load<i32>(LANES + lane * 12 + 8);
}

function take(lane: usize, job: i32): void {
  keep1(chainOf(lane), 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0);
  store<i32>(LANES + lane * 12, job);
  store<usize>(LANES + lane * 12 + 4, load<usize>(JOBS + (<usize>job << 3)));
  store<i32>(LANES + lane * 12 + 8, load<i32>(JOBS + (<usize>job << 3) + 4));
}

/** No message is in the lane: it works on what lies from 0 on. */
function leave(lane: usize): void {
  store<usize>(LANES + lane * 12 + 4, 0);
  store<i32>(LANES + lane * 12 + 8, 0);
}

function writeDigest(lane: usize): void {
  const into = DIGESTS + <usize>messageIn(lane) * 20;
  for (let i: usize = 0; i < 5; i++) store<u32>(into + (i << 2), bswap<u32>(load<u32>(chainOf(lane) + (i << 4))));
}

/** Of the messages in a group, one whose block is of an attack; -1: none. */
function attackIn(group: usize): i32 {
  for (let i: usize = 0; i < 4; i++) {
    const lane = (group == 0 ? 0 : 4) + i;
    if (leftIn(lane) > 0 && isAttack(group, i, chainOf(lane))) return messageIn(lane);
  }
  return -1;
}

/** Works on so many blocks of the message in each lane. A message that is found to be of an attack, which ends the work; -1: none. */
function advance(blocks: i32): i32 {
  for (let at: usize = 0; at < <usize>blocks * 64; at += 64) {
    loadWords(0, nextIn(0) + at, nextIn(1) + at, nextIn(2) + at, nextIn(3) + at);
    loadWords(GROUP, nextIn(4) + at, nextIn(5) + at, nextIn(6) + at, nextIn(7) + at);
    compressLanes();
    let found = -1;
    if (checkConditions(0)) found = attackIn(0);
    if (checkConditions(GROUP) && found < 0) found = attackIn(GROUP);
    if (found >= 0) return found;
  }
  return -1;
}

/** Writes the digests of whole messages, padding included, of at least a block each. One that is found to be of an attack, which ends the work; -1: none. */
export function lanes(jobs: i32): i32 {
  let next = 0;
  let active = 0;
  for (let lane: usize = 0; lane < COUNT; lane++) {
    if (next < jobs) {
      take(lane, next++);
      active++;
    } else {
      leave(lane);
    }
  }
  while (active > SERIAL_MAX) {
    let blocks = i32.MAX_VALUE;
    for (let lane: usize = 0; lane < COUNT; lane++) if (leftIn(lane) > 0) blocks = min(blocks, leftIn(lane));
    const found = advance(blocks);
    if (found >= 0) return found;
    for (let lane: usize = 0; lane < COUNT; lane++) {
      if (leftIn(lane) == 0) continue;
      const left = leftIn(lane) - blocks;
      store<usize>(LANES + lane * 12 + 4, nextIn(lane) + (<usize>blocks << 6));
      store<i32>(LANES + lane * 12 + 8, left);
      if (left > 0) continue;
      writeDigest(lane);
      if (next < jobs) {
        take(lane, next++);
      } else {
        leave(lane);
        active--;
      }
    }
  }
  for (let lane: usize = 0; lane < COUNT; lane++) {
    if (leftIn(lane) == 0) continue;
    if (serial(chainOf(lane), nextIn(lane), leftIn(lane))) return messageIn(lane);
    writeDigest(lane);
  }
  return -1;
}
