import type { ObjectBlock, Pack } from '../catalog/mod.ts';
import type { ObjectFormat } from '../object/mod.ts';

export interface RepackSettings {
  /** How many neighbours, in order of kind, name and size, an object is tried against. 0: no search. */
  readonly window: number;
  /** Longest chain of deltas in the output, but for those that are kept as they came because the output would else be larger than the inputs. */
  readonly depth: number;
  /** Bytes that the objects of one search window may hold, their indexes with them. */
  readonly windowMemoryBytesMax: number;
  /** Objects above this are not searched: they are stored whole unless they come as deltas. */
  readonly searchBytesMax: number;
  /** Where spool files go; the system's folder for temporary files when undefined. */
  readonly spoolFolder?: string;
  /** zlib level of entries that are made new. */
  readonly compressionLevel: number;
}

export const DEFAULT_REPACK_SETTINGS: RepackSettings = {
  window: 10,
  depth: 50,
  windowMemoryBytesMax: 64 << 20,
  searchBytesMax: 64 << 20,
  compressionLevel: 6,
};

export interface RepackInput {
  readonly format: ObjectFormat;
  /** The packs with their object blocks. Their bytes are spooled to a local file through `readPack`. */
  readonly packs: readonly { readonly pack: Pack; readonly blocks: readonly ObjectBlock[] }[];
  /** Bytes of a pack in pieces, `PACK` to trailer. */
  readonly readPack: (pack: Pack) => AsyncIterable<Buffer>;
  /** An object that no input has as an entry (the base of a thin delta), whole; null when there is none. */
  readonly readObject: (oid: Buffer) => Promise<{ readonly kind: number; readonly data: Buffer } | null>;
  /** Whether the object whose raw oid is at `oids[at]` stays; all stay when undefined. One that does not is in no way in the output. */
  readonly keep?: (oids: Buffer, at: number) => boolean;
  readonly settings: RepackSettings;
  readonly signal: AbortSignal;
  /** Objects that are through, of all; told at steps of the work, not at each object. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface RepackStatistics {
  /** Entries of all inputs, and their bytes. */
  readonly inputEntries: number;
  readonly inputBytes: number;
  /** Objects of the output by how they are stored: deltas of the inputs, deltas that were found, whole entries of the inputs, whole ones made new. */
  readonly reusedDeltas: number;
  readonly newDeltas: number;
  readonly reusedWhole: number;
  readonly newWhole: number;
}

/** A verified pack in a local file, until `dispose`. */
export interface RepackedPack {
  /** The file: `PACK` to trailer. A pack of no entries (header and trailer) when nothing but chunked blobs stays. */
  readonly path: string;
  readonly lengthBytes: number;
  readonly checksum: Buffer;
  /** With chunked blobs. */
  readonly objectCount: number;
  /** Raw oids of chunked blobs (rows with offset -1) that stay. Their recipes are the catalog's business. */
  readonly chunkedOids: Buffer;
  /** Rows of `object_blocks`, chunked blobs included, with offset -1 and the length of their whole wire entry. */
  readonly blocks: readonly ObjectBlock[];
  /** Graph records of commits and tags, in blocks. */
  readonly graph: readonly Buffer[];
  /** The version 2 index of the file, as `git index-pack` writes it. */
  readonly idx: Buffer;
  readonly facts: { readonly allReached: boolean; readonly based: boolean; readonly tips: Buffer };
  readonly statistics: RepackStatistics;
  dispose(): Promise<void>;
}
