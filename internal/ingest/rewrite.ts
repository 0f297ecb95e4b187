import { createHash } from 'node:crypto';
import type { ObjectFormat } from '../object/mod.ts';
import { ENTRY_OFS_DELTA, emptyEntryHeader, encodeEntryHeader, encodePackHeader, readEntryHeader } from '../packformat/mod.ts';
import type { EntryTable } from './entry-table.ts';
import type { PackSource } from './pack-source.ts';

const COPY_BYTES = 1 << 20;

/**
 * Writes a pack again without some of its entries (those whose oid another has, and blobs that were cut): compressed bytes are copied, headers made
 * again, distances to bases computed anew. A delta on a dropped entry takes the kept entry of the same oid, by its oid; one whose base
 * goes for good has a whole entry to stand for it.
 */
export function rewriteWithout(
  dropped: ReadonlySet<number>,
  entries: EntryTable,
  source: PackSource,
  format: ObjectFormat,
  wholeEntry: (index: number) => Buffer | null,
  write: (bytes: Buffer) => void,
): void {
  const hash = createHash(format);
  let position = 0;
  const emit = (bytes: Buffer): void => {
    hash.update(bytes);
    write(bytes);
    position += bytes.length;
  };
  const moved = new Float64Array(entries.count);
  const header = emptyEntryHeader();
  emit(encodePackHeader(entries.count - dropped.size));
  for (let i = 0; i < entries.count; i++) {
    if (dropped.has(i)) continue;
    moved[i] = position;
    const whole = wholeEntry(i);
    if (whole !== null) {
      emit(whole);
      continue;
    }
    const start = entries.offsets[i]!;
    const bodyAt = start + entries.headerBytes[i]!;
    const { buffer, at, end } = source.window(start, entries.headerBytes[i]!);
    if (entries.types[i] === ENTRY_OFS_DELTA) {
      readEntryHeader(buffer, at, end, entries.oidBytes, header);
      const base = entries.indexAt(start - header.distance);
      emit(encodeEntryHeader(0, header.size, dropped.has(base) ? entries.oid(base) : position - moved[base]!));
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
