import { codeOf, messageOf } from '../base/mod.ts';
import { type ObjectFormat, OidMap } from '../object/mod.ts';
import { applyDeltaInto, ENTRY_OFS_DELTA, ENTRY_REF_DELTA, type Inflater, readDeltaSizes } from '../packformat/mod.ts';
import type { EntryTable } from './entry-table.ts';
import { PackError } from './errors.ts';
import { HEADER_ROOM, writeOid } from './hash-slab.ts';
import { objectLimit, type PackLimits, type WorkMeter } from './limits.ts';
import type { PackSource } from './pack-source.ts';
import type { ObjectVisitor } from './scan.ts';

const HANDED_OVER_BYTES_MIN = 1 << 20;
const NOTHING = Buffer.alloc(0);

/** One delta tree node whose children are being resolved. `bytes` holds the object behind HEADER_ROOM spare bytes, or null when it
 * was dropped to stay within the cache bound. */
interface Frame {
  readonly index: number;
  bytes: Buffer | null;
  next: number;
}

/** An object outside the pack that deltas of a thin pack are based on. */
export interface ExternalBase {
  readonly oid: Buffer;
  readonly kind: number;
  readonly data: Buffer;
}

/**
 * The second stage of ingest: makes objects of deltas. Walks each tree of deltas from its base down, without recursion, so that
 * neither depth nor a cycle costs stack: a cycle is never reached from a base and so stays unresolved.
 */
export class DeltaResolver {
  readonly #entries: EntryTable;
  readonly #source: PackSource;
  readonly #format: ObjectFormat;
  readonly #limits: PackLimits;
  readonly #inflater: Inflater;
  readonly #meter: WorkMeter;
  readonly #visit: ObjectVisitor;
  /** First child and next sibling of the deltas on a base in the pack, or on one oid; -1 ends a list. */
  readonly #firstChild: Int32Array;
  readonly #sibling: Int32Array;
  /** Base oids of `ref` deltas, and for each the first delta that waits for it. */
  readonly #waiting: OidMap;
  #waitingHead: Int32Array;
  #unresolved = 0;
  #turn = 0;
  #heldBytes = 0;
  #scratch: Buffer = Buffer.allocUnsafe(1 << 16);
  #spare: Buffer = NOTHING;
  #delta = Buffer.allocUnsafe(1 << 16);

  constructor(
    entries: EntryTable,
    source: PackSource,
    format: ObjectFormat,
    limits: PackLimits,
    inflater: Inflater,
    meter: WorkMeter,
    visit: ObjectVisitor,
  ) {
    this.#entries = entries;
    this.#source = source;
    this.#format = format;
    this.#limits = limits;
    this.#inflater = inflater;
    this.#meter = meter;
    this.#visit = visit;
    this.#firstChild = new Int32Array(entries.count).fill(-1);
    this.#sibling = new Int32Array(entries.count).fill(-1);
    this.#waiting = new OidMap(entries.oidBytes);
    this.#waitingHead = new Int32Array(16);
    this.#link();
  }

  /** Deltas that are not objects yet. */
  get unresolved(): number {
    return this.#unresolved;
  }

