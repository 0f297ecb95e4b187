import { createHash } from 'node:crypto';
import type { ObjectFormat } from '../object/mod.ts';
import { ENTRY_OFS_DELTA, emptyEntryHeader, encodeEntryHeader, encodePackHeader, readEntryHeader } from '../packformat/mod.ts';
import type { EntryTable } from './entry-table.ts';
import type { PackSource } from './pack-source.ts';

const COPY_BYTES = 1 << 20;

/**
 * Writes a pack again without some of its entries (those whose oid an earlier entry has): compressed bytes are copied, headers made
 * again, distances to bases computed anew. A delta on a dropped entry takes the kept entry of the same oid, by its oid.
 */
export function rewriteWithout(
  dropped: Uint32Array,
  entries: EntryTable,
  source: PackSource,
  format: ObjectFormat,
  write: (bytes: Buffer) => void,
): void {
  const isDropped = new Uint8Array(entries.count);
  for (const index of dropped) isDropped[index] = 1;
  const hash = createHash(format);
  let position = 0;
  const emit = (bytes: Buffer): void => {
    hash.update(bytes);
    write(bytes);
    position += bytes.length;
  };
  const moved = new Float64Array(entries.count);
  const header = emptyEntryHeader();
  emit(encodePackHeader(entries.count - dropped.length));
  for (let i = 0; i < entries.count; i++) {
    if (isDropped[i]) continue;
    moved[i] = position;
    const start = entries.offsets[i]!;
    const bodyAt = start + entries.headerBytes[i]!;
    const { buffer, at, end } = source.window(start, entries.headerBytes[i]!);
    if (entries.types[i] === ENTRY_OFS_DELTA) {
      readEntryHeader(buffer, at, end, entries.oidBytes, header);
      const base = entries.indexAt(start - header.distance);
      emit(encodeEntryHeader(0, header.size, isDropped[base] ? entries.oid(base) : position - moved[base]!));
    } else {
      emit(Buffer.from(buffer.subarray(at, at + entries.headerBytes[i]!)));
    }
    for (let from = bodyAt; from < entries.endOf(i); ) {
      const body = source.window(from, Math.min(COPY_BYTES, entries.endOf(i) - from));
      const length = Math.min(body.end - body.at, entries.endOf(i) - from);
      emit(Buffer.from(body.buffer.subarray(body.at, body.at + length)));
      from += length;
    }
  }
  write(hash.digest());
}
