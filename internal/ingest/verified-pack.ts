import type { ObjectFormat } from '../object/mod.ts';
import type { Frontier } from './links.ts';

/**
 * An incoming pack whose every byte has been read and found good: entries decode, deltas resolve, objects pass their checks. Whether
 * what it links to outside itself may be linked to is the next stage's question. Plain data: it crosses a worker boundary.
 */
export interface VerifiedPack {
  readonly format: ObjectFormat;
  /** Bytes of the pack, header and trailer included. */
  readonly lengthBytes: number;
  readonly checksum: Buffer;
  readonly objectCount: number;
  /** One row an object, ascending by oid. `lengths` are entry bytes, `sizes` object bytes. */
  readonly oids: Buffer;
  readonly kinds: Uint8Array;
  readonly sizes: Float64Array;
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
  readonly crcs: Uint32Array;
  readonly frontier: Frontier;
  /** Raw oids of objects that no object of the pack links to. */
  readonly sources: Buffer;
  /** Graph records of commits and tags, in blocks. */
  readonly graph: readonly Buffer[];
  /** Raw oids of delta bases outside the pack: with any, the pack is thin. */
  readonly bases: Buffer;
  /** Raw oids of blobs that stand where a .gitmodules or .gitattributes should: to be checked once all objects can be read. */
  readonly dotFiles: { readonly gitmodules: Buffer; readonly gitattributes: Buffer };
  /** What the object checks found and the severities let pass, one line each, as git words them; bounded. */
  readonly warnings: readonly string[];
}
