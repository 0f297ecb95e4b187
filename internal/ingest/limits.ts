/** What one incoming pack may cost. Every claim of a pack is checked against these before anything is allocated for it. */
export interface PackLimits {
  readonly objectsMax: number;
  /** The largest object of any kind; larger than the limits below it means a blob, which is streamed. */
  readonly objectBytesMax: number;
  /** Commits, trees and tags are held in memory while they are checked. */
  readonly structuredObjectBytesMax: number;
  /** A delta, its base and its result are held in memory. */
  readonly deltaObjectBytesMax: number;
  readonly deltaDepthMax: number;
  /** Bases kept between deltas; the rest is inflated again. */
  readonly baseCacheBytesMax: number;
}

export const DEFAULT_PACK_LIMITS: PackLimits = {
  objectsMax: 20_000_000,
  objectBytesMax: 5 * 2 ** 30,
  structuredObjectBytesMax: 64 * 2 ** 20,
  deltaObjectBytesMax: 512 * 2 ** 20,
  deltaDepthMax: 4096,
  baseCacheBytesMax: 96 * 2 ** 20,
};
