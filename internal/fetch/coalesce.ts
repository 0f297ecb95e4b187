/** Pieces are gathered to this size: it fills one packet of a sideband. */
const GATHERED_BYTES = 65_515;
/** A piece this long goes on as it is; copying it would cost more than a write of its own. */
const LARGE_BYTES = 16_384;

/**
 * Gathers small pieces, so that an answer of a hundred thousand edges is not a hundred thousand packets and writes. The bytes and their
 * order stay the same. What a large piece becomes is a view of it, and goes on before the next piece is asked for.
 */
export class Gathering {
  readonly #free: Buffer[] = [];
  readonly #handedOn: Buffer[] = [];
  #gathered: Buffer = Buffer.allocUnsafe(GATHERED_BYTES);
  #used = 0;

  /** Takes a piece in; what is ready to go is added to `out`. */
  add(piece: Buffer, out: Buffer[]): void {
    for (let at = 0; at < piece.length; ) {
      const left = piece.length - at;
      if (left >= LARGE_BYTES && this.#used === 0) {
        out.push(at === 0 ? piece : piece.subarray(at));
        return;
      }
      const taken = Math.min(left, GATHERED_BYTES - this.#used);
      piece.copy(this.#gathered, this.#used, at, at + taken);
      this.#used += taken;
      at += taken;
      if (this.#used === GATHERED_BYTES) this.finish(out);
    }
  }

  /** Adds what is left to `out`. */
  finish(out: Buffer[]): void {
    if (this.#used === 0) return;
    out.push(this.#gathered.subarray(0, this.#used));
    this.#handedOn.push(this.#gathered);
    this.#gathered = this.#free.pop() ?? Buffer.allocUnsafe(GATHERED_BYTES);
    this.#used = 0;
  }

  /** Nobody looks at what was handed on any more: its memory is used again. */
  forget(): void {
    this.#free.push(...this.#handedOn.splice(0));
  }
}

/** The pieces of a stream, gathered. Each stays what it is until the next one is asked for. */
export async function* coalesce(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const gathering = new Gathering();
  const out: Buffer[] = [];
  for await (const piece of pieces) {
    gathering.add(piece, out);
    if (out.length === 0) continue;
    yield* out;
    out.length = 0;
    gathering.forget();
  }
  gathering.finish(out);
  yield* out;
}
