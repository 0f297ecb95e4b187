import { type ObjectFormat, OidMap, oidLength } from '../object/mod.ts';
import { type PackOrder, packOrder } from './pack-order.ts';

/** Rows of a pack in order of oid: chunked blobs, with offset -1, among them. */
export interface PackRows {
  readonly oids: Buffer;
  readonly kinds: Uint8Array;
  readonly offsets: Float64Array;
}

/** The objects of a pack: by oid, by row, and by place. */
export class PackObjects {
  readonly format: ObjectFormat;
  readonly count: number;
  readonly kinds: Uint8Array;
  readonly order: PackOrder;
  readonly #oids: OidMap;

  constructor(rows: PackRows, format: ObjectFormat) {
    const width = oidLength(format);
    this.format = format;
    this.count = rows.kinds.length;
    this.kinds = rows.kinds;
    this.order = packOrder(rows.offsets);
    this.#oids = new OidMap(width, this.count + 1);
    for (let row = 0; row < this.count; row++) this.#oids.add(rows.oids, row * width);
  }

  rowOf(oids: Buffer, at: number): number {
    return this.#oids.get(oids, at);
  }

  /** Kinds in order of place. */
  kindsByPosition(): Uint8Array {
    return Uint8Array.from(this.order.rows, (row) => this.kinds[row]!);
  }
}
