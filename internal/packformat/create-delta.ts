/** Bytes that are hashed together; shorter matches are found only next to longer ones. */
const BLOCK_BYTES = 16;
/** Blocks of one hash that are looked at: a base of ten thousand equal lines would else take for ever. */
const CHAIN_MAX = 64;
/** A match that goes no further than its block is passed over: a longer one that begins later covers its bytes as well, backwards. */
const MATCH_BYTES_MIN = BLOCK_BYTES + 3;
/** A match this long is taken without looking for a longer one. */
const GOOD_BYTES = 4096;
/** The longest copy of one instruction (gitformat-pack: three bytes of size). */
const COPY_BYTES_MAX = 0xffffff;
const INSERT_BYTES_MAX = 127;
const FACTOR = 0x08104225;

/** FACTOR to the power of BLOCK_BYTES: what the byte that leaves the window weighs. */
const LEAVING = (() => {
  let power = 1;
  for (let i = 0; i < BLOCK_BYTES; i++) power = Math.imul(power, FACTOR);
  return power;
})();

/** The blocks of a base by their hashes: makes any number of deltas on it. About as large as its base / 2. */
export interface DeltaIndex {
  readonly base: Buffer;
  /** First block of each slot, one more than its number; 0: none. */
  readonly heads: Int32Array;
  /** The next block of the same slot. */
  readonly next: Int32Array;
  readonly shift: number;
}

function hashAt(bytes: Uint8Array, at: number): number {
  let hash = 0;
  for (let i = at; i < at + BLOCK_BYTES; i++) hash = (Math.imul(hash, FACTOR) + bytes[i]!) | 0;
  return hash;
}

/** What an index takes beside its base. */
export function deltaIndexBytes(baseBytes: number): number {
  const blocks = Math.floor(baseBytes / BLOCK_BYTES);
  return 4 * (blocks + 2 ** (32 - shiftFor(blocks)));
}

function shiftFor(blocks: number): number {
  let bits = 4;
  while (bits < 24 && 2 ** bits < blocks) bits++;
  return 32 - bits;
}

/** Cuts the base into blocks of 16 bytes. Of a run of equal blocks only the first is kept: a match on it extends over the others. */
export function indexForDelta(base: Buffer): DeltaIndex {
  const blocks = Math.floor(base.length / BLOCK_BYTES);
  const shift = shiftFor(blocks);
  const heads = new Int32Array(2 ** (32 - shift));
  const next = new Int32Array(blocks);
  let last = 0;
  // From the end, so that each slot's list begins with the earliest block, whose matches can become the longest.
  for (let block = blocks - 1; block >= 0; block--) {
    const hash = hashAt(base, block * BLOCK_BYTES);
    const slot = Math.imul(hash, 0x9e3779b1) >>> shift;
    if (hash === last && heads[slot] === block + 2) {
      next[block] = next[block + 1]!;
    } else {
      next[block] = heads[slot]!;
    }
    heads[slot] = block + 1;
    last = hash;
  }
  return { base, heads, next, shift };
}

let output = Buffer.allocUnsafe(1 << 16);

/**
 * A delta that makes `target` of the index's base, null when it would have more than `bytesMax` bytes (or either is empty: git has no such deltas). Greedy:
 * at each position the longest match that begins in a block of 16 bytes, extended both ways. The result is a view that the next call overwrites.
 * Source: git's diff-delta.c, after Davide Libenzi's xdiff.
 */
export function createDelta(index: DeltaIndex, target: Buffer, bytesMax: number): Buffer | null {
  if (index.base.length === 0 || target.length === 0) return null;
  const room = Math.min(bytesMax, target.length + (target.length >>> 6) + 64) + 2 * COPY_OP_BYTES_MAX + INSERT_BYTES_MAX + 32;
  if (output.length < room) output = Buffer.allocUnsafe(room);
  const length = writeDelta(index, target, Math.min(bytesMax, room), output);
  return length < 0 ? null : output.subarray(0, length);
}

const COPY_OP_BYTES_MAX = 8;

