import type { SwapOutput } from '../catalog/mod.ts';
import type { ObjectFormat } from '../object/mod.ts';
import type { LeaseKeeper } from './lease-keeper.ts';

/** A pack that is ready to be laid into a crate. */
export interface PreparedPack {
  readonly packId: number;
  readonly lengthBytes: number;
  readonly checksum: Buffer;
  /** Its bytes, `PACK` to trailer. Read once. */
  read(signal: AbortSignal): AsyncIterable<Buffer>;
  /** The version 2 index; after `read`. */
  idx(): Buffer;
  /** Its reachability bitmaps; null: it can have none. When undefined nobody has tried yet. */
  readonly reach?: Buffer | null;
  /** What the catalog is to know of it, but for its place. */
  readonly output: Omit<SwapOutput, 'packId' | 'extentOffset' | 'lengthBytes' | 'checksum'>;
}

/** Packs of one pool that are leased, and those that are to take their place. */
export interface PreparedSwap {
  readonly poolId: number;
  readonly format: ObjectFormat;
  /** The pool's sweep epoch before the first of the inputs was read. */
  readonly epoch: number;
  readonly token: string;
  readonly inputs: readonly number[];
  readonly packs: readonly PreparedPack[];
  readonly keeper: LeaseKeeper;
  /** Removes what lies on the local disk. */
  dispose(): Promise<void>;
}
