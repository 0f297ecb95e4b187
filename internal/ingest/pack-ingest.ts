import { assert } from '../base/mod.ts';
import type { ObjectFormat } from '../object/mod.ts';
import type { ObjectChecker } from './check.ts';
import type { ChunkedBlob } from './chunking-options.ts';
import { unresolvedDeltas } from './errors.ts';
import type { ExternalBase, LargeExternalBase } from './external-base.ts';
import { LargeObjects, type LargeObjectsOptions } from './large-objects.ts';
import { KEPT_OBJECTS_MAX, type PackLimits, WorkMeter } from './limits.ts';
import { LinkCollector, type LinkSummary } from './links.ts';
import { ObjectNames } from './object-names.ts';
import { ObjectVisitor } from './object-visitor.ts';
import { type PackSource, SpoolSource } from './pack-source.ts';
import { DeltaResolver } from './resolve.ts';
import { type HelperResult, nextRoot, type ResolveHelper, type SharedRoots } from './resolve-helper.ts';
import { PackScanner } from './scan.ts';
import { giveBack, type Tools, takeTools } from './tools.ts';
import type { VerifiedPack } from './verified-pack.ts';

export interface PackIngestOptions {
  readonly format: ObjectFormat;
  readonly limits: PackLimits;
  readonly checker: ObjectChecker;
  /** Refuse objects whose bytes are of a SHA-1 collision attack. */
  readonly detectCollisions: boolean;
  /** Keep a copy of every tree, for a caller that will compare them with others. */
  readonly keepTrees: boolean;
  /** How much the pack may make us inflate, when less than its limits allow. */
  readonly madeBytesMax?: number;
  /** Blobs of this size and more are cut into chunks. Infinity: none is. */
  readonly cutBytesMin: number;
  /** What cuts them and where files of them go; without it they are refused as too much work. */
  readonly large: Pick<LargeObjectsOptions, 'chunks' | 'folder'> | null;
  /** Another thread that takes its part of the deltas; of a pack in a spool file. */
  readonly helper: ResolveHelper | null;
}

/** Fewer deltas are not worth telling another thread of them. */
const SHARED_DELTAS_MIN = 2_000;

/**
 * One incoming pack, from bytes to verified objects: `advance` while bytes arrive, then `resolve`, then the bases that it names but does
 * not hold, then `finish`. Synchronous, and the same inline for a small pack and in a worker for a large one.
 */
export class PackIngest {
  readonly #scanner: PackScanner;
  readonly #source: PackSource;
  readonly #options: PackIngestOptions;
  readonly #tools: Tools = takeTools();
  /** Every byte was good, as far as it was read: the tools may be used again. */
  #isSound = false;
  #isClosed = false;
  readonly #links: LinkCollector;
  readonly #visitor: ObjectVisitor;
  readonly #names: ObjectNames;
  #resolver: DeltaResolver | null = null;
  readonly #meter: WorkMeter;
  readonly #large: LargeObjects | null;
  /** Bases that the pack lacks and that were given. */
  readonly #given: Buffer[] = [];
  /** With `keepTrees`: raw trees of the pack by hex oid. */
  readonly trees = new Map<string, Buffer>();

  constructor(source: PackSource, options: PackIngestOptions) {
    this.#source = source;
    this.#options = options;
    this.#meter = new WorkMeter(options.limits, options.madeBytesMax);
    const { format, limits, cutBytesMin, large } = options;
    this.#links = new LinkCollector(format, limits);
    const entries = () => this.entries;
    this.#visitor = new ObjectVisitor(entries, options.checker, this.#links, options.keepTrees ? this.trees : null);
    this.#names = new ObjectNames(format, options.detectCollisions, entries, this.#visitor);
    const parts = { names: this.#names, limits, cutBytesMin };
    this.#large = large === null ? null : new LargeObjects({ ...parts, ...large }, this.#tools.inflater, this.#meter);
    const isShared = options.helper !== null;
    this.#scanner = new PackScanner(
      source,
      format,
      limits,
      this.#tools,
      this.#meter,
      this.#names,
      cutBytesMin,
      this.#large,
      isShared,
    );
  }

