/** The objects of a pack in order of place: rows are in order of oid, positions in order of offset, chunked blobs (offset -1) last. */
export interface PackOrder {
  /** By row. */
  readonly positions: Uint32Array;
  /** By position. */
  readonly rows: Uint32Array;
}

/** @param offsets of a pack's objects in order of oid, -1 for a chunked blob */
export function packOrder(offsets: Float64Array): PackOrder {
  const count = offsets.length;
  const positions = new Uint32Array(count);
  const rows = new Uint32Array(count);
  const sorted = offsets.filter((offset) => offset >= 0).sort();
  let chunked = sorted.length;
  for (let row = 0; row < count; row++) {
    const position = offsets[row]! < 0 ? chunked++ : indexOf(sorted, offsets[row]!);
    positions[row] = position;
    rows[position] = row;
  }
  return { positions, rows };
}

function indexOf(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
