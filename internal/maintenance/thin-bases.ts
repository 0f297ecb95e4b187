import { PackhouseError } from '../base/mod.ts';
import type { Catalog, Pack } from '../catalog/mod.ts';
import { oidLength } from '../object/mod.ts';
import { ENTRY_REF_DELTA, emptyEntryHeader, readEntryHeader } from '../packformat/mod.ts';
import type { PoolView } from '../reach/mod.ts';

/** Tail packs whose bytes are held at a time. */
const BATCH_PACKS = 16;

/**
 * The delta bases that tail packs name by oid, by pack: while such a pack is as it came, they must be stored. Read from the headers of its
 * entries; store packs need nothing outside themselves. `known` is filled with packs that are not in it yet.
 */
export async function collectBases(catalog: Catalog, view: PoolView, known: Map<number, Buffer[]>): Promise<void> {
  const tails = [...view.index.packs.values()].filter((pack) => pack.tier === 'tail' && !known.has(pack.id));
  for (let from = 0; from < tails.length; from += BATCH_PACKS) {
    const packs = tails.slice(from, from + BATCH_PACKS);
    const bytes = await catalog.tailBytes(
      view.poolId,
      packs.map((pack) => pack.id),
    );
    for (const pack of packs) known.set(pack.id, basesOf(view, pack, bytes.get(pack.id)));
  }
}

function basesOf(view: PoolView, pack: Pack, bytes: Buffer | undefined): Buffer[] {
  const width = oidLength(view.format);
  const header = emptyEntryHeader();
  const bases: Buffer[] = [];
  for (const block of view.index.blocksOf(pack)) {
    for (const offset of block.offsets) {
      // A chunked blob is no entry.
      if (offset < 0) continue;
      if (bytes === undefined || !readEntryHeader(bytes, offset, bytes.length, width, header))
        throw new PackhouseError('sweep-unsound', `tail pack ${pack.id} cannot be read at ${offset}`, { pack: pack.id, offset });
      if (header.type === ENTRY_REF_DELTA) bases.push(Buffer.from(bytes.subarray(header.baseAt, header.baseAt + width)));
    }
  }
  return bases;
}
