import { deflateSync, crc32 } from 'node:zlib';
import { encodeEntryHeader } from '../packformat/mod.ts';
import type { ExternalBase } from './resolve.ts';

/** One delta base from outside a thin pack as a whole pack entry, to be appended so that the pack stands alone. */
export interface AppendedEntry {
  readonly oid: Buffer;
  readonly kind: number;
  readonly sizeBytes: number;
  readonly lengthBytes: number;
  readonly crc: number;
}

/** The pack entry of a base, and what an index says of it. */
export function encodeBase(base: ExternalBase): { entry: AppendedEntry; bytes: Buffer } {
  const bytes = Buffer.concat([encodeEntryHeader(base.kind, base.data.length), deflateSync(base.data)]);
  return {
    entry: { oid: base.oid, kind: base.kind, sizeBytes: base.data.length, lengthBytes: bytes.length, crc: crc32(bytes) },
    bytes,
  };
}
