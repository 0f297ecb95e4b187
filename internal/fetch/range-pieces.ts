import type { Pack } from '../catalog/mod.ts';
import type { LentViews, PackBytes } from '../packread/mod.ts';

/** How stored bytes are read for one answer. */
export interface ReadOptions {
  readonly signal: AbortSignal;
  /** How much to read at a time, now. */
  readonly pieceBytes: () => number;
  /** Nobody looks at a piece any more when the next is asked for: its memory may be used again. */
  readonly forgetsPieces?: boolean;
}

const PIECES_AHEAD = 2;

/**
 * A range of a pack, `from` to `to`, in pieces, two being read while one is written. Pieces end where a multiple of their size ends, so that
 * answers that are sent side by side read the same ones.
 */
export async function* rangePieces(
  bytes: Pick<PackBytes, 'lend'>,
  poolId: number,
  pack: Pack,
  from: number,
  to: number,
  { signal, pieceBytes, forgetsPieces = false }: ReadOptions,
): AsyncGenerator<Buffer> {
  const ahead: Promise<LentViews>[] = [];
  for (let at = from; at < to || ahead.length > 0; ) {
    signal.throwIfAborted();
    while (at < to && ahead.length <= PIECES_AHEAD) {
      const size = pieceBytes();
      const end = Math.min(at - (at % size) + size, to);
      const piece = bytes.lend(poolId, pack, at, end - at, signal);
      piece.catch(() => {});
      ahead.push(piece);
      at = end;
    }
    const { views, release } = await ahead.shift()!;
    yield* views;
    if (forgetsPieces) release();
  }
}
