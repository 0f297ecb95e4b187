import { createHash } from 'node:crypto';
import { PackhouseError } from '../base/mod.ts';
import { type ObjectFormat, oidLength } from '../object/mod.ts';
import { encodeIdx, encodePackHeader } from '../packformat/mod.ts';
import { type PackStore, sidecarKey } from '../packstore/mod.ts';

/** One row an object, ascending by oid. Chunked blobs have offset -1 and are no entries of the stored pack. */
export interface PackTable {
  readonly objectCount: number;
  readonly oids: Buffer;
  readonly kinds: Uint8Array;
  readonly sizes: Float64Array;
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
  readonly crcs: Uint32Array;
}

/** A whole entry that goes behind a pack's own ones. */
export interface ExtraEntry {
  readonly oid: Buffer;
  readonly kind: number;
  readonly sizeBytes: number;
  readonly lengthBytes: number;
  readonly crc: number;
}

/** Bytes of a pack that is at hand: a range of them, in pieces. */
export type PieceReader = (from: number, to: number) => AsyncIterable<Buffer>;

export interface StorePackInput {
  readonly format: ObjectFormat;
  readonly table: PackTable;
  /** Bytes of the pack as it came, header and trailer included. */
  readonly lengthBytes: number;
  readonly checksum: Buffer;
  readonly read: PieceReader;
  /** Delta bases that a thin pack lacks: with them it stands alone. */
  readonly extras: readonly ExtraEntry[];
  readonly readExtras: PieceReader;
}

/** A pack in the store: what the catalog is to know of it. */
export interface StoredPack {
  readonly table: PackTable;
  readonly lengthBytes: number;
  readonly checksum: Buffer;
}

/** A pack of chunks that is at hand. */
export interface ChunkPackInput {
  readonly format: ObjectFormat;
  readonly lengthBytes: number;
  readonly checksum: Buffer;
  readonly idx: Buffer;
  readonly read: PieceReader;
}

/** Writes a pack of chunks to the store with its index beside it; bytes that are not the ones that were made do not become a pack. */
export async function writeChunkPack(store: PackStore, key: string, input: ChunkPackInput, signal?: AbortSignal): Promise<void> {
  const { format, lengthBytes, checksum } = input;
  const options = signal === undefined ? {} : { signal };
  const hash = createHash(format);
  const bodyBytes = lengthBytes - oidLength(format);
  async function* hashed(): AsyncGenerator<Buffer> {
    for await (const piece of input.read(0, bodyBytes)) {
      hash.update(piece);
      yield piece;
    }
    yield checksum;
  }
  const written = await store.put(key, hashed(), options);
  if (written !== lengthBytes || !hash.digest().equals(checksum)) {
    await store.delete(key);
    throw new PackhouseError('spool-corrupt', 'the pack of chunks changed between its making and its upload');
  }
  await store.put(sidecarKey(key, 'idx'), input.idx, options);
}

/**
 * Writes a verified pack to the store with its index beside it. Entries are copied as they came; the bases that a thin pack lacks are
 * appended, which changes the header's count and so the checksum. What is written is hashed on the way: bytes that are not the ones
 * that were verified do not become a pack.
 */
export async function writeStorePack(
  store: PackStore,
  key: string,
  input: StorePackInput,
  signal?: AbortSignal,
): Promise<StoredPack> {
  const table = input.extras.length === 0 ? input.table : withExtras(input);
  const entries = entryTable(table, input.format);
  const hash = createHash(input.format);
  let checksum = input.checksum;
  const options = signal === undefined ? {} : { signal };
  const lengthBytes = await store.put(
    key,
    packBytes(
      input,
      entries.objectCount,
      (bytes) => hash.update(bytes),
      () => {
        checksum = hash.digest();
        return checksum;
      },
    ),
    options,
  );
  if (input.extras.length === 0 && !checksum.equals(input.checksum)) {
    await store.delete(key);
    throw new PackhouseError('spool-corrupt', 'the pack changed between its verification and its upload');
  }
  const { objectCount: count, oids, offsets, crcs } = entries;
  const idx = encodeIdx({ count, oids, offsets, crcs, checksum }, input.format);
  await store.put(sidecarKey(key, 'idx'), idx, options);
  return { table, lengthBytes, checksum };
}

