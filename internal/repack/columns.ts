import { KIND_BLOB, type ObjectFormat, OidMap, oidLength } from '../object/mod.ts';
import { type PackTable, tableBlocks } from '../packing/mod.ts';
import { type InputColumns, unsound } from './object-table.ts';
import type { RepackedPack, RepackInput } from './types.ts';

/** Rows of chunked blobs, each oid once: sizes of the blobs and lengths of their wire entries. */
export class ChunkedRows {
  readonly oids: OidMap;
  readonly sizes: number[] = [];
  readonly lengths: number[] = [];

  constructor(width: number) {
    this.oids = new OidMap(width);
  }

  add(oids: Buffer, at: number, size: number, length: number): void {
    const known = this.oids.size;
    this.oids.add(oids, at);
    if (this.oids.size === known) return;
    this.sizes.push(size);
    this.lengths.push(length);
  }
}

/**
 * All rows of the inputs as columns, and whether each object stays. Rows of chunked blobs go to `chunked` instead: they are no entries. An
 * object that one input has as an entry is none of them.
 */
export function flattenBlocks(input: RepackInput, chunked: ChunkedRows): InputColumns {
  const width = oidLength(input.format);
  let rows = 0;
  for (const { blocks } of input.packs) for (const { offsets } of blocks) for (const offset of offsets) if (offset >= 0) rows++;
  const columns = {
    oids: new Uint8Array(rows * width),
    kinds: new Uint8Array(rows),
    sizes: new Float64Array(rows),
    offsets: new Float64Array(rows),
    lengths: new Float64Array(rows),
    keep: new Uint8Array(rows),
    packs: new Uint16Array(rows),
  };
  let row = 0;
  let start = 0;
  for (const [packNumber, { pack, blocks }] of input.packs.entries()) {
    let entryBytes = 0;
    for (const { oids, kinds, sizes, offsets, lengths } of blocks) {
      for (let i = 0; i < kinds.length; i++) {
        const stays = input.keep?.(oids, i * width) ?? true;
        if (offsets[i]! < 0) {
          if (stays) chunked.add(oids, i * width, sizes[i]!, lengths[i]!);
          continue;
        }
        columns.oids.set(oids.subarray(i * width, (i + 1) * width), row * width);
        columns.kinds[row] = kinds[i]!;
        columns.sizes[row] = sizes[i]!;
        columns.offsets[row] = start + offsets[i]!;
        columns.lengths[row] = lengths[i]!;
        columns.keep[row] = stays ? 1 : 0;
        columns.packs[row++] = packNumber;
        entryBytes += lengths[i]!;
      }
    }
    // The entries fill the pack: rows that are missing would be objects that are lost.
    if (entryBytes !== pack.lengthBytes - 12 - width) {
      throw unsound(`the object blocks of pack ${pack.id} tell of ${entryBytes} bytes of entries, the pack has others`, {
        pack: pack.id,
      });
    }
    start += pack.lengthBytes;
  }
  return columns;
}

/** The table of a pack with the rows of chunked blobs in their places, in blocks. */
export function withChunked(
  pack: PackTable,
  chunked: ChunkedRows,
  format: ObjectFormat,
): Pick<RepackedPack, 'blocks' | 'chunkedOids' | 'objectCount'> {
  const width = oidLength(format);
  const extra = Array.from({ length: chunked.oids.size }, (_, i) => i)
    .filter((i) => !hasOid(pack, chunked.oids.oid(i)))
    .sort((a, b) => Buffer.compare(chunked.oids.oid(a), chunked.oids.oid(b)));
  if (extra.length === 0)
    return { blocks: tableBlocks(pack, format), chunkedOids: Buffer.alloc(0), objectCount: pack.objectCount };
  const chunkedOids = Buffer.concat(extra.map((i) => chunked.oids.oid(i)));
  const count = pack.objectCount + extra.length;
  const merged = {
    objectCount: count,
    oids: Buffer.allocUnsafe(count * width),
    kinds: new Uint8Array(count),
    sizes: new Float64Array(count),
    offsets: new Float64Array(count),
    lengths: new Float64Array(count),
    crcs: new Uint32Array(0),
  };
  let own = 0;
  let next = 0;
  for (let row = 0; row < count; row++) {
    const oidAt = next * width;
    const ownFirst =
      next === extra.length ||
      (own < pack.objectCount && pack.oids.compare(chunkedOids, oidAt, oidAt + width, own * width, (own + 1) * width) < 0);
    if (ownFirst) {
      pack.oids.copy(merged.oids, row * width, own * width, (own + 1) * width);
      merged.kinds[row] = pack.kinds[own]!;
      merged.sizes[row] = pack.sizes[own]!;
      merged.offsets[row] = pack.offsets[own]!;
      merged.lengths[row] = pack.lengths[own++]!;
    } else {
      chunkedOids.copy(merged.oids, row * width, oidAt, oidAt + width);
      merged.kinds[row] = KIND_BLOB;
      merged.sizes[row] = chunked.sizes[extra[next]!]!;
      merged.offsets[row] = -1;
      merged.lengths[row] = chunked.lengths[extra[next++]!]!;
    }
  }
  return { blocks: tableBlocks(merged, format), chunkedOids, objectCount: count };
}

/** The row of an oid in a table, or -1. */
export function rowOf(pack: PackTable, oid: Buffer): number {
  const width = oid.length;
  let low = 0;
  let high = pack.objectCount - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const order = pack.oids.compare(oid, 0, width, middle * width, (middle + 1) * width);
    if (order === 0) return middle;
    if (order < 0) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

function hasOid(pack: PackTable, oid: Buffer): boolean {
  return rowOf(pack, oid) >= 0;
}
