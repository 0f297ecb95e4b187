import type { Logger } from '../base/mod.ts';
import type { Catalog } from '../catalog/mod.ts';
import type { PackBytes } from '../packread/mod.ts';
import type { PackStore } from '../packstore/mod.ts';
import type { RepackSettings } from '../repack/mod.ts';
import type { Rest } from './rest.ts';
import type { Throttle } from './throttle.ts';

/** Where a test may look in, or stop the work. */
export type RewritePoint = 'leased' | 'prepared' | 'uploading' | 'uploaded' | 'swapped';

/** What sealing and compaction work with. */
export interface RewriteSettings {
  readonly catalog: Catalog;
  readonly store: PackStore;
  /** For bases of thin deltas that lie outside what is rewritten. */
  readonly bytes: PackBytes;
  readonly repack: RepackSettings;
  readonly throttle: Throttle;
  /** Pools that could not be worked on lately. */
  readonly rest: Rest;
  readonly log: Logger;
  /** How long packs stay leased after the last sign of life. */
  readonly leaseMs: number;
  /** Packs of fewer objects get no reachability bitmaps. */
  readonly bitmapObjectsMin: number;
  readonly seal: {
    /** A pool's tail is sealed at so many bytes, so many packs, or when its oldest pack is so old. */
    readonly bytes: number;
    readonly packs: number;
    readonly ageMs: number;
    /** Packs are laid together into crates of this size and more. */
    readonly crateBytes: number;
  };
  readonly compaction: {
    readonly ratio: number;
    readonly packBytesMax: number;
    readonly deadPercent: number;
  };
  readonly at?: (point: RewritePoint, poolId: number) => Promise<void>;
}