async function* packBytes(
  input: StorePackInput,
  objectCount: number,
  onBytes: (bytes: Buffer) => void,
  trailer: () => Buffer,
): AsyncGenerator<Buffer> {
  const header = encodePackHeader(objectCount);
  onBytes(header);
  yield header;
  for await (const piece of input.read(12, input.lengthBytes - oidLength(input.format))) {
    onBytes(piece);
    yield piece;
  }
  if (input.extras.length > 0) {
    const extraBytes = input.extras.reduce((sum, entry) => sum + entry.lengthBytes, 0);
    for await (const piece of input.readExtras(0, extraBytes)) {
      onBytes(piece);
      yield piece;
    }
  }
  yield trailer();
}

/** The rows that are entries of the stored pack: all but those of chunked blobs. */
function entryTable(table: PackTable, format: ObjectFormat): Pick<PackTable, 'objectCount' | 'oids' | 'offsets' | 'crcs'> {
  const rows: number[] = [];
  for (let row = 0; row < table.objectCount; row++) if (table.offsets[row]! >= 0) rows.push(row);
  if (rows.length === table.objectCount) return table;
  const width = oidLength(format);
  return {
    objectCount: rows.length,
    oids: Buffer.concat(rows.map((row) => table.oids.subarray(row * width, (row + 1) * width))),
    offsets: Float64Array.from(rows, (row) => table.offsets[row]!),
    crcs: Uint32Array.from(rows, (row) => table.crcs[row]!),
  };
}

/** The table with the appended entries in their places. */
function withExtras(input: StorePackInput): PackTable {
  const { table, extras } = input;
  const width = oidLength(input.format);
  const count = table.objectCount + extras.length;
  let position = input.lengthBytes - width;
  const rows = extras.map((entry) => {
    const row = { entry, offset: position };
    position += entry.lengthBytes;
    return row;
  });
  rows.sort((a, b) => Buffer.compare(a.entry.oid, b.entry.oid));
  const merged = {
    objectCount: count,
    oids: Buffer.allocUnsafe(count * width),
    kinds: new Uint8Array(count),
    sizes: new Float64Array(count),
    offsets: new Float64Array(count),
    lengths: new Float64Array(count),
    crcs: new Uint32Array(count),
  };
  let own = 0;
  let extra = 0;
  for (let at = 0; at < count; at++) {
    const next = rows[extra];
    const takeOwn =
      next === undefined ||
      (own < table.objectCount && table.oids.compare(next.entry.oid, 0, width, own * width, (own + 1) * width) < 0);
    if (takeOwn) {
      table.oids.copy(merged.oids, at * width, own * width, (own + 1) * width);
      merged.kinds[at] = table.kinds[own]!;
      merged.sizes[at] = table.sizes[own]!;
      merged.offsets[at] = table.offsets[own]!;
      merged.lengths[at] = table.lengths[own]!;
      merged.crcs[at] = table.crcs[own]!;
      own++;
    } else {
      next.entry.oid.copy(merged.oids, at * width);
      merged.kinds[at] = next.entry.kind;
      merged.sizes[at] = next.entry.sizeBytes;
      merged.offsets[at] = next.offset;
      merged.lengths[at] = next.entry.lengthBytes;
      merged.crcs[at] = next.entry.crc;
      extra++;
    }
  }
  return merged;
}

/** Rows of one block of the object index. */
export const BLOCK_OBJECTS = 1000;

/** A table cut into the blocks in which the catalog keeps it: views, nothing is copied. */
export function tableBlocks(table: PackTable, format: ObjectFormat) {
  const width = oidLength(format);
  const blocks = [];
  for (let from = 0; from < table.objectCount; from += BLOCK_OBJECTS) {
    const to = Math.min(from + BLOCK_OBJECTS, table.objectCount);
    blocks.push({
      oids: table.oids.subarray(from * width, to * width),
      kinds: table.kinds.subarray(from, to),
      sizes: table.sizes.subarray(from, to),
      offsets: table.offsets.subarray(from, to),
      lengths: table.lengths.subarray(from, to),
    });
  }
  return blocks;
}
