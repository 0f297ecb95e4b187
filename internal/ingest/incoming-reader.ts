import { open } from 'node:fs/promises';
import { oidLength } from '../object/mod.ts';
import {
  applyDelta,
  ENTRY_HEADER_BYTES_MAX,
  ENTRY_OFS_DELTA,
  emptyEntryHeader,
  Inflater,
  readDeltaSizes,
  readEntryHeader,
} from '../packformat/mod.ts';
import { PackError } from './errors.ts';
import type { ExternalBase } from './external-base.ts';
import type { VerifiedPack } from './verified-pack.ts';

/** Where a received pack's bytes are. */
export type PackPlace = { readonly kind: 'memory'; readonly bytes: Buffer } | { readonly kind: 'spool'; readonly path: string };

/** Reads single objects of a verified pack that is not published yet, deltas applied. */
export class IncomingReader {
  readonly #pack: VerifiedPack;
  readonly #place: PackPlace;
  readonly #header = emptyEntryHeader();
  readonly #outside: (oid: Buffer) => Promise<ExternalBase | null>;

  constructor(pack: VerifiedPack, place: PackPlace, outside: (oid: Buffer) => Promise<ExternalBase | null>) {
    this.#pack = pack;
    this.#place = place;
    this.#outside = outside;
  }

  /** The row of an oid in the pack's table, or -1. */
  row(oid: Buffer): number {
    const width = oidLength(this.#pack.format);
    let low = 0;
    let high = this.#pack.objectCount - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const order = this.#pack.oids.compare(oid, 0, width, middle * width, (middle + 1) * width);
      if (order === 0) return middle;
      if (order < 0) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /**
   * The object, null when the pack does not have it. Of a chain of deltas no more than one, its base and its result are held at once.
   * @throws PackError with `tooMuchWork` in its data when the chain makes more than `madeBytesMax` bytes on the way, and for a blob that was
   * cut: only kind and size of it are here, in the pack's table
   */
  async read(oid: Buffer, madeBytesMax = Infinity): Promise<{ kind: number; data: Buffer } | null> {
    const row = this.row(oid);
    if (row < 0) return null;
    if (this.#pack.offsets[row]! < 0) {
      throw new PackError(`blob ${oid.toString('hex')} was cut into chunks`, { tooMuchWork: true });
    }
    let left = madeBytesMax;
    const take = (bytes: number): void => {
      left -= bytes;
      if (left >= 0) return;
      throw new PackError(`object ${oid.toString('hex')} is a delta that takes more than ${madeBytesMax} bytes to make`, {
        tooMuchWork: true,
      });
    };
    const inflater = new Inflater();
    try {
      const chain = [this.#pack.offsets[row]!];
      let object: { kind: number; data: Buffer } | null = null;
      while (object === null) object = await this.#base(chain, inflater, take);
      while (chain.length > 0) {
        const delta = await this.#stream(chain.pop()!, inflater, take);
        take(readDeltaSizes(delta).resultSize);
        object = { kind: object.kind, data: applyDelta(object.data, delta) };
      }
      return object;
    } finally {
      inflater.close();
    }
  }

  /** Takes one step down a chain of deltas, whose last offset so far is given: the object at its end, or null and a longer chain. */
  async #base(
    chain: number[],
    inflater: Inflater,
    take: (bytes: number) => void,
  ): Promise<{ kind: number; data: Buffer } | null> {
    const offset = chain[chain.length - 1]!;
    const width = oidLength(this.#pack.format);
    const bytes = await this.#entry(offset, ENTRY_HEADER_BYTES_MAX);
    readEntryHeader(bytes, 0, bytes.length, width, this.#header);
    const { type, distance, baseAt } = this.#header;
    if (type <= 4) {
      chain.pop();
      return { kind: type, data: await this.#stream(offset, inflater, take) };
    }
    if (type === ENTRY_OFS_DELTA) {
      chain.push(offset - distance);
      return null;
    }
    const oid = Buffer.from(bytes.subarray(baseAt, baseAt + width));
    const row = this.row(oid);
    if (row >= 0) {
      chain.push(this.#pack.offsets[row]!);
      return null;
    }
    const base = await this.#outside(oid);
    if (base === null) throw new PackError(`delta base ${oid.toString('hex')} is gone`);
    return base;
  }

  /** The inflated stream of an entry. */
  async #stream(offset: number, inflater: Inflater, take: (bytes: number) => void): Promise<Buffer> {
    const bytes = await this.#entry(offset, Infinity);
    readEntryHeader(bytes, 0, bytes.length, oidLength(this.#pack.format), this.#header);
    const { size, headerBytes } = this.#header;
    take(size);
    const data = Buffer.allocUnsafe(size + 1);
    if (inflater.inflateInto(bytes, headerBytes, bytes.length, data, 0, size) < 0) {
      throw new PackError(`entry at offset ${offset} changed while it was read`, { offset });
    }
    return data.subarray(0, size);
  }

  #ends: Float64Array | null = null;

  /** Where the entry that starts at an offset ends: offsets in order of place, made once. */
  #endOf(offset: number): number {
    this.#ends ??= Float64Array.from(this.#pack.offsets).sort();
    const ends = this.#ends;
    let low = 0;
    let high = ends.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (ends[middle]! <= offset) low = middle + 1;
      else high = middle;
    }
    return low < ends.length ? ends[low]! : this.#pack.lengthBytes - oidLength(this.#pack.format);
  }

  /** The entry's bytes, or the first `bytesMax` of them. */
  async #entry(offset: number, bytesMax: number): Promise<Buffer> {
    const length = Math.min(bytesMax, this.#endOf(offset) - offset);
    if (this.#place.kind === 'memory') return this.#place.bytes.subarray(offset, offset + length);
    const file = await open(this.#place.path, 'r');
    try {
      const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(length), 0, length, offset);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  }
}
