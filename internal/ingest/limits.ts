import { KIND_BLOB, KIND_TREE } from '../object/mod.ts';
import { PackError } from './errors.ts';

const MIB = 2 ** 20;

/** A thread that worked on more objects does not stay for the next pack: an idle thread collects no garbage. */
export const KEPT_OBJECTS_MAX = 100_000;

/** What one incoming pack may cost. Every claim of a pack is checked against these before anything is allocated for it. */
export interface PackLimits {
  readonly objectsMax: number;
  /** The largest object of any kind; larger than the limits below it means a blob, which is streamed. */
  readonly objectBytesMax: number;
  /** Trees, and commits and tags, are held in memory while they are checked. */
  readonly treeBytesMax: number;
  readonly commitBytesMax: number;
  /** A delta, its base and its result are held in memory. */
  readonly deltaObjectBytesMax: number;
  readonly deltaDepthMax: number;
  /** Parents that the commits of a pack may have together, and how many more for each of them: graphs are kept in memory. */
  readonly parentsFree: number;
  readonly parentsPerCommit: number;
  /** Bases kept between deltas; the rest is inflated again. */
  readonly baseCacheBytesMax: number;
  /** Bytes that inflating and applying deltas may make, of whatever pack, and how many more for each byte of the pack. */
  readonly madeBytesFree: number;
  readonly madeBytesPerPackByte: number;
  /** In place of `madeBytesFree` for large blobs that deltas make: they are cut and not held, and git sends many versions of one in few bytes. */
  readonly largeBytesFree: number;
}

export const DEFAULT_PACK_LIMITS: PackLimits = {
  objectsMax: 20_000_000,
  objectBytesMax: 5 * 2 ** 30,
  treeBytesMax: 64 * 2 ** 20,
  commitBytesMax: 64 * 2 ** 20,
  deltaObjectBytesMax: 512 * 2 ** 20,
  deltaDepthMax: 4096,
  parentsFree: 1_000_000,
  parentsPerCommit: 8,
  baseCacheBytesMax: 96 * 2 ** 20,
  madeBytesFree: 8 * 2 ** 30,
  madeBytesPerPackByte: 1000,
  largeBytesFree: 64 * 2 ** 30,
};

/** For packs that are stored: what was taken in is read again whatever a push may be today, and a merged pack may make what all its inputs made. */
export const STORED_PACK_LIMITS: PackLimits = {
  ...DEFAULT_PACK_LIMITS,
  objectsMax: 2 ** 31,
  objectBytesMax: Number.MAX_SAFE_INTEGER,
  treeBytesMax: 2 ** 31,
  commitBytesMax: 2 ** 31,
  deltaObjectBytesMax: 2 ** 31,
  deltaDepthMax: 2 ** 31,
  parentsFree: Number.MAX_SAFE_INTEGER,
  madeBytesFree: Number.MAX_SAFE_INTEGER,
};

/**
 * How much a pack makes the server inflate and copy. A few kilobytes of deltas can ask for any amount of it, so it is counted as it is
 * done; `madeBytesMax` bounds it further for work that holds up other requests.
 */
export class WorkMeter {
  readonly #free: number;
  readonly #largeFree: number;
  readonly #perPackByte: number;
  #granted = 0;
  #made = 0;
  #madeLarge = 0;
  /** MiB that all threads have made, when several work on the pack; `#made` is then what this one has not told yet. */
  #madeByAll: Int32Array | null = null;

  constructor(limits: PackLimits, madeBytesMax = Infinity) {
    this.#free = Math.min(limits.madeBytesFree, madeBytesMax);
    this.#largeFree = Math.min(limits.largeBytesFree, madeBytesMax);
    this.#perPackByte = madeBytesMax === Infinity ? limits.madeBytesPerPackByte : 0;
  }

  /** The pack has grown to so many bytes. */
  grow(packBytes: number): void {
    this.#granted = packBytes * this.#perPackByte;
  }

  /** From now on what is made is counted together with other threads; they learn of it a MiB at a time. */
  countWith(madeByAll: Int32Array): void {
    this.#madeByAll = madeByAll;
  }

  /** @throws PackError with `tooMuchWork` in its data */
  take(bytes: number): void {
    this.#made += bytes;
    const limit = this.#free + this.#granted;
    if (this.#madeByAll === null ? this.#made <= limit : this.#takeWithAll(this.#madeByAll) <= limit) return;
    throw new PackError(`pack makes more than ${limit} bytes of objects, too much for its size`, { limit, tooMuchWork: true });
  }

  #takeWithAll(madeByAll: Int32Array): number {
    const told = Math.floor(this.#made / MIB);
    if (told > 0) Atomics.add(madeByAll, 0, told);
    this.#made -= told * MIB;
    return Atomics.load(madeByAll, 0) * MIB + this.#made;
  }

  /** For what deltas make of large blobs, and read for it. @throws PackError with `tooMuchWork` in its data */
  takeLarge(bytes: number): void {
    this.#madeLarge += bytes;
    const limit = this.#largeFree + this.#granted;
    if (this.#madeLarge <= limit) return;
    const message = `deltas of the pack make more than ${limit} bytes of large blobs, too much for its size`;
    throw new PackError(`${message} (limits.large_blob_bytes_max is ${this.#largeFree})`, { limit, tooMuchWork: true });
  }
}

/** The largest object of a kind; `kind` 0 stands for a delta, whose kind shows later. */
export function objectLimit(limits: PackLimits, kind: number): number {
  if (kind === KIND_BLOB) return limits.objectBytesMax;
  if (kind === KIND_TREE) return limits.treeBytesMax;
  return kind === 0 ? limits.deltaObjectBytesMax : limits.commitBytesMax;
}
