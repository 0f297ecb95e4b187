/**
 * packformat: git's pack, delta and index formats as pure bytes (gitformat-pack). No I/O; nothing here knows where a pack is kept.
 *
 * A pack is `PACK`, version 2, the number of entries, the entries, and the checksum of all that. An entry is a header (type and size,
 * and the base of a delta) and a zlib stream; its length is stored nowhere, only inflating finds its end.
 */
export { createDelta, type DeltaIndex, deltaIndexBytes, indexForDelta } from './create-delta.ts';
export { Deflater } from './deflate.ts';
export { applyDelta, applyDeltaInto, DeltaCopies, type DeltaSizes, readDeltaSizes } from './delta.ts';
export {
  ENTRY_HEADER_BYTES_MAX,
  ENTRY_OFS_DELTA,
  ENTRY_REF_DELTA,
  type EntryHeader,
  emptyEntryHeader,
  encodeEntryHeader,
  encodePackHeader,
  readEntryHeader,
} from './entry.ts';
export { decodeIdx, encodeIdx, type PackIndexTable } from './idx.ts';
export { Inflater, type InflateStep } from './inflate.ts';
