import { codeOf } from '../base/mod.ts';
import { type ExternalBase, unresolvedDeltas } from '../ingest/mod.ts';
import { proveReached, type RepositoryView } from '../reach/mod.ts';

/**
 * The delta bases that one thin pack takes from its pool. They are read before it can be known whether the repository reaches them,
 * so until then an error may tell of an object that is not the repository's to see: `guard` lets none through.
 */
export class OutsideBases {
  readonly #view: RepositoryView;
  readonly #bytesMax: number;
  readonly #signal: AbortSignal;
  readonly #asked: Buffer[] = [];

  constructor(view: RepositoryView, bytesMax: number, signal: AbortSignal) {
    this.#view = view;
    this.#bytesMax = bytesMax;
    this.#signal = signal;
  }

  /** The object, null when the pool has none of that oid that is small enough for a delta base. */
  async read(oid: Buffer): Promise<ExternalBase | null> {
    const [location] = await this.#view.pool.index.find(oid);
    if (!location || location.sizeBytes > this.#bytesMax) return null;
    this.#asked.push(oid);
    const { kind, data } = await this.#view.pool.reader.read(location, this.#signal);
    return { oid, kind, data };
  }

  /** Runs `work`; what goes wrong with a pack that took a base the repository does not reach is told as if nobody had that base. */
  async guard<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (codeOf(error) !== 'bad-pack' || this.#asked.length === 0) throw error;
      const proven = await proveReached(this.#view, Buffer.concat(this.#asked), this.#signal);
      if (proven.includes(0)) throw unresolvedDeltas();
      throw error;
    }
  }
}
