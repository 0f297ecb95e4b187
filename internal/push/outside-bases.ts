import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { codeOf } from '../base/mod.ts';
import { type ExternalBase, type LargeBase, unresolvedDeltas } from '../ingest/mod.ts';
import { allChunks, isChunked } from '../packread/mod.ts';
import { proveReached } from '../reach/mod.ts';
import type { PushView } from './push-view.ts';

/** Errors that depend on what a base is, or on where it is stored. */
const TELLING: ReadonlySet<string> = new Set([
  'bad-pack',
  'chunk-corrupt',
  'object-missing',
  'object-too-large',
  'pack-corrupt',
  'pack-gone',
  'recipe-missing',
]);

/**
 * The delta bases that one thin pack takes from its pool. They are read before it can be known whether the repository reaches them,
 * so until then an error may tell of an object that is not the repository's to see: `guard` lets none through.
 */
export class OutsideBases {
  readonly #view: PushView;
  readonly #bytesMax: number;
  readonly #signal: AbortSignal;
  readonly #asked: Buffer[] = [];

  constructor(view: PushView, bytesMax: number, signal: AbortSignal) {
    this.#view = view;
    this.#bytesMax = bytesMax;
    this.#signal = signal;
  }

  /** The object, null when the pool has none of that oid that is small enough for a delta base. */
  async read(oid: Buffer): Promise<ExternalBase | null> {
    const { pool } = await this.#view.now();
    const [location] = await pool.index.find(oid);
    this.#asked.push(oid);
    if (!location || location.sizeBytes > this.#bytesMax) return null;
    const { kind, data } = await pool.reader.read(location, this.#signal);
    return { oid, kind, data };
  }

  /** A chunked blob for a file, null when the pool has none of that oid: others are read whole. */
  async readLarge(oid: Buffer): Promise<LargeBase | null> {
    const { pool } = await this.#view.now();
    const [location] = await pool.index.find(oid);
    if (!location || !isChunked(location)) return null;
    this.#asked.push(oid);
    const { chunked } = pool.reader;
    return {
      sizeBytes: location.sizeBytes,
      writeTo: async (path) => {
        const recipe = await chunked.recipe(location);
        const plain = chunked.plain(recipe, allChunks(recipe), this.#signal);
        await pipeline(Readable.from(plain, { objectMode: true, highWaterMark: 2 }), createWriteStream(path, { mode: 0o600 }));
      },
    };
  }

  /**
   * Runs `work`; what goes wrong with a pack that took a base the repository does not reach is told as if nobody had that base, and
   * a base that nobody has is looked for as long.
   */
  async guard<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!TELLING.has(codeOf(error) ?? '') || this.#asked.length === 0) throw error;
      const proven = await proveReached(await this.#view.now(), Buffer.concat(this.#asked), this.#signal);
      if (proven.includes(0)) throw unresolvedDeltas();
      throw error;
    }
  }
}
