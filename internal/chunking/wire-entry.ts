import { KIND_BLOB } from '../object/mod.ts';
import type { ChunkRecipe } from './types.ts';

/** zlib header (RFC 1950): deflate, a window of 32 KiB, no dictionary, fastest. */
const ZLIB_HEADER = Buffer.from([0x78, 0x01]);
const TAIL_BYTES = 6;

/** What stands before the segments of a blob, or of a chunk in its chunk pack: entry header and zlib header. */
export function wireEntryHead(sizeBytes: number): Buffer {
  const header = [(KIND_BLOB << 4) | (sizeBytes % 16)];
  for (let rest = Math.floor(sizeBytes / 16); rest > 0; rest = Math.floor(rest / 128)) {
    header[header.length - 1]! |= 0x80;
    header.push(rest % 128);
  }
  return Buffer.concat([Buffer.from(header), ZLIB_HEADER]);
}

/** What stands behind them: an empty final block of fixed codes, which fills its two bytes, and the Adler-32. */
export function wireEntryTail(adler: number): Buffer {
  const tail = Buffer.allocUnsafe(TAIL_BYTES);
  tail.writeUInt16BE(0x0300, 0);
  tail.writeUInt32BE(adler, 2);
  return tail;
}

/** Bytes of a chunked blob's entry on the wire: head, segments, tail. */
export function wireEntryBytes({ sizeBytes, lengths }: Pick<ChunkRecipe, 'sizeBytes' | 'lengths'>): number {
  return wireEntryHead(sizeBytes).length + lengths.reduce((sum, length) => sum + length, 0) + TAIL_BYTES;
}
