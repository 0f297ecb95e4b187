// SHA-1 with collision detection: the kernel. What it does and why is told in mod.ts; devenv/kernels.ts makes kernel.wasm.ts of it.
//
// Four blocks are worked on at a time, one in each lane of a vector: `lanes` takes them from four messages, `serial` takes four in a row from
// one. Message expansion and the conditions on the expanded message know no chaining value, so that they are vectors in both.

import { compressLanes, compressOne, keep1 } from './compress';
import { checkConditions } from './conditions';
import { expandAll } from './disturbance';
import { expand, loadWords } from './expand';
import { CHAIN, DIGESTS, JOBS, LANES } from './layout';
import { isAttack } from './other-block';

/** Once, before anything else. */
export function init(): void {
  expandAll();
}

/** Goes on with one message: `blocks` blocks at `from`, the chaining value at `chain`, a word in every 16 bytes. Whether one is of an attack; it is compressed whatever it is. */
export function serial(chain: usize, from: usize, blocks: i32): bool {
  let found = false;
  for (let at = from; blocks > 0; blocks -= 4, at += 256) {
    loadWords(at, at + 64, at + 128, at + 192);
    expand();
    const isSeen = checkConditions();
    for (let lane: usize = 0; lane < <usize>min(blocks, 4); lane++) {
      compressOne(lane, chain);
      if (isSeen && isAttack(lane, chain)) found = true;
    }
  }
  return found;
}

@inline
function take(lane: usize, job: i32): void {
  keep1(CHAIN + (lane << 2), 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0);
  store<i32>(LANES + lane * 12, job);
  store<usize>(LANES + lane * 12 + 4, load<usize>(JOBS + (<usize>job << 3)));
  store<i32>(LANES + lane * 12 + 8, load<i32>(JOBS + (<usize>job << 3) + 4));
}

function writeDigest(lane: usize): void {
  const into = DIGESTS + <usize>load<i32>(LANES + lane * 12) * 20;
  for (let i: usize = 0; i < 5; i++) store<u32>(into + (i << 2), bswap<u32>(load<u32>(CHAIN + (i << 4) + (lane << 2))));
}

/** Writes the digests of whole messages, padding included, of at least a block each. One that is found to be of an attack, which ends the work; -1: none. */
export function lanes(jobs: i32): i32 {
  let next = 0;
  let active = 0;
  for (let lane: usize = 0; lane < 4; lane++) store<i32>(LANES + lane * 12 + 8, 0);
  for (; active < 4 && next < jobs; active++) take(active, next++);
  while (active == 4) {
    let a = load<usize>(LANES + 4);
    let b = load<usize>(LANES + 16);
    let c = load<usize>(LANES + 28);
    let d = load<usize>(LANES + 40);
    const blocks = min(min(load<i32>(LANES + 8), load<i32>(LANES + 20)), min(load<i32>(LANES + 32), load<i32>(LANES + 44)));
    for (let i = 0; i < blocks; i++) {
      loadWords(a, b, c, d);
      expand();
      const isSeen = checkConditions();
      compressLanes();
      if (isSeen) {
        for (let lane: usize = 0; lane < 4; lane++) {
          if (isAttack(lane, CHAIN + (lane << 2))) return load<i32>(LANES + lane * 12);
        }
      }
      a += 64;
      b += 64;
      c += 64;
      d += 64;
    }
    store<usize>(LANES + 4, a);
    store<usize>(LANES + 16, b);
    store<usize>(LANES + 28, c);
    store<usize>(LANES + 40, d);
    for (let lane: usize = 0; lane < 4; lane++) {
      const left = load<i32>(LANES + lane * 12 + 8) - blocks;
      store<i32>(LANES + lane * 12 + 8, left);
      if (left > 0) continue;
      writeDigest(lane);
      if (next < jobs) take(lane, next++);
      else active--;
    }
  }
  for (let lane: usize = 0; lane < 4; lane++) {
    const left = load<i32>(LANES + lane * 12 + 8);
    if (left <= 0) continue;
    if (serial(CHAIN + (lane << 2), load<usize>(LANES + lane * 12 + 4), left)) return load<i32>(LANES + lane * 12);
    writeDigest(lane);
  }
  return -1;
}
