import { orAborted } from '../base/mod.ts';
import { type Loan, PieceMemory } from './piece-memory.ts';

/** Answers that are sent side by side ask for the same bytes within moments. */
const KEPT_MS = 1_000;
const KEPT_BYTES_MAX = 16 << 20;

interface Read {
  readonly bytes: Promise<Buffer>;
  readonly lengthBytes: number;
  readonly loan: Loan;
  readonly release: () => void;
  readonly timer: NodeJS.Timeout;
}

/** Bytes in memory that is used again once all who got it have released it: after that nobody may look at them. Nobody must. */
export interface Lent {
  readonly bytes: Buffer;
  readonly release: () => void;
}

/**
 * Long reads that are passed on to clients and not cached: whoever asks for the same bytes within a second shares them, so that clones of one
 * repository that begin together read it once. The oldest go when more than 16 MiB are kept; who has asked still gets them.
 */
export class PassingReads {
  readonly #reads = new Map<string, Read>();
  readonly #memory = new PieceMemory();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** What `load` gives, which is called unless the same is at hand. Nobody's signal ends it: others may wait for it. */
  async read(key: string, lengthBytes: number, load: (loan: Loan) => Promise<Buffer>, signal?: AbortSignal): Promise<Lent> {
    signal?.throwIfAborted();
    const read = this.#reads.get(key) ?? this.#begin(key, lengthBytes, load);
    const release = read.loan.hold();
    try {
      return { bytes: await orAborted(read.bytes, signal), release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Who asks from now on reads anew. */
  clear(): void {
    for (const [key, read] of this.#reads) this.#forget(key, read);
  }

  #begin(key: string, lengthBytes: number, load: (loan: Loan) => Promise<Buffer>): Read {
    const loan = this.#memory.lend();
    // Who reads holds it as well: all others may leave before that ends.
    const loaded = loan.hold();
    const release = loan.hold();
    const bytes = load(loan);
    const read: Read = { bytes, lengthBytes, loan, release, timer: setTimeout(() => this.#forget(key, read), KEPT_MS).unref() };
    this.#reads.set(key, read);
    this.#bytes += lengthBytes;
    bytes.then(
      (got) => {
        loan.settle(got);
        loaded();
      },
      // Its memory stays held, and so is nobody's: something may still write to it.
      () => this.#forget(key, read),
    );
    for (const [oldest, other] of this.#reads) {
      if (this.#bytes <= KEPT_BYTES_MAX || other === read) break;
      this.#forget(oldest, other);
    }
    return read;
  }

  #forget(key: string, read: Read): void {
    if (this.#reads.get(key) !== read) return;
    clearTimeout(read.timer);
    this.#reads.delete(key);
    this.#bytes -= read.lengthBytes;
    read.release();
  }
}
