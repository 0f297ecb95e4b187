import { closeSync, fstatSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { assert } from '../base/mod.ts';
import type { ChunkingParameters } from '../chunking/mod.ts';
import { type ObjectFormat, oidLength } from '../object/mod.ts';
import { type CheckSeverities, ObjectChecker } from './check.ts';
import { ChunkWriter } from './chunk-writer.ts';
import type { ChunkedBlob, ChunkPack, FoundChunks } from './chunking-options.ts';
import { largeInline } from './errors.ts';
import type { ExternalBase, LargeExternalBase } from './external-base.ts';
import type { PackLimits } from './limits.ts';
import { PackIngest } from './pack-ingest.ts';
import { MemorySource, type PackSource, SpoolSource } from './pack-source.ts';
import type { ResolveHelper } from './resolve-helper.ts';
import { rewriteWithout } from './rewrite.ts';
import { type VerifiedPack, withChunked } from './verified-pack.ts';

export interface WorkOptions {
  readonly format: ObjectFormat;
  readonly limits: PackLimits;
  readonly severities: CheckSeverities;
  /** How much the pack may make us inflate, when less than its limits allow. */
  readonly madeBytesMax?: number;
  /** Refuse objects whose bytes are of a SHA-1 collision attack. */
  readonly detectCollisions?: boolean;
  /** How large blobs are cut; null or undefined: they stay entries. */
  readonly chunking?: ChunkingParameters | null;
  /** Whether a second thread may help with a large pack in a spool file. */
  readonly mayHaveHelp?: boolean;
}

/**
 * What `finish` says: the verified pack, or that bases must be given once more (`nextBase`), and whether what is kept of the pack must
 * stand alone.
 */
export type Finished =
  | {
      readonly kind: 'verified';
      readonly pack: VerifiedPack;
      readonly chunked: readonly ChunkedBlob[];
      readonly chunkPack: ChunkPack | null;
    }
  | { readonly kind: 'again'; readonly standsAlone: boolean };

/**
 * The synchronous work on one incoming pack, told step by step so that it runs inline on a small pack and in a worker on a large one:
 * `advance` until scanned, `resolve`, a base for each `nextBase`, `finish`. The pack's bytes are in memory or in a spool file that is
 * still growing. A pack that is kept has no object twice and none of its own objects among its outside bases: `finish` makes one of
 * any other, and asks for its bases again.
 */
export class PackWork {
  readonly #options: WorkOptions;
  readonly #keepTrees: boolean;
  #source: PackSource;
  #ingest: PackIngest;
  #path: string | null;
  #fds: number[] = [];
  #waited: Buffer = Buffer.alloc(0);
  #waitedAt = 0;
  /** Oids in hex that came as outside bases once and turned out to be of the pack: they are not asked for again. */
  readonly #own = new Set<string>();
  #rewritten: Buffer | string | null = null;
  readonly #chunks: ChunkWriter | null = null;
  readonly #helper: ResolveHelper | null;
  /** Blobs that were cut and are not in the rewritten pack any more, and the outside bases that they took. */
  #chunked: readonly ChunkedBlob[] = [];
  #chunkedBases: Buffer = Buffer.alloc(0);

  /** `find` asks the pool for chunks; it is there when the work may cut. `helper` stays the caller's. */
  constructor(
    where: { readonly bytes: Buffer } | { readonly path: string },
    options: WorkOptions,
    find: ((sha256s: Buffer) => FoundChunks) | null = null,
    helper: ResolveHelper | null = null,
  ) {
    this.#options = options;
    if (options.chunking && find !== null && 'path' in where) {
      this.#chunks = new ChunkWriter(options.chunking, options.format, `${where.path}.chunks`, find);
    }
    this.#helper = helper;
    this.#keepTrees = 'bytes' in where;
    this.#path = 'path' in where ? where.path : null;
    this.#source = 'bytes' in where ? new MemorySource(where.bytes) : this.#open(where.path);
    this.#ingest = this.#begin();
  }

  #open(path: string): SpoolSource {
    const fd = openSync(path, 'r');
    this.#fds.push(fd);
    return new SpoolSource(fd);
  }

  #begin(): PackIngest {
    const { severities, chunking, ...options } = this.#options;
    return new PackIngest(this.#source, {
      ...options,
      detectCollisions: options.detectCollisions ?? false,
      cutBytesMin: chunking?.thresholdBytes ?? Infinity,
      large: this.#chunks === null ? null : { chunks: this.#chunks, folder: dirname(this.#path!) },
      checker: new ObjectChecker(options.format, severities),
      keepTrees: this.#keepTrees,
      helper: this.#helper,
    });
  }

  /** Takes in what the spool file has got; true when the whole pack has been scanned. */
  advance(available: number, final: boolean): boolean {
    if (this.#source instanceof SpoolSource) this.#source.grow(available);
    return this.#ingest.advance(final);
  }

  /** Resolves what the pack alone can. @throws PackError */
  resolve(): void {
    this.#waited = this.#ingest.resolve();
    this.#waitedAt = 0;
  }

  /** The raw oid of the next object that deltas wait for, null when all have been asked for. One that nobody has need not be given. */
  nextBase(): Buffer | null {
    const width = oidLength(this.#options.format);
    while (this.#waitedAt < this.#waited.length) {
      const oid = this.#waited.subarray(this.#waitedAt, this.#waitedAt + width);
      this.#waitedAt += width;
      if (this.#ingest.awaits(oid) && !this.#own.has(oid.toString('hex'))) return oid;
    }
    return null;
  }

  addBase(base: ExternalBase): void {
    this.#ingest.addBase(base);
  }

  /** Gives one that is in a file. @throws PackError with `tooMuchWork` in its data where the work may not cut */
  addLargeBase(base: LargeExternalBase): void {
    if (this.#chunks === null) throw largeInline();
    this.#ingest.addLargeBase(base);
  }

  /** @throws PackError */
  finish(): Finished {
    const pack = this.#ingest.finish(this.#chunked.map(({ oid }) => oid));
    const rounds = this.#own.size;
    this.#noteOwnBases(pack);
    if (this.#own.size > rounds) {
      this.#again();
      return { kind: 'again', standsAlone: this.#chunked.length > 0 };
    }
    const { duplicates, version } = this.#ingest;
    const cut = this.#ingest.cutEntries();
    if (duplicates.length === 0 && version === 2 && cut.length === 0) return this.#verified(pack);
    assert(this.#rewritten === null, 'a pack that was written again has no duplicates and nothing to cut');
    if (cut.length > 0) {
      this.#chunked = this.#ingest.chunked();
      this.#chunkedBases = pack.bases;
    }
    this.#rewritten = this.#rewrite(new Set([...duplicates, ...cut]));
    this.#source = typeof this.#rewritten === 'string' ? this.#openWhole(this.#rewritten) : new MemorySource(this.#rewritten);
    this.#again();
    return { kind: 'again', standsAlone: this.#chunked.length > 0 };
  }

  #verified(pack: VerifiedPack): Finished {
    this.#ingest.close();
    if (this.#chunked.length === 0) return { kind: 'verified', pack, chunked: [], chunkPack: null };
    const merged = { ...withChunked(pack, this.#chunked), bases: this.#chunkedBases };
    return { kind: 'verified', pack: merged, chunked: this.#chunked, chunkPack: this.#chunks!.end() };
  }

  /** A delta may wait for an object that the pack itself has, as a delta that waited too: that one is the base to keep. */
  #noteOwnBases(pack: VerifiedPack): void {
    const width = oidLength(pack.format);
    if (pack.bases.length === 0) return;
    const bases = new Set<string>();
    for (let at = 0; at < pack.bases.length; at += width) bases.add(pack.bases.toString('hex', at, at + width));
    for (let at = 0; at < pack.oids.length; at += width) {
      const hex = pack.oids.toString('hex', at, at + width);
      if (bases.has(hex)) this.#own.add(hex);
    }
  }

  #again(): void {
    this.#ingest.close();
    this.#ingest = this.#begin();
    this.#ingest.advance(true);
    this.resolve();
  }

  /** The pack as it is to be kept when that is not what came: its bytes, or the path of a file beside the spool file. */
  get rewritten(): Buffer | string | null {
    return this.#rewritten;
  }

  /** In memory: the pack's trees by hex oid, for comparing them with stored ones. */
  get trees(): ReadonlyMap<string, Buffer> | null {
    return this.#keepTrees ? this.#ingest.trees : null;
  }

  #openWhole(path: string): SpoolSource {
    const source = this.#open(path);
    source.grow(fstatSync(this.#fds.at(-1)!).size);
    return source;
  }

  #rewrite(dropped: ReadonlySet<number>): Buffer | string {
    const { entries } = this.#ingest;
    const wholeEntry = (index: number): Buffer | null => this.#ingest.wholeEntry(index);
    if (this.#path === null) {
      const parts: Buffer[] = [];
      rewriteWithout(dropped, entries, this.#source, this.#options.format, wholeEntry, (bytes) => parts.push(bytes));
      return Buffer.concat(parts);
    }
    const path = `${this.#path}.again`;
    const fd = openSync(path, 'w', 0o600);
    try {
      rewriteWithout(dropped, entries, this.#source, this.#options.format, wholeEntry, (bytes) => writeAll(fd, bytes));
    } finally {
      closeSync(fd);
    }
    return path;
  }

  close(): void {
    this.#chunks?.close();
    this.#ingest.close();
    for (const fd of this.#fds) closeSync(fd);
    this.#fds = [];
  }
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}
