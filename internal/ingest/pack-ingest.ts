import { assert } from '../base/mod.ts';
import { KIND_TREE, type ObjectFormat } from '../object/mod.ts';
import { Inflater } from '../packformat/mod.ts';
import type { ObjectChecker } from './check.ts';
import { PackError } from './errors.ts';
import type { PackLimits } from './limits.ts';
import { LinkCollector, type LinkSummary } from './links.ts';
import type { PackSource } from './pack-source.ts';
import { DeltaResolver, type ExternalBase } from './resolve.ts';
import { PackScanner } from './scan.ts';
import type { VerifiedPack } from './verified-pack.ts';

export interface PackIngestOptions {
  readonly format: ObjectFormat;
  readonly limits: PackLimits;
  readonly checker: ObjectChecker;
  /** Keep a copy of every tree, for a caller that will compare them with others. */
  readonly keepTrees: boolean;
}

/**
 * One incoming pack, from bytes to verified objects: `advance` while bytes arrive, then `resolve`, then the bases that it names but does
 * not hold, then `finish`. Synchronous, and the same inline for a small pack and in a worker for a large one.
 */
export class PackIngest {
  readonly #scanner: PackScanner;
  readonly #source: PackSource;
  readonly #options: PackIngestOptions;
  readonly #inflater = new Inflater();
  readonly #links: LinkCollector;
  readonly #visit: (index: number, kind: number, buffer: Buffer, at: number, size: number) => void;
  #resolver: DeltaResolver | null = null;
  #missing: Buffer = Buffer.alloc(0);
  /** With `keepTrees`: raw trees of the pack by hex oid. */
  readonly trees = new Map<string, Buffer>();

  constructor(source: PackSource, options: PackIngestOptions) {
    this.#source = source;
    this.#options = options;
    this.#links = new LinkCollector(options.format);
    this.#visit = (index, kind, buffer, at, size) => {
      const oid = this.#scanner.entries.oid(index);
      const data = buffer.subarray(at, at + size);
      options.checker.check(kind, oid, data);
      this.#links.visit(oid, kind, data);
      if (options.keepTrees && kind === KIND_TREE) this.trees.set(oid.toString('hex'), Buffer.from(data));
    };
    this.#scanner = new PackScanner(source, options.format, options.limits, this.#inflater, this.#visit);
  }

  /** Reads what has arrived; true once the whole pack has been scanned. @throws PackError */
  advance(final: boolean): boolean {
    return this.#scanner.advance(final);
  }

  /** Resolves the deltas within the pack; the raw oids of the bases that it lacks, one after the other. @throws PackError */
  resolve(): Buffer {
    assert(this.#scanner.checksum !== null, 'a pack is scanned before it is resolved');
    const { entries } = this.#scanner;
    this.#resolver = new DeltaResolver(
      entries, this.#source, this.#options.format, this.#options.limits, this.#inflater, this.#visit);
    this.#resolver.resolveInside();
    this.#missing = this.#resolver.unresolved > 0 ? this.#resolver.missingBases() : Buffer.alloc(0);
    return this.#missing;
  }

  /** Gives one of the missing bases. @throws PackError */
  addBase(base: ExternalBase): void {
    this.#resolver!.resolveOutside(base);
  }

  /** Entries whose oid an earlier entry has too: a pack for keeping has none. Known after `finish`. */
  duplicates: Uint32Array = new Uint32Array(0);

  /** @throws PackError when deltas are left over or an object does not pass its checks. */
  finish(): VerifiedPack {
    const { entries } = this.#scanner;
    const unresolved = this.#resolver!.unresolved;
    if (unresolved > 0) throw new PackError(`pack has ${unresolved} unresolved deltas`, { unresolved });
    const summary = this.#links.finish(entries);
    this.duplicates = summary.duplicates;
    this.#inflater.close();
    return this.#table(summary);
  }

  #table(summary: LinkSummary): VerifiedPack {
    const { entries } = this.#scanner;
    const order = entries.order();
    const width = entries.oidBytes;
    const count = entries.count;
    const oids = Buffer.allocUnsafe(count * width);
    const kinds = new Uint8Array(count);
    const sizes = new Float64Array(count);
    const offsets = new Float64Array(count);
    const lengths = new Float64Array(count);
    const crcs = new Uint32Array(count);
    for (let row = 0; row < count; row++) {
      const i = order[row]!;
      entries.oids.copy(oids, row * width, i * width, (i + 1) * width);
      kinds[row] = entries.kinds[i]!;
      sizes[row] = entries.sizes[i]!;
      offsets[row] = entries.offsets[i]!;
      lengths[row] = entries.endOf(i) - entries.offsets[i]!;
      crcs[row] = entries.crcs[i]!;
    }
    return {
      format: this.#options.format,
      lengthBytes: entries.end + width,
      checksum: this.#scanner.checksum!,
      objectCount: count,
      oids,
      kinds,
      sizes,
      offsets,
      lengths,
      crcs,
      frontier: summary.frontier,
      sources: summary.sources,
      graph: summary.graph,
      bases: this.#missing,
      dotFiles: this.#options.checker.dotFiles(),
      warnings: this.#options.checker.warnings,
    };
  }

  /** The entries in pack order, for a rewrite. */
  get entries() {
    return this.#scanner.entries;
  }
}
