import type { Pack } from '../catalog/mod.ts';
import type { PackBytes } from '../packread/mod.ts';
import type { KeptAnswer } from './answers.ts';
import { Gathering } from './coalesce.ts';
import { type ReadOptions, rangePieces } from './range-pieces.ts';

/** Stretches this long are read by themselves, piece by piece: the next one while one is sent. */
const LONG_BYTES = 1 << 20;
/** What is not cached is brought in together with what follows, up to so many stretches or so many bytes from first to last. */
const AHEAD_STRETCHES = 4096;
const AHEAD_BYTES = 8 << 20;

type Columns = Pick<KeptAnswer, 'packs' | 'made' | 'from' | 'offsets' | 'lengths'>;

/** The pack of a kept answer in pieces that are worth a write. */
export async function* keptPieces(
  bytes: PackBytes,
  poolId: number,
  answer: Columns,
  options: ReadOptions,
): AsyncGenerator<Buffer> {
  const { signal } = options;
  const { packs, made, from, offsets, lengths } = answer;
  const window = new PackWindow(bytes, poolId);
  const gathering = new Gathering();
  const out: Buffer[] = [];
  for (let i = 0; i < from.length; i++) {
    const offset = offsets[i]!;
    const end = offset + lengths[i]!;
    const pack = packs[from[i]!];
    if (pack === undefined) gathering.add(made.subarray(offset, end), out);
    else if (end - offset >= LONG_BYTES) {
      for await (const part of rangePieces(bytes, poolId, pack, offset, end, options)) {
        gathering.add(part, out);
        yield* out.splice(0);
      }
    } else {
      for (let at = offset; at < end; ) {
        let part = window.at(pack, at, end - at);
        if (part === undefined) {
          signal.throwIfAborted();
          await loadAhead(bytes, poolId, answer, i, signal);
          // A cache that is smaller than what is asked for at once has let it go again.
          part = window.at(pack, at, end - at) ?? (await bytes.read(poolId, pack, at, end - at, signal));
        }
        gathering.add(part, out);
        at += part.length;
      }
    }
    if (out.length > 0) {
      signal.throwIfAborted();
      yield* out.splice(0);
    }
  }
  gathering.finish(out);
  yield* out;
}

/** Brings what the rows from one on are made of into the cache. */
async function loadAhead(
  bytes: PackBytes,
  poolId: number,
  { packs, from, offsets, lengths }: Columns,
  first: number,
  signal: AbortSignal,
): Promise<void> {
  const spans = new Map<Pack, { start: number; end: number }>();
  let spanned = 0;
  for (let i = first; i < from.length && i < first + AHEAD_STRETCHES; i++) {
    const pack = packs[from[i]!];
    if (pack === undefined) continue;
    if (lengths[i]! >= LONG_BYTES) break;
    const end = offsets[i]! + lengths[i]!;
    const span = spans.get(pack);
    const grown = span === undefined ? lengths[i]! : end - span.end;
    // Stretches of a pack come in order; those that stand far apart are read apart.
    if (spanned > 0 && (spanned + grown > AHEAD_BYTES || grown < 0)) break;
    spanned += grown;
    spans.set(pack, { start: span?.start ?? offsets[i]!, end });
  }
  await Promise.all([...spans].map(([pack, { start, end }]) => bytes.load(poolId, pack, start, end - start, signal)));
}

/** The cached bytes around where a pack was last looked into: neighbours are found there without asking the cache again. */
class PackWindow {
  readonly #bytes: PackBytes;
  readonly #poolId: number;
  #pack: Pack | null = null;
  #start = 0;
  #view: Buffer = Buffer.alloc(0);

  constructor(bytes: PackBytes, poolId: number) {
    this.#bytes = bytes;
    this.#poolId = poolId;
  }

  /** Some bytes of a pack from an offset on, at most `lengthBytes` and at least one; undefined when they are not cached. */
  at(pack: Pack, offset: number, lengthBytes: number): Buffer | undefined {
    if (pack !== this.#pack || offset < this.#start || offset >= this.#start + this.#view.length) {
      const view = this.#bytes.peek(this.#poolId, pack, offset);
      if (view === undefined || view.length === 0) return undefined;
      this.#pack = pack;
      this.#start = offset;
      this.#view = view;
    }
    const at = offset - this.#start;
    return this.#view.subarray(at, at + lengthBytes);
  }
}
