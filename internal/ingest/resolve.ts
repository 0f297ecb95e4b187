import { codeOf, messageOf } from '../base/mod.ts';
import { KIND_BLOB, KIND_TREE, type TreeShape } from '../object/mod.ts';
import { applyDeltaInto, DeltaCopies, type Inflater, readDeltaSizes } from '../packformat/mod.ts';
import { BaseMemory } from './base-memory.ts';
import { DeltaLinks, type SharedLinks } from './delta-links.ts';
import type { EntryTable } from './entry-table.ts';
import { largeInline, PackError } from './errors.ts';
import type { ExternalBase, LargeExternalBase } from './external-base.ts';
import { HEADER_ROOM } from './hash-slab.ts';
import type { BaseBytes, LargeObjects } from './large-objects.ts';
import { objectLimit, type PackLimits, type WorkMeter } from './limits.ts';
import type { ObjectNames } from './object-names.ts';
import type { ObjectVisitor } from './object-visitor.ts';
import type { PackSource } from './pack-source.ts';
import { SpoolFile } from './spool-file.ts';

/** Files of large bases that are kept at a time, in all; the others are made again. */
const FILES_BYTES_MAX = 8 * 2 ** 30;
/** A tree of more pieces is looked at whole. */
const COPIES_MAX = 1024;

/** One delta tree node whose children are being resolved. `bytes` is the object, or null when it was dropped to stay within a bound. */
interface Frame {
  readonly index: number;
  bytes: BaseBytes | null;
  next: number;
  /** Of a tree: where its entries start, once something was made of it; null when that is of no use. At most about a sixth of its bytes. */
  shape: TreeShape | null | undefined;
}

/**
 * The second stage of ingest: makes objects of deltas. Walks each tree of deltas from its base down, without recursion, so that
 * neither depth nor a cycle costs stack: a cycle is never reached from a base and so stays unresolved.
 */
export class DeltaResolver {
  readonly #entries: EntryTable;
  readonly #source: PackSource;
  readonly #limits: PackLimits;
  readonly #inflater: Inflater;
  readonly #meter: WorkMeter;
  readonly #names: ObjectNames;
  readonly #visitor: ObjectVisitor;
  readonly #copies = new DeltaCopies(COPIES_MAX);
  /** Entries of the tree that was made last, -1 when their starts are not at hand. */
  #changed = -1;
  readonly #cutBytesMin: number;
  readonly #large: LargeObjects | null;
  readonly links: DeltaLinks;
  #unresolved: number;
  #turn = 0;
  #heldBytes = 0;
  #fileBytes = 0;
  readonly #memory = new BaseMemory();

  constructor(
    entries: EntryTable,
    source: PackSource,
    limits: PackLimits,
    inflater: Inflater,
    meter: WorkMeter,
    names: ObjectNames,
    visitor: ObjectVisitor,
    cutBytesMin: number,
    large: LargeObjects | null,
    links?: SharedLinks,
  ) {
    this.#entries = entries;
    this.#source = source;
    this.#limits = limits;
    this.#inflater = inflater;
    this.#meter = meter;
    this.#names = names;
    this.#visitor = visitor;
    this.#cutBytesMin = cutBytesMin;
    this.#large = large;
    this.links = new DeltaLinks(entries, source, links);
    this.#unresolved = this.links.deltas;
  }

  /** Deltas that are not objects yet. */
  get unresolved(): number {
    return this.#unresolved;
  }

  /** Resolves every delta whose base is in the pack. @throws PackError */
  resolveInside(): void {
    const entries = this.#entries;
    for (let i = 0; i < entries.count && this.#unresolved > 0; i++) {
      if (entries.types[i]! > 4) continue;
      this.links.adopt(i);
      if (this.links.firstChild[i]! >= 0) this.#walk(i, null);
    }
  }

  /** Resolves all that hangs on an entry of the pack that is no delta; how many deltas that was. @throws PackError */
  resolveTree(root: number): number {
    const before = this.#unresolved;
    this.#walk(root, null);
    return before - this.#unresolved;
  }

  /** Another thread has resolved so many. */
  resolvedElsewhere(deltas: number): void {
    this.#unresolved -= deltas;
  }

