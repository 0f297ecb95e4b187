import { KIND_BLOB, KIND_TREE } from '../object/mod.ts';

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
  /** Bases kept between deltas; the rest is inflated again. */
  readonly baseCacheBytesMax: number;
}

export const DEFAULT_PACK_LIMITS: PackLimits = {
  objectsMax: 20_000_000,
  objectBytesMax: 5 * 2 ** 30,
  treeBytesMax: 64 * 2 ** 20,
  commitBytesMax: 64 * 2 ** 20,
  deltaObjectBytesMax: 512 * 2 ** 20,
  deltaDepthMax: 4096,
  baseCacheBytesMax: 96 * 2 ** 20,
};

/** The largest object of a kind; `kind` 0 stands for a delta, whose kind shows later. */
export function objectLimit(limits: PackLimits, kind: number): number {
  if (kind === KIND_BLOB) return limits.objectBytesMax;
  if (kind === KIND_TREE) return limits.treeBytesMax;
  return kind === 0 ? limits.deltaObjectBytesMax : limits.commitBytesMax;
}
