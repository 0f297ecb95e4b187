import type { Pack } from '../catalog/mod.ts';
import type { PackBytes } from '../packread/mod.ts';

/** How stored bytes are read for one answer. */
export interface ReadOptions {
  readonly signal: AbortSignal;
  /** How much to read at a time, now. */
  readonly pieceBytes: () => number;
}

/** A range of a pack, `from` to `to`, in pieces, the next one being read while one is written. */
export async function* rangePieces(
  bytes: PackBytes,
  poolId: number,
  pack: Pack,
  from: number,
  to: number,
  { signal, pieceBytes }: ReadOptions,
): AsyncGenerator<Buffer> {
  let at = from;
  const read = (): Promise<readonly Buffer[]> | null => {
    if (at >= to) return null;
    const length = Math.min(pieceBytes(), to - at);
    const views = bytes.views(poolId, pack, at, length, signal);
    at += length;
    views.catch(() => {});
    return views;
  };
  for (let next = read(); next !== null; ) {
    signal.throwIfAborted();
    const views: readonly Buffer[] = await next;
    next = read();
    yield* views;
  }
}
