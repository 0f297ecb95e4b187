import { badBitmap } from './roaring.ts';

/**
 * The `.reach` sidecar of a crate: a directory, then the bitmaps of its packs, one part a pack. Packs without bitmaps are not in it. All
 * numbers big-endian.
 *
 *   4 bytes   "RCHC"
 *   4 bytes   version: 1
 *   4 bytes   number of parts; then of each, in order of extent:
 *     8 bytes   where the pack begins in the crate
 *     8 bytes   where its part begins in the sidecar
 *     8 bytes   bytes of the part
 *   the parts
 */
const MAGIC = Buffer.from('RCHC');
const VERSION = 1;
const HEADER_BYTES = 12;
const ROW_BYTES = 24;

export interface ReachPart {
  readonly extentOffset: number;
  readonly bytes: Buffer;
}

/** Without parts it says that no pack of the crate can have bitmaps. */
export function encodeReachSidecar(parts: readonly ReachPart[]): Buffer {
  const head = Buffer.alloc(HEADER_BYTES + parts.length * ROW_BYTES);
  MAGIC.copy(head);
  head.writeUInt32BE(VERSION, 4);
  head.writeUInt32BE(parts.length, 8);
  const sorted = parts.toSorted((a, b) => a.extentOffset - b.extentOffset);
  let start = head.length;
  for (const [i, part] of sorted.entries()) {
    const at = HEADER_BYTES + i * ROW_BYTES;
    head.writeBigUInt64BE(BigInt(part.extentOffset), at);
    head.writeBigUInt64BE(BigInt(start), at + 8);
    head.writeBigUInt64BE(BigInt(part.bytes.length), at + 16);
    start += part.bytes.length;
  }
  return Buffer.concat([head, ...sorted.map((part) => part.bytes)]);
}

/**
 * Where the part of a pack is in a sidecar of `lengthBytes`, from the sidecar's beginning, of which `head` must hold the directory; null when
 * the pack has none, and a number when `head` must hold that many bytes to tell.
 * @throws PackhouseError `bad-bitmap`
 */
export function findReachPart(
  head: Buffer,
  lengthBytes: number,
  extentOffset: number,
): { offset: number; lengthBytes: number } | number | null {
  if (head.length < HEADER_BYTES || !head.subarray(0, 4).equals(MAGIC) || head.readUInt32BE(4) !== VERSION)
    throw badBitmap('sidecar has another header', 0);
  const directoryEnd = HEADER_BYTES + head.readUInt32BE(8) * ROW_BYTES;
  if (directoryEnd > lengthBytes) throw badBitmap('sidecar is cut', 8);
  if (directoryEnd > head.length) return directoryEnd;
  for (let at = HEADER_BYTES; at < directoryEnd; at += ROW_BYTES) {
    if (Number(head.readBigUInt64BE(at)) !== extentOffset) continue;
    const offset = Number(head.readBigUInt64BE(at + 8));
    const bytes = Number(head.readBigUInt64BE(at + 16));
    if (offset < directoryEnd || offset + bytes > lengthBytes) throw badBitmap('sidecar is cut', at);
    return { offset, lengthBytes: bytes };
  }
  return null;
}
