import { PackhouseError } from '../base/mod.ts';

/** Entry types 6 and 7 of gitformat-pack; 1 to 4 are the object kinds. */
export const ENTRY_OFS_DELTA = 6;
export const ENTRY_REF_DELTA = 7;

/** The longest entry header: a ten-byte type/size varint and a 32-byte base oid (an `ofs` varint is at most ten bytes). */
export const ENTRY_HEADER_BYTES_MAX = 42;

/** The head of one pack entry, up to its zlib stream (gitformat-pack, "pack-*.pack files have the following format"). */
export interface EntryHeader {
  /** 1 to 4, ENTRY_OFS_DELTA or ENTRY_REF_DELTA. */
  type: number;
  /** Bytes that the zlib stream inflates to, as the entry claims: of a delta, the delta's own size. */
  size: number;
  /** Bytes from the entry's start to its zlib stream. */
  headerBytes: number;
  /** Of an `ofs` delta: how far before this entry's start its base starts. */
  distance: number;
  /** Of a `ref` delta: where in the buffer the base oid starts, else -1. */
  baseAt: number;
}

export function emptyEntryHeader(): EntryHeader {
  return { type: 0, size: 0, headerBytes: 0, distance: 0, baseAt: -1 };
}

/**
 * Reads the header of the entry at `buffer[at]` into `into`. False when the buffer ends inside it.
 * @throws PackhouseError `pack-entry` for a type that no entry has and for a size or distance past 2^53.
 */
export function readEntryHeader(buffer: Uint8Array, at: number, end: number, oidBytes: number, into: EntryHeader): boolean {
  let position = at;
  if (position >= end) return false;
  let byte = buffer[position++]!;
  const type = (byte >> 4) & 7;
  let size = byte & 15;
  let scale = 16;
  while (byte & 0x80) {
    if (position >= end) return false;
    byte = buffer[position++]!;
    size += (byte & 0x7f) * scale;
    scale *= 128;
    if (size > Number.MAX_SAFE_INTEGER || position - at > 10)
      throw new PackhouseError('pack-entry', 'entry size is out of range');
  }
  into.type = type;
  into.size = size;
  into.distance = 0;
  into.baseAt = -1;
  if (type === ENTRY_OFS_DELTA) {
    const start = position;
    let distance = 0;
    for (;;) {
      if (position >= end) return false;
      byte = buffer[position++]!;
      distance += byte & 0x7f;
      if (!(byte & 0x80)) break;
      distance = (distance + 1) * 128;
      if (distance > Number.MAX_SAFE_INTEGER || position - start > 9) {
        throw new PackhouseError('pack-entry', 'delta base offset is out of range');
      }
    }
    into.distance = distance;
  } else if (type === ENTRY_REF_DELTA) {
    if (position + oidBytes > end) return false;
    into.baseAt = position;
    position += oidBytes;
  } else if (type < 1 || type > 4) {
    throw new PackhouseError('pack-entry', `entry type ${type} does not exist`, { type });
  }
  into.headerBytes = position - at;
  return true;
}

/** Writes a type/size varint at `into[at]`; the position behind it. */
export function writeTypeAndSize(into: Uint8Array, at: number, type: number, size: number): number {
  let position = at;
  let rest = Math.floor(size / 16);
  into[position++] = (type << 4) | (size % 16) | (rest > 0 ? 0x80 : 0);
  while (rest > 0) {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    into[position++] = low | (rest > 0 ? 0x80 : 0);
  }
  return position;
}

/** Writes the distance of an `ofs` delta at `into[at]`; the position behind it. */
export function writeDistance(into: Uint8Array, at: number, distance: number): number {
  const bytes: number[] = [distance % 128];
  let rest = Math.floor(distance / 128);
  while (rest > 0) {
    rest -= 1;
    bytes.push(0x80 | (rest % 128));
    rest = Math.floor(rest / 128);
  }
  let position = at;
  for (let i = bytes.length - 1; i >= 0; i--) into[position++] = bytes[i]!;
  return position;
}

/** The header of a whole-object entry or, with `base`, of a delta entry: an oid makes a `ref` delta, a number an `ofs` delta. */
export function encodeEntryHeader(kind: number, size: number, base?: Uint8Array | number): Buffer {
  const buffer = Buffer.allocUnsafe(ENTRY_HEADER_BYTES_MAX + 10);
  if (base === undefined) return buffer.subarray(0, writeTypeAndSize(buffer, 0, kind, size));
  if (typeof base === 'number') {
    const position = writeTypeAndSize(buffer, 0, ENTRY_OFS_DELTA, size);
    return buffer.subarray(0, writeDistance(buffer, position, base));
  }
  const position = writeTypeAndSize(buffer, 0, ENTRY_REF_DELTA, size);
  buffer.set(base, position);
  return buffer.subarray(0, position + base.length);
}

/** `PACK`, version 2, and the number of entries. */
export function encodePackHeader(entries: number): Buffer {
  const header = Buffer.alloc(12);
  header.write('PACK', 'latin1');
  header.writeUInt32BE(2, 4);
  header.writeUInt32BE(entries, 8);
  return header;
}