  /** Some work, with which all objects that it makes are named. */
  #named<T>(work: () => T): T {
    try {
      const result = work();
      this.#names.flush();
      return result;
    } finally {
      this.#names.clear();
    }
  }

  /** Reads what has arrived; true once the whole pack has been scanned. @throws PackError */
  advance(final: boolean): boolean {
    const isScanned = this.#named(() => this.#scanner.advance(final));
    this.#options.helper?.prepare(this.#scanner.announced, this.#source.available);
    return isScanned;
  }

  /** Resolves the deltas within the pack; the raw oids that the others wait for, one after the other. @throws PackError */
  resolve(): Buffer {
    assert(this.#scanner.checksum !== null, 'a pack is scanned before it is resolved');
    const { entries } = this.#scanner;
    this.#links.reserve(entries.count);
    const { cutBytesMin, helper } = this.#options;
    const limits = this.#limits();
    if (this.#source instanceof SpoolSource) this.#source.hold();
    this.#resolver = new DeltaResolver(
      entries,
      this.#source,
      limits,
      this.#tools.inflater,
      this.#meter,
      this.#names,
      this.#visitor,
      cutBytesMin,
      this.#large,
    );
    const { deltas, anyByOid } = this.#resolver.links;
    const isShared = helper?.isReady && deltas >= SHARED_DELTAS_MIN && !anyByOid;
    this.#named(() => (isShared ? this.#resolveWith(helper, this.#resolver!) : this.#resolver!.resolveInside()));
    return this.#resolver.unresolved > 0 ? this.#resolver.missingBases() : Buffer.alloc(0);
  }

  /** Bases that are kept are shared out among the threads. */
  #limits(): PackLimits {
    const { limits, helper } = this.#options;
    return helper?.isReady ? { ...limits, baseCacheBytesMax: limits.baseCacheBytesMax / 2 } : limits;
  }

  /** Resolves the deltas together with another thread: each takes tree after tree, and what both have gathered is put together. */
  #resolveWith(helper: ResolveHelper, resolver: DeltaResolver): void {
    const { entries } = this.#scanner;
    const { format, checker, detectCollisions, cutBytesMin } = this.#options;
    assert(this.#source instanceof SpoolSource, 'threads share a spool file');
    const { firstChild, sibling } = resolver.links;
    const isCut = (root: number): boolean => this.#large?.recipes.has(root) === true;
    const all = resolver.links.roots();
    const indexes = all.filter((root) => !isCut(root));
    const roots: SharedRoots = { indexes: Uint32Array.from(indexes), taken: new Int32Array(new SharedArrayBuffer(4)) };
    const made = new Int32Array(new SharedArrayBuffer(4));
    this.#meter.countWith(made);
    helper.begin({
      fd: this.#source.fd,
      available: this.#source.available,
      entries: entries.shared(),
      links: { firstChild, sibling },
      roots,
      options: { format, severities: checker.severities, detectCollisions, limits: this.#limits() },
      cutBytesMin,
      made,
      faulty: [...this.#visitor.faulty],
    });
    let result: HelperResult;
    try {
      for (const root of all) if (isCut(root)) resolver.resolveTree(root);
      for (let root = nextRoot(roots); root >= 0; root = nextRoot(roots)) resolver.resolveTree(root);
      this.#names.flush();
    } finally {
      Atomics.store(roots.taken, 0, indexes.length);
      result = helper.wait();
      if (entries.count > KEPT_OBJECTS_MAX) helper.end();
    }
    resolver.resolvedElsewhere(result.deltas);
    this.#links.merge(result.links);
    checker.merge(result.warnings, result.gitmodules, result.gitattributes);
    for (const root of result.left) resolver.resolveTree(root);
  }

  /** Whether one of those is still waited for: what was given meanwhile may have led to it. */
  awaits(oid: Uint8Array): boolean {
    return this.#resolver!.awaits(oid);
  }

  /** Gives one of the missing bases. @throws PackError */
  addBase(base: ExternalBase): void {
    this.#given.push(Buffer.from(base.oid));
    this.#named(() => this.#resolver!.resolveOutside(base));
  }

  /** Gives a missing base that is in a file. @throws PackError */
  addLargeBase(base: LargeExternalBase): void {
    this.#given.push(Buffer.from(base.oid));
    this.#named(() => this.#resolver!.resolveOutsideLarge(base));
  }

  /** The blobs that were cut, in order of entries, once each. Known after `finish`. */
  chunked(): ChunkedBlob[] {
    const blobs = new Map<string, ChunkedBlob>();
    for (const [index, recipe] of this.#large?.recipes ?? []) {
      blobs.set(this.entries.hex(index), { oid: Buffer.from(this.entries.oid(index)), recipe });
    }
    return [...blobs.values()];
  }

  /** Entries of blobs that were cut. */
  cutEntries(): Uint32Array {
    return Uint32Array.from(this.#large?.recipes.keys() ?? []);
  }

  /** The whole entry in place of a delta whose base was cut, null for an entry that can stay. */
  wholeEntry(index: number): Buffer | null {
    return this.#large?.wholeEntry(index) ?? null;
  }

  /** Entries that can go because another has the same oid: a pack for keeping has none. Known after `finish`. */
  duplicates: Uint32Array = new Uint32Array(0);

  /** `apart`: oids of blobs that belong to the push and not to these bytes. @throws PackError when deltas are left over or an object does not pass its checks. */
  finish(apart: readonly Buffer[] = []): VerifiedPack {
    const { entries } = this.#scanner;
    const unresolved = this.#resolver!.unresolved;
    if (unresolved > 0) throw unresolvedDeltas();
    const summary = this.#links.finish(entries, apart);
    this.duplicates = summary.duplicates;
    this.#isSound = true;
    return this.#table(summary);
  }

  #table(summary: LinkSummary): VerifiedPack {
    const { entries } = this.#scanner;
    const order = entries.order();
    const width = entries.oidBytes;
    const count = entries.count;
    const oids = Buffer.allocUnsafeSlow(count * width);
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
      bases: Buffer.concat(this.#given),
      dotFiles: this.#options.checker.dotFiles(),
      warnings: this.#options.checker.warnings,
    };
  }

  /** Lets go of the decoder, finished or not. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#large?.close();
    giveBack(this.#tools, this.#isSound);
  }

  /** The version in the pack's header: 2 or, of packs that are to be written again, 3. */
  get version(): number {
    return this.#scanner.version;
  }

  /** The entries in pack order, for a rewrite. */
  get entries() {
    return this.#scanner.entries;
  }
}
