import { wireEntryBytes } from '../chunking/mod.ts';
import { KIND_BLOB, type ObjectFormat, oidLength } from '../object/mod.ts';
import type { ChunkedBlob } from './chunking-options.ts';
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
  /**
   * One row an object, ascending by oid. `lengths` are entry bytes, `sizes` object bytes. A blob that was cut has a row too, though these
   * bytes do not hold it: its offset is -1, its length that of its entry on the wire.
   */
  readonly oids: Buffer;
  readonly kinds: Uint8Array;
  readonly sizes: Float64Array;
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
  readonly crcs: Uint32Array;
  readonly frontier: Frontier;
  /** Raw oids of objects that no object of the pack links to. */
  readonly sources: Buffer;
  /** Graph records of commits and tags, in blocks with memory of their own. */
  readonly graph: readonly Buffer[];
  /** Raw oids of delta bases outside the pack: with any, the pack is thin. */
  readonly bases: Buffer;
  /** Raw oids of blobs that stand where a .gitmodules or .gitattributes should: to be checked once all objects can be read. */
  readonly dotFiles: { readonly gitmodules: Buffer; readonly gitattributes: Buffer };
  /** What the object checks found and the severities let pass, one line each, as git words them; bounded. */
  readonly warnings: readonly string[];
}

/** The memory of its table and its graph: each column and block has its own, to be given to another thread. */
export function tableBuffers({ oids, kinds, sizes, offsets, lengths, crcs, graph }: VerifiedPack): ArrayBuffer[] {
  return [oids, kinds, sizes, offsets, lengths, crcs, ...graph].map(({ buffer }) => buffer as ArrayBuffer);
}

/** The pack with rows of blobs that were cut and are not in its bytes. */
export function withChunked(pack: VerifiedPack, chunked: readonly ChunkedBlob[]): VerifiedPack {
  const width = oidLength(pack.format);
  const blobs = [...chunked].sort((a, b) => Buffer.compare(a.oid, b.oid));
  const count = pack.objectCount + blobs.length;
  const oids = Buffer.allocUnsafeSlow(count * width);
  const kinds = new Uint8Array(count);
  const sizes = new Float64Array(count);
  const offsets = new Float64Array(count);
  const lengths = new Float64Array(count);
  const crcs = new Uint32Array(count);
  for (let row = 0, own = 0, cut = 0; row < count; row++) {
    const blob = blobs[cut];
    const isOwn =
      blob === undefined || (own < pack.objectCount && pack.oids.compare(blob.oid, 0, width, own * width, (own + 1) * width) < 0);
    if (isOwn) pack.oids.copy(oids, row * width, own * width, (own + 1) * width);
    else blob.oid.copy(oids, row * width);
    kinds[row] = isOwn ? pack.kinds[own]! : KIND_BLOB;
    sizes[row] = isOwn ? pack.sizes[own]! : blob.recipe.sizeBytes;
    offsets[row] = isOwn ? pack.offsets[own]! : -1;
    lengths[row] = isOwn ? pack.lengths[own]! : wireEntryBytes(blob.recipe);
    crcs[row] = isOwn ? pack.crcs[own]! : 0;
    if (isOwn) own++;
    else cut++;
  }
  return { ...pack, objectCount: count, oids, kinds, sizes, offsets, lengths, crcs };
}
