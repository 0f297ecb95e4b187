import { keepBytes } from '../base/mod.ts';
import type { ObjectBlock, Pack } from '../catalog/mod.ts';

/** Where one object is stored. */
export interface Location {
  readonly pack: Pack;
  readonly kind: number;
  readonly sizeBytes: number;
  /** First byte of the entry in the pack, and the entry's bytes; -1 for a chunked blob, whose entry exists on the wire only. */
  readonly offset: number;
  readonly lengthBytes: number;
  /** Of a chunked blob: its oid, by which its recipe is found. */
  readonly chunkedOid?: Buffer;
}

/** One row of a pack's index. */
export interface Copy {
  readonly pack: Pack;
  readonly block: ObjectBlock;
  readonly row: number;
}

/** A pack and a block of its index as they are kept, see `keepBytes`. */
export function keptPack(pack: Pack): Pack {
  return { ...pack, checksum: keepBytes(pack.checksum), tips: keepBytes(pack.tips) };
}

export function keptBlock(block: ObjectBlock): ObjectBlock {
  return { ...block, oids: keepBytes(block.oids) };
}

export function older(tail: Location | null, store: Location): Location {
  return tail !== null && tail.pack.id < store.pack.id ? tail : store;
}

export function location({ pack, block, row }: Copy): Location {
  const offset = block.offsets[row]!;
  const found = { pack, kind: block.kinds[row]!, sizeBytes: block.sizes[row]!, offset, lengthBytes: block.lengths[row]! };
  if (offset >= 0) return found;
  const width = block.oids.length / block.kinds.length;
  return { ...found, chunkedOid: block.oids.subarray(row * width, (row + 1) * width) };
}

/** The last of `count` ascending oids that is not above `oids[at]`, or -1. */
export function lastNotAbove(sorted: Buffer, count: number, width: number, oids: Buffer, at: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted.compare(oids, at, at + width, middle * width, (middle + 1) * width) > 0) high = middle;
    else low = middle + 1;
  }
  return low - 1;
}
