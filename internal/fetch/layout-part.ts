import type { BitSet } from '../bitmap/mod.ts';
import type { Pack } from '../catalog/mod.ts';
import { breath, type ChunkedBlobName } from '../packread/mod.ts';
import type { PackReach, RepositoryView } from '../reach/mod.ts';
import type { Selection } from './select.ts';

/** Entries of one pack, in order of place. */
export interface EntryList {
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
  /** Raw oids, one after the other. */
  readonly oids: Buffer;
  /** The oid of the entry at an offset of the pack when the client has it, is not sent it and takes deltas on it; else null. */
  readonly thinBase?: (offset: number) => Buffer | null;
}

/** What is sent of a pack that has bitmaps. */
export interface PlacedPart {
  readonly pack: Pack;
  has(oid: Buffer, at: number): boolean;
  readonly entries: EntryList;
  readonly blobs: readonly ChunkedBlobName[];
}

/**
 * Lays out the objects that bitmaps have told of. What is chosen one by one and stands in the same pack is taken in; what packs that go whole
 * give as well is left to them.
 */
export async function layOutPart(view: RepositoryView, selection: Selection, takesThin: boolean): Promise<PlacedPart | null> {
  const { part, chosen, dropped, explicit } = selection;
  if (part === null) return null;
  const { reach, had } = part;
  const set = part.set.clone();
  for (let i = 0; i < chosen.size; i++) {
    const oid = chosen.oid(i);
    const position = dropped.has(oid) && !explicit.has(oid) ? -1 : reach.positionOf(oid, 0);
    if (position >= 0) set.add(position);
  }
  const isShared = await leaveToWhole(view, selection.whole, reach, set);
  const width = view.pool.graph.oidBytes;
  const { entries, blobs } = await collectPart(reach, set, width);
  const thinBase = (offset: number): Buffer | null => {
    const position = reach.positionAt(offset);
    if (position < 0 || !had.has(position)) return null;
    const { block, row } = reach.rowAt(position);
    const oid = block.oids.subarray(row * width, (row + 1) * width);
    // What the answer has from another pack all the same may be a delta on what hangs on it here.
    return chosen.has(oid) ? null : oid;
  };
  return {
    pack: reach.pack,
    has(oid, at) {
      const position = reach.positionOf(oid, at);
      return position >= 0 && set.has(position);
    },
    entries: takesThin && !isShared ? { ...entries, thinBase } : entries,
    blobs,
  };
}

/** Takes out what whole packs give. False when they give nothing of the pack. */
async function leaveToWhole(view: RepositoryView, whole: readonly Pack[], reach: PackReach, set: BitSet): Promise<boolean> {
  const { index, graph } = view.pool;
  if (whole.length === 0 || !(await index.mayShare([...whole, reach.pack]))) return false;
  await index.loadWhole(whole);
  for (const pack of whole) {
    for (const block of index.blocksOf(pack)) {
      for (let row = 0; row < block.kinds.length; row++) {
        const pause = breath();
        if (pause) await pause;
        const position = reach.positionOf(block.oids, row * graph.oidBytes);
        if (position >= 0) set.delete(position);
      }
    }
  }
  return true;
}

async function collectPart(
  reach: PackReach,
  set: BitSet,
  width: number,
): Promise<{ entries: EntryList; blobs: ChunkedBlobName[] }> {
  const count = set.count(reach.entryCount);
  const offsets = new Float64Array(count);
  const lengths = new Float64Array(count);
  const oids = Buffer.allocUnsafe(count * width);
  const blobs: ChunkedBlobName[] = [];
  let filled = 0;
  for (let position = set.next(0); position < set.length; position = set.next(position + 1)) {
    const pause = breath();
    if (pause) await pause;
    const { block, row } = reach.rowAt(position);
    if (position >= reach.entryCount) {
      const chunkedOid = block.oids.subarray(row * width, (row + 1) * width);
      blobs.push({ pack: reach.pack, chunkedOid, sizeBytes: block.sizes[row]! });
      continue;
    }
    offsets[filled] = block.offsets[row]!;
    lengths[filled] = block.lengths[row]!;
    block.oids.copy(oids, filled * width, row * width, (row + 1) * width);
    filled++;
  }
  return { entries: { offsets, lengths, oids }, blobs };
}
