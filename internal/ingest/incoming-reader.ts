import { open } from 'node:fs/promises';
import { oidLength } from '../object/mod.ts';
import { applyDelta, ENTRY_OFS_DELTA, ENTRY_REF_DELTA, emptyEntryHeader, Inflater, readEntryHeader } from '../packformat/mod.ts';
import { PackError } from './errors.ts';
import type { ExternalBase } from './resolve.ts';
import type { VerifiedPack } from './verified-pack.ts';

/** Where a received pack's bytes are. */
export type PackPlace = { readonly kind: 'memory'; readonly bytes: Buffer } | { readonly kind: 'spool'; readonly path: string };

/** Reads single objects of a verified pack that is not published yet, deltas applied. */
export class IncomingReader {
  readonly #pack: VerifiedPack;
  readonly #place: PackPlace;
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

  /** The object, null when the pack does not have it. */
  async read(oid: Buffer): Promise<{ kind: number; data: Buffer } | null> {
    const row = this.row(oid);
    if (row < 0) return null;
    const deltas: Buffer[] = [];
    let offset = this.#pack.offsets[row]!;
    const header = emptyEntryHeader();
    const width = oidLength(this.#pack.format);
    const inflater = new Inflater();
    try {
      for (;;) {
        const bytes = await this.#entry(offset);
        readEntryHeader(bytes, 0, bytes.length, width, header);
        const { type, size, headerBytes, distance, baseAt } = header;
        const data = Buffer.allocUnsafe(size + 1);
        if (inflater.inflateInto(bytes, headerBytes, bytes.length, data, 0, size) < 0) {
          throw new PackError(`entry at offset ${offset} changed while it was read`, { offset });
        }
        const stream = data.subarray(0, size);
        if (type <= 4) return this.#apply(type, stream, deltas);
        deltas.push(stream);
        if (type === ENTRY_OFS_DELTA) {
          offset -= distance;
          continue;
        }
        const baseOid = Buffer.from(bytes.subarray(baseAt, baseAt + width));
        const baseRow = type === ENTRY_REF_DELTA ? this.row(baseOid) : -1;
        if (baseRow < 0) {
          const base = await this.#outside(baseOid);
          if (base === null) throw new PackError(`delta base ${baseOid.toString('hex')} is gone`);
          return this.#apply(base.kind, base.data, deltas);
        }
        offset = this.#pack.offsets[baseRow]!;
      }
    } finally {
      inflater.close();
    }
  }

  #apply(kind: number, base: Buffer, deltas: readonly Buffer[]): { kind: number; data: Buffer } {
    let data = base;
    for (let i = deltas.length - 1; i >= 0; i--) data = applyDelta(data, deltas[i]!);
    return { kind, data };
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

  async #entry(offset: number): Promise<Buffer> {
    const length = this.#endOf(offset) - offset;
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
