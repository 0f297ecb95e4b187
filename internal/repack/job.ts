import { closeSync, fstatSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { SpoolSource, type VerifiedPack } from '../ingest/mod.ts';
import type { ObjectFormat } from '../object/mod.ts';
import { Chains } from './chains.ts';
import { chooseCopies, neededOutside } from './choose.ts';
import { FoundDeltas } from './found-deltas.ts';
import { ObjectBytes } from './object-bytes.ts';
import { type InputColumns, ObjectTable } from './object-table.ts';
import { searchDeltas, searchOrder, takeBack } from './search.ts';
import { completedBytes, restoreTrees } from './size-bound.ts';
import type { RepackSettings } from './types.ts';
import { type ExpectedPack, expectedObjects, verifyPack } from './verify.ts';
import { walkHistory } from './walk.ts';
import {
  orderOfArrival,
  type PackWriterParts,
  type WrittenCounts,
  type WrittenPack,
  writeOrder,
  writePack,
} from './write-pack.ts';

/** Bases that are held while objects are read. */
const CACHE_BYTES_MAX = 24 << 20;
/** More is saved than is asked for, since what is weighed are not the last bytes of an entry's head. */
const EXCESS_MARGIN_BYTES = 1024;
const PROGRESS_STEP = 4096;

/** Names of the files in the folder of a job. */
export const INPUTS_FILE = 'inputs';
export const OUTSIDE_FILE = 'outside';
export const OUTPUT_FILE = 'pack';
const DELTAS_FILE = 'deltas';

export interface RepackJobOptions {
  readonly format: ObjectFormat;
  readonly folder: string;
  readonly input: InputColumns;
  /** 1: deltas have been searched among all objects of that input. */
  readonly searched: Uint8Array;
  readonly settings: RepackSettings;
}

export interface RepackJobResult {
  readonly pack: VerifiedPack;
  readonly counts: WrittenCounts;
}

/** The synchronous work on one repack, in a worker: `plan`, then, with the objects from outside at hand, `finish`. */
export class RepackJob {
  readonly #options: RepackJobOptions;
  readonly #onProgress: (done: number, total: number) => void;
  readonly #fds: number[] = [];
  #table: ObjectTable | null = null;

  constructor(options: RepackJobOptions, onProgress: (done: number, total: number) => void) {
    this.#options = options;
    this.#onProgress = onProgress;
  }

  #open(name: string): SpoolSource {
    const fd = openSync(join(this.#options.folder, name), 'r');
    this.#fds.push(fd);
    const source = new SpoolSource(fd);
    source.grow(fstatSync(fd).size);
    return source;
  }

  /** Chooses the copy of each object; raw oids of bases from outside, one after the other, and for each whether it must be read. */
  plan(): { oids: Buffer; needed: Uint8Array } {
    const { format, input } = this.#options;
    const table = new ObjectTable(format, input, this.#open(INPUTS_FILE));
    chooseCopies(table);
    this.#table = table;
    return { oids: table.outside.slab(), needed: neededOutside(table) };
  }

  finish(offsets: Float64Array, sizes: Float64Array): RepackJobResult {
    try {
      const { written, expected } = this.#write(offsets, sizes);
      // The columns are not needed any more, and verifying has its own.
      this.#table = null;
      const pack = verifyPack(join(this.#options.folder, OUTPUT_FILE), this.#options.format, expected);
      return { pack, counts: written };
    } finally {
      for (const fd of this.#fds) closeSync(fd);
    }
  }

  #write(offsets: Float64Array, sizes: Float64Array): { written: WrittenCounts; expected: ExpectedPack } {
    const { settings, folder, searched } = this.#options;
    const table = this.#table!;
    const outside = { source: this.#open(OUTSIDE_FILE), offsets, sizes };
    const bytes = new ObjectBytes(table, this.#open(INPUTS_FILE), outside, CACHE_BYTES_MAX);
    const found = new FoundDeltas(join(folder, DELTAS_FILE), table.count);
    try {
      const history = walkHistory(table, bytes);
      const chains = new Chains(table, settings.depth);
      searchDeltas(
        searchOrder(table, history),
        { table, chains, bytes, settings, searched, onDelta: (object, base, size, body) => found.add(object, base, size, body) },
        () => {},
      );
      takeBack(table, chains, found);
      const parts = { table, chains, found, bytes, spool: this.#open(INPUTS_FILE), compressionLevel: settings.compressionLevel };
      const written = this.#writeBounded(writeOrder(table, history), parts);
      return { written: written.counts, expected: { ...expectedObjects(table), ...written } };
    } finally {
      found.close();
      bytes.close();
    }
  }

  /** Writes the pack; again, with deltas as they came, while it is larger than the inputs and the objects whose bases are not in it. */
  #writeBounded(order: Uint32Array, parts: PackWriterParts): WrittenPack {
    const path = join(this.#options.folder, OUTPUT_FILE);
    const inputBytes = fstatSync(parts.spool.fd).size;
    const write = (entries: Uint32Array): WrittenPack => writePack(path, entries, parts, this.#counter(entries.length));
    let written = write(order);
    if (written.lengthBytes <= inputBytes) return written;
    const bytesMax = inputBytes + completedBytes(parts);
    const excessBytes = written.lengthBytes - bytesMax;
    if (excessBytes > 0 && restoreTrees(excessBytes + EXCESS_MARGIN_BYTES, parts) > 0) written = write(order);
    if (written.lengthBytes <= bytesMax) return written;
    // What is left is in the distances to bases, which are longer where these lie further away than they did.
    restoreTrees(Number.POSITIVE_INFINITY, parts);
    return write(orderOfArrival(parts.table));
  }

  #counter(total: number): () => void {
    let done = 0;
    return () => {
      if (++done % PROGRESS_STEP === 0 || done === total) this.#onProgress(done, total);
    };
  }
}
