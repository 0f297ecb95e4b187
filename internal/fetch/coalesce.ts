/** Pieces are gathered to this size: it fills one packet of a sideband. */
const GATHERED_BYTES = 65_515;
/** A piece this long goes on as it is; copying it would cost more than a write of its own. */
const LARGE_BYTES = 16_384;

/**
 * Gathers small pieces, so that an answer of a hundred thousand edges is not a hundred thousand packets and writes. The bytes and their
 * order stay the same.
 */
export async function* coalesce(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let gathered = Buffer.allocUnsafe(GATHERED_BYTES);
  let used = 0;
  for await (const piece of pieces) {
    let rest = piece;
    while (rest.length > 0) {
      if (rest.length >= LARGE_BYTES && used === 0) {
        yield rest;
        break;
      }
      const taken = Math.min(rest.length, GATHERED_BYTES - used);
      rest.copy(gathered, used, 0, taken);
      used += taken;
      rest = rest.subarray(taken);
      if (used < GATHERED_BYTES) continue;
      yield gathered.subarray(0, used);
      // What was handed on belongs to the receiver.
      gathered = Buffer.allocUnsafe(GATHERED_BYTES);
      used = 0;
    }
  }
  if (used > 0) yield gathered.subarray(0, used);
}