  /** Base oids that no resolved object has, raw, one after the other: of objects outside the pack, or of deltas on such. */
  missingBases(): Buffer {
    return this.links.missingBases();
  }

  /** Whether deltas still wait for an object of that oid: objects that were resolved meanwhile may have been it. */
  awaits(oid: Uint8Array): boolean {
    return this.links.awaits(oid);
  }

  /** Resolves the deltas on an object outside the pack. @throws PackError */
  resolveOutside(base: ExternalBase): void {
    const bytes = Buffer.allocUnsafe(HEADER_ROOM + base.data.length);
    base.data.copy(bytes, HEADER_ROOM);
    this.#resolveChildren(base.oid, bytes, base.kind);
  }

  /** Resolves the deltas on a large blob outside the pack. @throws PackError */
  resolveOutsideLarge(base: LargeExternalBase): void {
    const file = this.#large!.adopt(base.path, base.sizeBytes);
    try {
      this.#resolveChildren(base.oid, file, KIND_BLOB);
    } finally {
      file.close();
    }
  }

  #resolveChildren(oid: Buffer, bytes: BaseBytes, kind: number): void {
    for (let child = this.links.take(oid); child >= 0; ) {
      const next = this.links.sibling[child]!;
      this.#resolveChild(child, bytes, kind);
      child = next;
    }
  }

  /** Resolves one delta on a base that is at hand, then all that hangs on it. */
  #resolveChild(child: number, baseBytes: BaseBytes, kind: number): void {
    const result = this.#apply(child, baseBytes, kind, null);
    if (result !== null) this.#walk(child, result);
  }

  #walk(root: number, rootBytes: BaseBytes | null): void {
    const stack: Frame[] = [{ index: root, bytes: null, next: this.links.firstChild[root]!, shape: undefined }];
    if (rootBytes !== null) this.#hold(stack[0]!, rootBytes);
    try {
      while (stack.length > 0) this.#step(stack, rootBytes !== null);
    } finally {
      for (const frame of stack) this.#drop(frame);
    }
  }

  /** Takes the top frame's next child, or the frame off the stack. A root that was given cannot be made again. */
  #step(stack: Frame[], rootGiven: boolean): void {
    const frame = stack[stack.length - 1]!;
    if (frame.next < 0) {
      this.#drop(frame);
      stack.pop();
      return;
    }
    const child = frame.next;
    frame.next = this.links.sibling[child]!;
    if (frame.bytes === null) this.#restore(stack);
    const result = this.#apply(child, frame.bytes!, this.#entries.kinds[frame.index]!, frame);
    // A file goes as soon as no other delta needs it: a chain of versions has two at a time.
    if (frame.next < 0 && frame.bytes instanceof SpoolFile && !(rootGiven && stack.length === 1)) this.#drop(frame);
    if (result === null) return;
    const shape = this.#changed < 0 ? undefined : this.#memory.keepShape(this.#visitor.changedShape(this.#changed));
    const next: Frame = { index: child, bytes: null, next: this.links.firstChild[child]!, shape };
    this.#hold(next, result);
    stack.push(next);
    if (stack.length > this.#limits.deltaDepthMax) {
      throw new PackError(`delta chain is deeper than ${this.#limits.deltaDepthMax} at offset ${this.#entries.offsets[child]}`);
    }
    for (let i = rootGiven ? 1 : 0; i < stack.length - 1 && this.#isOverFull(); i++) {
      const { bytes } = stack[i]!;
      const helps =
        bytes instanceof SpoolFile ? this.#fileBytes > FILES_BYTES_MAX : this.#heldBytes > this.#limits.baseCacheBytesMax;
      if (helps) this.#drop(stack[i]!);
    }
  }

  #isOverFull(): boolean {
    return this.#heldBytes > this.#limits.baseCacheBytesMax || this.#fileBytes > FILES_BYTES_MAX;
  }

  /** Makes the bytes of the top frame again, from the nearest frame below that still has its own. */
  #restore(stack: readonly Frame[]): void {
    let from = stack.length - 1;
    while (from > 0 && stack[from]!.bytes === null) from--;
    const bottom = stack[from]!;
    if (bottom.bytes === null) this.#hold(bottom, this.#inflateObject(bottom.index));
    for (let i = from + 1; i < stack.length; i++) {
      const below = stack[i - 1]!;
      const frame = stack[i]!;
      if (frame.bytes !== null) continue;
      this.#hold(frame, this.#makeAgain(frame.index, below.bytes!));
      if (i - 1 > from || this.#isOverFull()) {
        if (i - 1 > 0) this.#drop(below);
      }
    }
  }

  #hold(frame: Frame, bytes: BaseBytes): void {
    frame.bytes = bytes;
    if (bytes instanceof SpoolFile) this.#fileBytes += bytes.sizeBytes;
    else this.#heldBytes += bytes.length;
  }

  /** Names and reports the object of a delta; its bytes, for keeping, when other deltas hang on it, else null. */
  #apply(child: number, base: BaseBytes, kind: number, frame: Frame | null): BaseBytes | null {
    const entries = this.#entries;
    entries.kinds[child] = kind;
    this.#changed = -1;
    const bytes = this.#make(child, base, kind, frame);
    this.#unresolved--;
    entries.turns[child] = ++this.#turn;
    this.links.adopt(child);
    if (this.links.firstChild[child]! >= 0)
      return bytes instanceof Buffer ? this.#memory.keep(bytes) : (bytes ?? this.#makeAgain(child, base));
    if (bytes instanceof SpoolFile) bytes.close();
    return null;
  }

  /** The object of a delta, named: in the scratch buffer; of a blob that is cut in a file, null when nothing seems to hang on it. */
  #make(child: number, base: BaseBytes, kind: number, frame: Frame | null): BaseBytes | null {
    const isBlob = kind === KIND_BLOB;
    if (!(base instanceof SpoolFile) && !(isBlob && this.#large?.isLarge(kind, this.#entries.streamSizes[child]!))) {
      const bytes = this.#applyDeltaOf(child, base, isBlob ? this.#cutBytesMin : Infinity);
      if (bytes !== null && kind === KIND_TREE && frame !== null) this.#visitChanged(child, bytes, frame);
      if (bytes !== null) return this.#named(child, bytes, kind);
    }
    const large = this.#large!;
    const size = this.#told(child, () => large.resultSize(this.#entries, this.#source, child));
    if (size < this.#cutBytesMin) {
      const bytes = this.#applyStreamed(child, base, size);
      if (base instanceof SpoolFile) large.keepWhole(child, bytes.subarray(HEADER_ROOM));
      return this.#named(child, bytes, kind);
    }
    this.#entries.sizes[child] = size;
    const wanted = this.links.firstChild[child]! >= 0 || this.links.anyByOid;
    return this.#told(child, () => large.cut(this.#entries, this.#source, child, base, size, wanted));
  }

  /** Looks at what is new in a tree that was just made of a frame's, whose delta is still in its buffer. */
  #visitChanged(child: number, bytes: Buffer, frame: Frame): void {
    const base = frame.bytes as Buffer;
    if (frame.shape === undefined) {
      if (this.#names.waits(frame.index)) this.#names.flush();
      const shape = this.#visitor.shapeOf(frame.index, base.subarray(HEADER_ROOM));
      frame.shape = shape && this.#memory.keepShape(shape);
    }
    if (frame.shape === null) return;
    const deltaBytes = this.#entries.streamSizes[child]!;
    const delta = this.#memory.delta(deltaBytes).subarray(0, deltaBytes);
    if (!this.#copies.read(delta, readDeltaSizes(delta))) return;
    this.#changed = this.#visitor.visitChanged(bytes.subarray(HEADER_ROOM), frame.shape, this.#copies);
  }

  #named(child: number, bytes: Buffer, kind: number): Buffer {
    const entries = this.#entries;
    const size = bytes.length - HEADER_ROOM;
    const limit = objectLimit(this.#limits, kind);
    if (size > limit)
      throw new PackError(`delta at offset ${entries.offsets[child]} makes ${size} bytes, the limit is ${limit}`, { limit });
    entries.sizes[child] = size;
    this.#names.take(child, kind, bytes, HEADER_ROOM, size, this.#changed >= 0);
    // Deltas may wait for its name.
    if (this.links.anyByOid) this.#names.flush();
    return bytes;
  }

  /** A small object of a delta or base that is read as a stream, into the scratch buffer. */
  #applyStreamed(index: number, base: BaseBytes, size: number): Buffer {
    this.#checkResult(index, size);
    this.#meter.take(this.#entries.streamSizes[index]! + size);
    const output = this.#memory.scratch(HEADER_ROOM + size);
    this.#told(index, () => this.#large!.applyInto(this.#entries, this.#source, index, base, output, HEADER_ROOM));
    return output.subarray(0, HEADER_ROOM + size);
  }

  /** Bytes that were made before and dropped. */
  #makeAgain(index: number, base: BaseBytes): BaseBytes {
    if (this.#large?.recipes.has(index)) return this.#large.toFile(this.#entries, this.#source, index, base);
    if (base instanceof SpoolFile) return this.#memory.keep(this.#applyStreamed(index, base, this.#entries.sizes[index]!));
    return this.#memory.keep(this.#applyDeltaOf(index, base, Infinity)!);
  }

  #drop(frame: Frame): void {
    const { bytes, shape } = frame;
    frame.bytes = null;
    frame.shape = undefined;
    if (shape) this.#memory.giveBack(shape);
    if (bytes === null) return;
    if (bytes instanceof SpoolFile) {
      this.#fileBytes -= bytes.sizeBytes;
      bytes.close();
      return;
    }
    this.#heldBytes -= bytes.length;
    this.#memory.giveBack(bytes);
  }

  /** Inflates and applies a delta into the scratch buffer; the view is lost at the next call. Null when it makes `cutBytesMin` or more. */
  #applyDeltaOf(index: number, baseBytes: Buffer, cutBytesMin: number): Buffer | null {
    return this.#told(index, () => {
      const delta = this.#inflateStream(index, this.#memory.delta(this.#entries.streamSizes[index]! + 1), 0);
      const sizes = readDeltaSizes(delta);
      if (sizes.resultSize >= cutBytesMin) {
        if (this.#large === null) throw largeInline();
        return null;
      }
      this.#checkResult(index, sizes.resultSize);
      this.#meter.take(delta.length + sizes.resultSize);
      const output = this.#memory.scratch(HEADER_ROOM + sizes.resultSize);
      applyDeltaInto(baseBytes.subarray(HEADER_ROOM), delta, sizes, output, HEADER_ROOM);
      return output.subarray(0, HEADER_ROOM + sizes.resultSize);
    });
  }

  #checkResult(index: number, size: number): void {
    const limit = this.#limits.deltaObjectBytesMax;
    if (size > limit)
      throw new PackError(`delta at offset ${this.#entries.offsets[index]} makes ${size} bytes, the limit is ${limit}`);
  }

  /** Does one delta's work; what is wrong with the delta is told with its offset. */
  #told<T>(index: number, work: () => T): T {
    try {
      return work();
    } catch (error) {
      const code = codeOf(error);
      if (code !== 'delta' && code !== 'zlib') throw error;
      const offset = this.#entries.offsets[index]!;
      throw new PackError(`delta at offset ${offset}: ${messageOf(error)}`, { offset }, { cause: error });
    }
  }

  #inflateObject(index: number): BaseBytes {
    const size = this.#entries.streamSizes[index]!;
    if (this.#large?.recipes.has(index)) return this.#large.toFile(this.#entries, this.#source, index, null);
    if (size > this.#limits.deltaObjectBytesMax) {
      throw new PackError(
        `entry at offset ${this.#entries.offsets[index]} has ${size} bytes, a delta base has at most ${this.#limits.deltaObjectBytesMax}`,
      );
    }
    this.#meter.take(size);
    const bytes = this.#memory.base(HEADER_ROOM + size + 1);
    this.#inflateStream(index, bytes, HEADER_ROOM);
    return bytes.subarray(0, HEADER_ROOM + size);
  }

  #inflateStream(index: number, into: Buffer, intoAt: number): Buffer {
    const entries = this.#entries;
    const start = entries.offsets[index]!;
    const length = entries.endOf(index) - start;
    const { buffer, at } = this.#source.window(start, length);
    const size = entries.streamSizes[index]!;
    const consumed = this.#inflater.inflateInto(buffer, at + entries.headerBytes[index]!, at + length, into, intoAt, size);
    if (consumed < 0) throw new PackError(`entry at offset ${start} changed while it was read`, { offset: start });
    return into.subarray(intoAt, intoAt + size);
  }
}