  #link(): void {
    const entries = this.#entries;
    for (let i = 0; i < entries.count; i++) {
      const type = entries.types[i]!;
      if (type < ENTRY_OFS_DELTA) continue;
      this.#unresolved++;
      const start = entries.offsets[i]!;
      const { buffer, at } = this.#source.window(start, entries.headerBytes[i]!);
      if (type === ENTRY_REF_DELTA) {
        const known = this.#waiting.size;
        const slot = this.#waiting.add(buffer, at + entries.headerBytes[i]! - entries.oidBytes);
        if (this.#waiting.size > known && slot >= this.#waitingHead.length) {
          const wider = new Int32Array(this.#waitingHead.length * 2);
          wider.set(this.#waitingHead);
          this.#waitingHead = wider;
        }
        this.#sibling[i] = this.#waiting.size > known ? -1 : this.#waitingHead[slot]!;
        this.#waitingHead[slot] = i;
      } else {
        const base = entries.indexAt(start - this.#distance(buffer, at, entries.headerBytes[i]!));
        this.#sibling[i] = this.#firstChild[base]!;
        this.#firstChild[base] = i;
      }
    }
  }

  /** The distance at the end of an `ofs` header that the scan has checked. */
  #distance(buffer: Buffer, at: number, headerBytes: number): number {
    let position = at;
    while (buffer[position++]! & 0x80);
    let distance = 0;
    const end = at + headerBytes;
    for (; position < end; position++) {
      const byte = buffer[position]!;
      distance += byte & 0x7f;
      if (byte & 0x80) distance = (distance + 1) * 128;
    }
    return distance;
  }

  /** Resolves every delta whose base is in the pack. @throws PackError */
  resolveInside(): void {
    const entries = this.#entries;
    for (let i = 0; i < entries.count && this.#unresolved > 0; i++) {
      if (entries.types[i]! > 4) continue;
      this.#adopt(i);
      if (this.#firstChild[i]! >= 0) this.#walk(i, null);
    }
  }

  /** Base oids that no resolved object has, raw, one after the other: of objects outside the pack, or of deltas on such. */
  missingBases(): Buffer {
    const missing: Buffer[] = [];
    for (let slot = 0; slot < this.#waiting.size; slot++)
      if (this.#waitingHead[slot]! >= 0) missing.push(this.#waiting.oid(slot));
    return Buffer.concat(missing);
  }

  /** Whether deltas still wait for an object of that oid: objects that were resolved meanwhile may have been it. */
  awaits(oid: Uint8Array): boolean {
    const slot = this.#waiting.get(oid);
    return slot >= 0 && this.#waitingHead[slot]! >= 0;
  }

  /** Resolves the deltas on objects outside the pack. @throws PackError */
  resolveOutside(base: ExternalBase): void {
    const slot = this.#waiting.get(base.oid);
    if (slot < 0 || this.#waitingHead[slot]! < 0) return;
    const first = this.#waitingHead[slot]!;
    this.#waitingHead[slot] = -1;
    const bytes = Buffer.allocUnsafe(HEADER_ROOM + base.data.length);
    base.data.copy(bytes, HEADER_ROOM);
    for (let child = first; child >= 0; ) {
      const next = this.#sibling[child]!;
      this.#resolveChild(child, bytes, base.kind);
      child = next;
    }
  }

  /** Resolves one delta on a base that is at hand, then all that hangs on it. */
  #resolveChild(child: number, baseBytes: Buffer, kind: number): void {
    const result = this.#apply(child, baseBytes, kind);
    if (result !== null) this.#walk(child, result);
  }

  /** Hands the deltas that wait for this object's oid over to it as children. */
  #adopt(index: number): void {
    if (this.#waiting.size === 0) return;
    const slot = this.#waiting.get(this.#entries.oids, index * this.#entries.oidBytes);
    if (slot < 0) return;
    let child = this.#waitingHead[slot]!;
    if (child < 0) return;
    this.#waitingHead[slot] = -1;
    let last = child;
    while (this.#sibling[last]! >= 0) last = this.#sibling[last]!;
    this.#sibling[last] = this.#firstChild[index]!;
    this.#firstChild[index] = child;
    child = -1;
  }

  #walk(root: number, rootBytes: Buffer | null): void {
    const stack: Frame[] = [{ index: root, bytes: rootBytes, next: this.#firstChild[root]! }];
    if (rootBytes !== null) this.#heldBytes += rootBytes.length;
    while (stack.length > 0) {
      const frame = stack[stack.length - 1]!;
      if (frame.next < 0) {
        this.#drop(frame);
        stack.pop();
        continue;
      }
      const child = frame.next;
      frame.next = this.#sibling[child]!;
      if (frame.bytes === null) this.#restore(stack);
      const result = this.#apply(child, frame.bytes!, this.#entries.kinds[frame.index]!);
      if (result === null) continue;
      if (stack.length >= this.#limits.deltaDepthMax) {
        throw new PackError(`delta chain is deeper than ${this.#limits.deltaDepthMax} at offset ${this.#entries.offsets[child]}`);
      }
      stack.push({ index: child, bytes: result, next: this.#firstChild[child]! });
      this.#heldBytes += result.length;
      for (let i = 0; i < stack.length - 1 && this.#heldBytes > this.#limits.baseCacheBytesMax; i++) {
        const held = stack[i]!;
        // A root outside the pack cannot be made again; it was never counted as droppable.
        if (held.bytes === null || (i === 0 && rootBytes !== null)) continue;
        this.#drop(held);
      }
    }
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
      this.#hold(frame, this.#keep(this.#applyDeltaOf(frame.index, below.bytes!)));
      if (i - 1 > from || this.#heldBytes > this.#limits.baseCacheBytesMax) {
        if (i - 1 > 0) this.#drop(below);
      }
    }
  }

  #hold(frame: Frame, bytes: Buffer): void {
    frame.bytes = bytes;
    this.#heldBytes += bytes.length;
  }

  /** Names and reports the object of a delta; its bytes, copied, when other deltas hang on it, else null. */
  #apply(child: number, baseBytes: Buffer, kind: number): Buffer | null {
    const entries = this.#entries;
    const bytes = this.#applyDeltaOf(child, baseBytes);
    const size = bytes.length - HEADER_ROOM;
    const limit = objectLimit(this.#limits, kind);
    if (size > limit)
      throw new PackError(`delta at offset ${entries.offsets[child]} makes ${size} bytes, the limit is ${limit}`, { limit });
    entries.kinds[child] = kind;
    entries.sizes[child] = size;
    writeOid(this.#format, kind, bytes, HEADER_ROOM, size, entries.oids, child * entries.oidBytes);
    this.#unresolved--;
    entries.turns[child] = ++this.#turn;
    this.#visit(child, kind, bytes, HEADER_ROOM, size);
    this.#adopt(child);
    return this.#firstChild[child]! >= 0 ? this.#keep(bytes) : null;
  }

  /** What is in the scratch buffer, for keeping: small results are copied, for a large one the buffer is given away. */
  #keep(bytes: Buffer): Buffer {
    if (bytes.length < HANDED_OVER_BYTES_MIN) return Buffer.from(bytes);
    this.#scratch = this.#spare;
    this.#spare = NOTHING;
    return bytes;
  }

  /** A large buffer that nobody looks at any more is the next scratch buffer: waiting for the collector would hold several at once. */
  #drop(frame: Frame): void {
    if (frame.bytes === null) return;
    this.#heldBytes -= frame.bytes.length;
    if (frame.bytes.length >= HANDED_OVER_BYTES_MIN && frame.bytes.length > this.#spare.length) this.#spare = frame.bytes;
    frame.bytes = null;
  }

  /** Inflates and applies a delta into the scratch buffer; the view is lost at the next call. */
  #applyDeltaOf(index: number, baseBytes: Buffer): Buffer {
    const offset = this.#entries.offsets[index]!;
    try {
      const delta = this.#inflateStream(index, this.#room('delta', this.#entries.streamSizes[index]! + 1), 0);
      const sizes = readDeltaSizes(delta);
      if (sizes.resultSize > this.#limits.deltaObjectBytesMax) {
        throw new PackError(
          `delta at offset ${offset} makes ${sizes.resultSize} bytes, the limit is ${this.#limits.deltaObjectBytesMax}`,
        );
      }
      this.#meter.take(delta.length + sizes.resultSize);
      const output = this.#room('scratch', HEADER_ROOM + sizes.resultSize);
      applyDeltaInto(baseBytes.subarray(HEADER_ROOM), delta, sizes, output, HEADER_ROOM);
      return output.subarray(0, HEADER_ROOM + sizes.resultSize);
    } catch (error) {
      if (codeOf(error) !== 'delta') throw error;
      throw new PackError(`delta at offset ${offset}: ${messageOf(error)}`, { offset }, { cause: error });
    }
  }

  #inflateObject(index: number): Buffer {
    const size = this.#entries.streamSizes[index]!;
    if (size > this.#limits.deltaObjectBytesMax) {
      throw new PackError(
        `entry at offset ${this.#entries.offsets[index]} has ${size} bytes, a delta base has at most ${this.#limits.deltaObjectBytesMax}`,
      );
    }
    this.#meter.take(size);
    const bytes = Buffer.allocUnsafe(HEADER_ROOM + size + 1);
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

  #room(which: 'delta' | 'scratch', size: number): Buffer {
    const have = which === 'delta' ? this.#delta : this.#scratch;
    if (have.length >= size) return have;
    if (which === 'scratch' && this.#spare.length >= size) {
      this.#scratch = this.#spare;
      this.#spare = NOTHING;
      return this.#scratch;
    }
    if (which === 'scratch') this.#spare = NOTHING;
    const wider = Buffer.allocUnsafe(Math.max(size, Math.min(have.length * 2, 1 << 24)));
    if (which === 'delta') this.#delta = wider;
    else this.#scratch = wider;
    return wider;
  }
}
