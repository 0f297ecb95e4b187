import type { Pack } from '../catalog/mod.ts';
import type { LentViews, PackBytes } from '../packread/mod.ts';
import type { KeptAnswer } from './answers.ts';
import { Gathering } from './coalesce.ts';
import { type ReadOptions, rangePieces } from './range-pieces.ts';

/** Stretches this long are read by themselves, piece by piece: the next one while one is sent. */
const LONG_BYTES = 1 << 20;
/** Others are read together with what follows, up to so many stretches or so many pieces from first to last. */
const AHEAD_STRETCHES = 4096;
const AHEAD_PIECES = 4;
const AHEAD_BYTES_MAX = 8 << 20;

type Columns = Pick<KeptAnswer, 'packs' | 'made' | 'from' | 'offsets' | 'lengths'>;

/** The pack of a kept answer in pieces that are worth a write, each of which stays what it is until the next one is asked for. */
export async function* keptPieces(
  bytes: PackBytes,
  poolId: number,
  answer: Columns,
  { signal, pieceBytes }: Omit<ReadOptions, 'forgetsPieces'>,
): AsyncGenerator<Buffer> {
  const options = { signal, pieceBytes, forgetsPieces: true };
  const { packs, made, from, offsets, lengths } = answer;
  const windows = new PackWindows(bytes, poolId, answer, signal);
  const gathering = new Gathering();
  const out: Buffer[] = [];
  for (let i = 0; i < from.length; i++) {
    const offset = offsets[i]!;
    const end = offset + lengths[i]!;
    const pack = packs[from[i]!];
    if (pack === undefined) gathering.add(made.subarray(offset, end), out);
    else if (end - offset >= LONG_BYTES) {
      // They end before it.
      windows.release();
      for await (const part of rangePieces(bytes, poolId, pack, offset, end, options)) {
        gathering.add(part, out);
        yield* out.splice(0);
        gathering.forget();
      }
    } else {
      for (let at = offset; at < end; ) {
        const part = windows.at(pack, at, end - at);
        if (part === undefined) {
          // Before what it is a view of becomes something else.
          yield* out.splice(0);
          await windows.move(i, Math.min(AHEAD_BYTES_MAX, AHEAD_PIECES * pieceBytes()));
          continue;
        }
        gathering.add(part, out);
        at += part.length;
      }
    }
    if (out.length > 0) {
      signal.throwIfAborted();
      yield* out.splice(0);
      gathering.forget();
    }
  }
  gathering.finish(out);
  yield* out;
  windows.release();
}

interface Span {
  readonly start: number;
  end: number;
}

/** What is at hand of packs: the bytes around the stretches that come next. */
class PackWindows {
  readonly #bytes: PackBytes;
  readonly #poolId: number;
  readonly #answer: Columns;
  readonly #signal: AbortSignal;
  readonly #windows = new Map<Pack, { readonly start: number; readonly lent: LentViews }>();
  /** Where something was found last: neighbours are mostly found there. */
  #pack: Pack | null = null;
  #start = 0;
  #view: Buffer = Buffer.alloc(0);

  constructor(bytes: PackBytes, poolId: number, answer: Columns, signal: AbortSignal) {
    this.#bytes = bytes;
    this.#poolId = poolId;
    this.#answer = answer;
    this.#signal = signal;
  }

  /** Some bytes of a pack from an offset on, at most `lengthBytes` and at least one; undefined when they are not at hand. */
  at(pack: Pack, offset: number, lengthBytes: number): Buffer | undefined {
    const at = offset - this.#start;
    if (pack === this.#pack && at >= 0 && at < this.#view.length) return this.#view.subarray(at, at + lengthBytes);
    const window = this.#windows.get(pack);
    if (window === undefined) return undefined;
    let { start } = window;
    for (const view of window.lent.views) {
      if (offset >= start && offset < start + view.length) {
        this.#pack = pack;
        this.#start = start;
        this.#view = view;
        return view.subarray(offset - start, offset - start + lengthBytes);
      }
      start += view.length;
    }
    return undefined;
  }

  /** Nobody looks at anything any more that was at hand. */
  release(): void {
    for (const { lent } of this.#windows.values()) lent.release();
    this.#windows.clear();
    this.#pack = null;
  }

  /** Brings what the rows from `row` on are made of in the place of what was at hand, of `bytesMax` at most unless one row has more. */
  async move(row: number, bytesMax: number): Promise<void> {
    this.release();
    this.#signal.throwIfAborted();
    const reads = [...spansFrom(this.#answer, row, bytesMax)].map(async ([pack, { start, end }]) => {
      const lent = await this.#bytes.lend(this.#poolId, pack, start, end - start, this.#signal);
      this.#windows.set(pack, { start, lent });
    });
    await Promise.all(reads);
  }
}

/** What the rows from one on are made of, as far as it is read together. */
function spansFrom({ packs, from, offsets, lengths }: Columns, first: number, bytesMax: number): Map<Pack, Span> {
  const spans = new Map<Pack, Span>();
  let spanned = 0;
  for (let i = first; i < from.length && i < first + AHEAD_STRETCHES; i++) {
    const pack = packs[from[i]!];
    if (pack === undefined) continue;
    if (lengths[i]! >= LONG_BYTES) break;
    const end = offsets[i]! + lengths[i]!;
    const span = spans.get(pack);
    const grown = span === undefined ? lengths[i]! : end - span.end;
    // Stretches of a pack come in order; those that stand far apart are read apart.
    if (spanned > 0 && (spanned + grown > bytesMax || grown < 0)) break;
    spanned += grown;
    spans.set(pack, { start: span?.start ?? offsets[i]!, end });
  }
  return spans;
}
