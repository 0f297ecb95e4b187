import { deflateSync } from 'node:zlib';
import type { SpoolSource } from '../ingest/mod.ts';
import { KIND_BLOB, KIND_COMMIT, KIND_TAG, KIND_TREE } from '../object/mod.ts';
import {
  ENTRY_HEADER_BYTES_MAX,
  emptyEntryHeader,
  encodeEntryHeader,
  encodePackHeader,
  readEntryHeader,
} from '../packformat/mod.ts';
import type { Chains } from './chains.ts';
import type { FoundDeltas } from './found-deltas.ts';
import type { ObjectBytes } from './object-bytes.ts';
import { type ObjectTable, wholeCopy } from './object-table.ts';
import { FileWriter } from './pack-file.ts';
import type { History } from './walk.ts';

const COPY_BYTES = 1 << 20;

/** Place of each kind: commits, tags, trees, blobs. */
const KIND_PLACE: Readonly<Record<number, number>> = { [KIND_COMMIT]: 0, [KIND_TAG]: 1, [KIND_TREE]: 2, [KIND_BLOB]: 3 };

/**
 * The order in which the objects that stay are written, but for bases, which come before their deltas: by kind; commits and trees newest
 * first; blobs by path, in the order of the newest tree that has it, the newest version first.
 */
export function writeOrder(table: ObjectTable, history: History): Uint32Array {
  const order = new Uint32Array(table.keep.reduce((sum, stays) => sum + stays, 0));
  let filled = 0;
  for (let object = 0; object < table.count; object++) if (table.keep[object]) order[filled++] = object;
  const { recency, nameOrder } = history;
  return order.sort((a, b) => {
    const kind = table.kinds[a]!;
    const place = KIND_PLACE[kind]! - KIND_PLACE[table.kinds[b]!]!;
    if (place !== 0) return place;
    const name = kind === KIND_BLOB ? nameOrder[a]! - nameOrder[b]! : 0;
    return name || recency[a]! - recency[b]! || a - b;
  });
}

/** The order in which the inputs have the objects that stay. */
export function orderOfArrival(table: ObjectTable): Uint32Array {
  const { chosen, copyOffset } = table;
  const order = Uint32Array.from(Array.from(chosen.subarray(0, table.count).keys()).filter((object) => table.keep[object]));
  return order.sort((a, b) => copyOffset[chosen[a]!]! - copyOffset[chosen[b]!]!);
}

/** How objects came into a pack. */
export interface WrittenCounts {
  reusedDeltas: number;
  newDeltas: number;
  reusedWhole: number;
  newWhole: number;
}

export interface WrittenPack {
  readonly lengthBytes: number;
  readonly checksum: Buffer;
  readonly counts: WrittenCounts;
}

export interface PackWriterParts {
  readonly table: ObjectTable;
  readonly chains: Chains;
  readonly found: FoundDeltas;
  readonly spool: SpoolSource;
  readonly bytes: ObjectBytes;
  readonly compressionLevel: number;
}

/** Writes the pack: compressed bytes are copied where they can be. */
export function writePack(path: string, order: Uint32Array, parts: PackWriterParts, onEntry: () => void): WrittenPack {
  const file = new FileWriter(path, parts.table.format);
  try {
    return new PackWriter(file, parts).write(order, onEntry);
  } finally {
    file.close();
  }
}

class PackWriter {
  readonly #file: FileWriter;
  readonly #parts: PackWriterParts;
  /** Where each object's entry starts; 0: not written yet. */
  readonly #offsets: Float64Array;
  readonly #header = emptyEntryHeader();
  readonly #counts: WrittenCounts = { reusedDeltas: 0, newDeltas: 0, reusedWhole: 0, newWhole: 0 };

  constructor(file: FileWriter, parts: PackWriterParts) {
    this.#file = file;
    this.#parts = parts;
    this.#offsets = new Float64Array(parts.table.count);
  }

  write(order: Uint32Array, onEntry: () => void): WrittenPack {
    this.#file.write(encodePackHeader(order.length));
    const { base } = this.#parts.chains;
    const waiting: number[] = [];
    for (const object of order) {
      for (let at = object; at >= 0 && this.#offsets[at] === 0; at = base[at]!) waiting.push(at);
      while (waiting.length > 0) {
        this.#entry(waiting.pop()!);
        onEntry();
      }
    }
    const checksum = this.#file.trailer();
    return { lengthBytes: this.#file.position, checksum, counts: this.#counts };
  }

  #entry(object: number): void {
    const { table, chains, found } = this.#parts;
    const base = chains.base[object]!;
    const copy = table.chosen[object]!;
    const whole = base >= 0 ? -1 : wholeCopy(table, object);
    const start = this.#file.position;
    const distance = base >= 0 ? start - this.#offsets[base]! : 0;
    if (base >= 0 && found.baseOf(object) === base) {
      this.#counts.newDeltas++;
      this.#file.write(encodeEntryHeader(0, found.sizeOf(object), distance));
      this.#file.write(found.body(object));
    } else if (base >= 0) {
      this.#counts.reusedDeltas++;
      this.#copyDelta(copy, distance);
    } else if (whole >= 0) {
      this.#counts.reusedWhole++;
      this.#copyBytes(table.copyOffset[whole]!, table.copyLength[whole]!);
    } else {
      this.#counts.newWhole++;
      const data = this.#parts.bytes.read(object);
      this.#file.write(encodeEntryHeader(table.kinds[object]!, data.length));
      this.#file.write(deflateSync(data, { level: this.#parts.compressionLevel }));
    }
    this.#offsets[object] = start;
  }

  #copyDelta(copy: number, distance: number): void {
    const { table, spool } = this.#parts;
    const offset = table.copyOffset[copy]!;
    const length = table.copyLength[copy]!;
    const { buffer, at, end } = spool.window(offset, Math.min(length, ENTRY_HEADER_BYTES_MAX));
    readEntryHeader(buffer, at, end, table.oids.oidBytes, this.#header);
    const { size, headerBytes } = this.#header;
    this.#file.write(encodeEntryHeader(0, size, distance));
    this.#copyBytes(offset + headerBytes, length - headerBytes);
  }

  #copyBytes(offset: number, length: number): void {
    const to = offset + length;
    for (let from = offset; from < to; ) {
      const { buffer, at, end } = this.#parts.spool.window(from, Math.min(COPY_BYTES, to - from));
      const taken = Math.min(end - at, to - from);
      this.#file.write(buffer.subarray(at, at + taken));
      from += taken;
    }
  }
}
