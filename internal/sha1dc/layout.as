// Where things lie in the kernel's memory. Vectors have four words, one for each lane.

// Of each four lanes, the second four GROUP further on:
/** The expanded message: 80 vectors. */
export const W: usize = 1024;
/** The states before steps 58 and 65: 5 vectors each. */
export const AT58: usize = W + 80 * 16;
export const AT65: usize = AT58 + 5 * 16;
/** Chaining values: 5 vectors. */
export const CHAIN: usize = AT65 + 5 * 16;
/** Which disturbance vectors may have made the blocks: 4 vectors, of the classes I(K,0), I(K,2), II(K,0), II(K,2). */
export const MAY: usize = CHAIN + 5 * 16;
export const GROUP: usize = MAY + 64 - W;

/** Differences of the expanded message, 80 words for each of 32 disturbance vectors. */
export const DIFFERENCES: usize = W + 2 * GROUP;
/** Of each lane: the message in work, its next block, its blocks that are left. */
export const LANES: usize = DIFFERENCES + 32 * 320;
/** For the disturbance vector that is expanded: words of steps -5 to 84. */
export const DISTURBANCES: usize = LANES + 8 * 12;
/** What the other block that was looked at last ends in: 5 words. */
export const NEEDED: usize = DISTURBANCES + 90 * 4;
/** Messages to work on: the first byte, and how many blocks. */
export const JOBS: usize = 16384;
export const JOBS_MAX: i32 = 1024;
/** Their digests, 20 bytes each. */
export const DIGESTS: usize = JOBS + JOBS_MAX * 8;

/** In words of bits, K of a disturbance vector and steps are counted from here. */
export const FIRST: i32 = 35;

export const K0: u32 = 0x5a827999;
export const K1: u32 = 0x6ed9eba1;
export const K2: u32 = 0x8f1bbcdc;
export const K3: u32 = 0xca62c1d6;