function writeDelta({ base, heads, next, shift }: DeltaIndex, target: Buffer, bytesMax: number, out: Buffer): number {
  const size = target.length;
  const baseSize = base.length;
  let to = writeSize(out, writeSize(out, 0, baseSize), size);
  /** Where the bytes that no copy covers yet begin. */
  let pending = 0;
  let at = 0;
  let hash = 0;
  let hashed = -1;
  const lastBlockAt = size - BLOCK_BYTES;
  while (at <= lastBlockAt) {
    if (hashed === at) {
      hash = (Math.imul(hash, FACTOR) + target[at + BLOCK_BYTES - 1]! - Math.imul(LEAVING, target[at - 1]!)) | 0;
    } else {
      hash = hashAt(target, at);
    }
    let best = 0;
    let from = 0;
    let looks = CHAIN_MAX;
    for (let block = heads[Math.imul(hash, 0x9e3779b1) >>> shift]!; block > 0 && looks-- > 0; block = next[block - 1]!) {
      const start = (block - 1) * BLOCK_BYTES;
      // What cannot be longer than the best is not compared from its start.
      if (best > 0 && (start + best >= baseSize || at + best >= size || base[start + best] !== target[at + best])) continue;
      const end = Math.min(baseSize - start, size - at);
      let length = 0;
      while (length < end && base[start + length] === target[at + length]) length++;
      if (length > best) {
        best = length;
        from = start;
        if (length >= GOOD_BYTES) break;
      }
    }
    if (best < MATCH_BYTES_MIN) {
      at++;
      hashed = at;
      if (at - pending >= bytesMax) return -1;
      continue;
    }
    // What the last copy covers is not told twice.
    let start = Math.max(at, pending);
    from += start - at;
    while (start > pending && from > 0 && base[from - 1] === target[start - 1]) {
      start--;
      from--;
    }
    const copied = at + best - start;
    to = writeInserts(out, to, target, pending, start, bytesMax);
    if (to < 0) return -1;
    for (let done = 0; done < copied; ) {
      const part = Math.min(copied - done, COPY_BYTES_MAX);
      to = writeCopy(out, to, from + done, part);
      if (to > bytesMax) return -1;
      done += part;
    }
    pending = at + best;
    // A block that begins in what was copied may match further than that.
    at = Math.max(at + 1, pending - BLOCK_BYTES + 1);
    hashed = -1;
  }
  to = writeInserts(out, to, target, pending, size, bytesMax);
  return to > bytesMax ? -1 : to;
}

/** The literal bytes of `target[from, end)`; -1 when they do not fit the bound. */
function writeInserts(out: Buffer, at: number, target: Buffer, from: number, end: number, bytesMax: number): number {
  if (end === from) return at;
  let to = at;
  if (to + (end - from) + Math.ceil((end - from) / INSERT_BYTES_MAX) > bytesMax) return -1;
  for (let position = from; position < end; ) {
    const part = Math.min(end - position, INSERT_BYTES_MAX);
    out[to++] = part;
    for (let i = 0; i < part; i++) out[to++] = target[position++]!;
  }
  return to;
}

function writeCopy(out: Buffer, at: number, offset: number, length: number): number {
  let to = at + 1;
  let op = 0x80;
  for (let i = 0, rest = offset; i < 4; i++, rest >>>= 8) {
    if ((rest & 0xff) === 0) continue;
    out[to++] = rest & 0xff;
    op |= 1 << i;
  }
  // A length of 64 KiB is the one that is told by no byte at all.
  for (let i = 0, rest = length === 0x10000 ? 0 : length; i < 3; i++, rest >>>= 8) {
    if ((rest & 0xff) === 0) continue;
    out[to++] = rest & 0xff;
    op |= 0x10 << i;
  }
  out[at] = op;
  return to;
}

function writeSize(out: Buffer, at: number, size: number): number {
  let to = at;
  let rest = size;
  for (; rest >= 128; rest = Math.floor(rest / 128)) out[to++] = (rest % 128) | 0x80;
  out[to++] = rest;
  return to;
}
