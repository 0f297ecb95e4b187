/** Bytes of a result that a base has somewhere too. */
export interface BlockMatch {
  readonly resultAt: number;
  readonly baseAt: number;
  readonly lengthBytes: number;
}

/** The base is known by blocks of this size; shorter runs in common are not found. */
const BLOCK_BYTES = 32;
const FACTOR = 0x2f0b4c47;

/**
 * Runs of bytes of `result` that stand in `base`, in order of the result, none overlapping another: the base's blocks by a hash that rolls
 * over the result, each find grown both ways. For what one edited chunk has in common with itself; nothing is held but a table of the base.
 */
export function blockMatches(base: Buffer, result: Buffer): BlockMatch[] {
  if (base.length < BLOCK_BYTES || result.length < BLOCK_BYTES) return [];
  const blocks = new Map<number, number>();
  for (let at = 0; at + BLOCK_BYTES <= base.length; at += BLOCK_BYTES) {
    const hash = hashOf(base, at);
    if (!blocks.has(hash)) blocks.set(hash, at);
  }
  let leaving = 1;
  for (let i = 1; i < BLOCK_BYTES; i++) leaving = Math.imul(leaving, FACTOR);
  const matches: BlockMatch[] = [];
  let done = 0;
  let hash = hashOf(result, 0);
  for (let at = 0; ; ) {
    const found = blocks.get(hash);
    const match = found === undefined ? null : grown(base, found, result, at, done);
    if (match !== null) {
      matches.push(match);
      done = match.resultAt + match.lengthBytes;
      at = done;
      if (at + BLOCK_BYTES > result.length) return matches;
      hash = hashOf(result, at);
      continue;
    }
    if (at + BLOCK_BYTES >= result.length) return matches;
    hash = (Math.imul(hash - Math.imul(result[at]! + 1, leaving), FACTOR) + result[at + BLOCK_BYTES]! + 1) | 0;
    at++;
  }
}

function hashOf(bytes: Buffer, at: number): number {
  let hash = 0;
  for (let i = at; i < at + BLOCK_BYTES; i++) hash = (Math.imul(hash, FACTOR) + bytes[i]! + 1) | 0;
  return hash;
}

/** The longest run around a block that seems to be in both, null when it is not. It starts at `done` in the result at the earliest. */
function grown(base: Buffer, baseAt: number, result: Buffer, resultAt: number, done: number): BlockMatch | null {
  let end = 0;
  while (baseAt + end < base.length && resultAt + end < result.length && base[baseAt + end] === result[resultAt + end]) end++;
  if (end < BLOCK_BYTES) return null;
  let before = 0;
  while (baseAt > before && resultAt - before > done && base[baseAt - before - 1] === result[resultAt - before - 1]) before++;
  return { resultAt: resultAt - before, baseAt: baseAt - before, lengthBytes: before + end };
}
