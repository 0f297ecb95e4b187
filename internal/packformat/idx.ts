import { createHash } from 'node:crypto';
import { PackhouseError } from '../base/mod.ts';
import { type ObjectFormat, oidLength } from '../object/mod.ts';

/** What an index says of one pack, in order of oid. */
export interface PackIndexTable {
  readonly count: number;
  /** `count` raw oids, ascending. */
  readonly oids: Buffer;
  /** First byte of each entry in the pack. */
  readonly offsets: Float64Array;
  /** CRC-32 of each entry's bytes. */
  readonly crcs: Uint32Array;
  /** The pack's trailing checksum. */
  readonly checksum: Buffer;
}

/** The bytes of a version 2 pack index, as `git index-pack` writes them (gitformat-pack, "Version 2 pack-*.idx files"). */
export function encodeIdx(table: PackIndexTable, format: ObjectFormat): Buffer {
  const width = oidLength(format);
  const { count, oids, offsets, crcs } = table;
  let wide = 0;
  for (let i = 0; i < count; i++) if (offsets[i]! >= 0x80000000) wide++;
  const out = Buffer.alloc(8 + 1024 + count * (width + 8) + wide * 8 + 2 * width);
  out.writeUInt32BE(0xff744f63, 0);
  out.writeUInt32BE(2, 4);
  let at = 0;
  for (let byte = 0; byte < 256; byte++) {
    while (at < count && oids[at * width]! <= byte) at++;
    out.writeUInt32BE(at, 8 + byte * 4);
  }
  oids.copy(out, 1032, 0, count * width);
  let position = 1032 + count * width;
  for (let i = 0; i < count; i++, position += 4) out.writeUInt32BE(crcs[i]!, position);
  let widePosition = position + count * 4;
  let wideIndex = 0;
  for (let i = 0; i < count; i++, position += 4) {
    const offset = offsets[i]!;
    if (offset < 0x80000000) {
      out.writeUInt32BE(offset, position);
    } else {
      out.writeUInt32BE(0x80000000 + wideIndex++, position);
      out.writeBigUInt64BE(BigInt(offset), widePosition);
      widePosition += 8;
    }
  }
  table.checksum.copy(out, widePosition);
  const end = widePosition + width;
  createHash(format).update(out.subarray(0, end)).digest().copy(out, end);
  return out;
}

/** @throws PackhouseError `idx` when the bytes are no version 2 index or their checksum is wrong. */
export function decodeIdx(bytes: Buffer, format: ObjectFormat): PackIndexTable {
  const width = oidLength(format);
  const bad = (why: string): never => {
    throw new PackhouseError('idx', `pack index: ${why}`, { bytes: bytes.length });
  };
  if (bytes.length < 1032 + 2 * width || bytes.readUInt32BE(0) !== 0xff744f63 || bytes.readUInt32BE(4) !== 2)
    bad('not version 2');
  const count = bytes.readUInt32BE(1028);
  const narrowAt = 1032 + count * (width + 4);
  const wideAt = narrowAt + count * 4;
  if (wideAt + 2 * width > bytes.length) bad(`too short for ${count} objects`);
  const end = bytes.length - width;
  if (!createHash(format).update(bytes.subarray(0, end)).digest().equals(bytes.subarray(end))) bad('checksum mismatch');
  const offsets = new Float64Array(count);
  const crcs = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    crcs[i] = bytes.readUInt32BE(1032 + count * width + i * 4);
    const narrow = bytes.readUInt32BE(narrowAt + i * 4);
    if (narrow < 0x80000000) {
      offsets[i] = narrow;
    } else {
      const at = wideAt + (narrow - 0x80000000) * 8;
      if (at + 8 > end - width) bad(`wide offset ${narrow - 0x80000000} is absent`);
      offsets[i] = Number(bytes.readBigUInt64BE(at));
    }
  }
  return { count, oids: bytes.subarray(1032, 1032 + count * width), offsets, crcs, checksum: bytes.subarray(end - width, end) };
}
