import { createHash } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { wireEntryHead, wireEntryTail } from '../chunking/mod.ts';
import { KIND_BLOB, type ObjectFormat, oidLength } from '../object/mod.ts';
import { encodeIdx, encodePackHeader } from '../packformat/mod.ts';
import type { ChunkPack } from './chunking-options.ts';
import { EntryTable } from './entry-table.ts';
import { beginOid } from './hash-slab.ts';
import { readFully } from './pack-source.ts';

const READ_BYTES = 1 << 20;

/** A pack of chunks that is being written into a file: each chunk a blob entry. */
export class ChunkPackFile {
  readonly #path: string;
  readonly #format: ObjectFormat;
  readonly #entries: EntryTable;
  readonly #fd: number;
  #scratch = Buffer.alloc(0);
  #closed = false;

  constructor(path: string, format: ObjectFormat) {
    this.#path = path;
    this.#format = format;
    this.#entries = new EntryTable(oidLength(format));
    this.#fd = openSync(path, 'w+', 0o600);
  }

  /** Appends one chunk; where its segment starts in the pack. */
  add(plain: Buffer, segment: Buffer, adler: number): number {
    const head = wireEntryHead(plain.length);
    const bytes = this.#joined(head, segment, wireEntryTail(adler));
    const entries = this.#entries;
    const offset = entries.end;
    const index = entries.push(offset, KIND_BLOB, head.length, plain.length);
    entries.crcs[index] = crc32(bytes);
    beginOid(this.#format, KIND_BLOB, plain.length)
      .update(plain)
      .digest()
      .copy(entries.oids, index * entries.oidBytes);
    this.#write(bytes, offset);
    entries.end = offset + bytes.length;
    return offset + head.length;
  }

  /** In a buffer that the next call overwrites: a copy of each chunk would be as much garbage as the blob is long. */
  #joined(head: Buffer, segment: Buffer, tail: Buffer): Buffer {
    const length = head.length + segment.length + tail.length;
    if (this.#scratch.length < length) this.#scratch = Buffer.allocUnsafe(2 * length);
    head.copy(this.#scratch);
    segment.copy(this.#scratch, head.length);
    tail.copy(this.#scratch, head.length + segment.length);
    return this.#scratch.subarray(0, length);
  }

  #write(bytes: Buffer, position: number): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at, bytes.length - at, position + at);
  }

  /** Writes header, now that the count is known, and trailer. Null for a pack of nothing. */
  end(): ChunkPack | null {
    const entries = this.#entries;
    if (entries.count === 0) return null;
    this.#write(encodePackHeader(entries.count), 0);
    const checksum = this.#checksum();
    this.#write(checksum, entries.end);
    ftruncateSync(this.#fd, entries.end + checksum.length);
    const order = entries.order();
    const width = entries.oidBytes;
    const oids = Buffer.allocUnsafe(entries.count * width);
    order.forEach((index, row) => void entries.oids.copy(oids, row * width, index * width, (index + 1) * width));
    const idx = encodeIdx(
      {
        count: entries.count,
        oids,
        offsets: Float64Array.from(order, (index) => entries.offsets[index]!),
        crcs: Uint32Array.from(order, (index) => entries.crcs[index]!),
        checksum,
      },
      this.#format,
    );
    return {
      place: { kind: 'spool', path: this.#path },
      lengthBytes: entries.end + checksum.length,
      checksum,
      objectCount: entries.count,
      idx,
    };
  }

  #checksum(): Buffer {
    const hash = createHash(this.#format);
    const window = Buffer.allocUnsafe(READ_BYTES);
    for (let at = 0; at < this.#entries.end; ) {
      const length = readFully(this.#fd, window, at, Math.min(READ_BYTES, this.#entries.end - at));
      hash.update(window.subarray(0, length));
      at += length;
    }
    return hash.digest();
  }

  close(): void {
    if (!this.#closed) closeSync(this.#fd);
    this.#closed = true;
  }
}
