import type { VerifiedPack } from '../ingest/mod.ts';
import { KIND_BLOB, KIND_COMMIT, KIND_TAG, KIND_TREE, OidMap, oidLength } from '../object/mod.ts';
import { type ChunkedRows, rowOf } from './columns.ts';
import type { RepackedPack, RepackInput } from './types.ts';

/** What the catalog is to claim of a verified output (ARCHITECTURE, "Facts about packs"). What cannot be shown is not claimed. */
export function factsOf(pack: VerifiedPack, chunked: ChunkedRows, input: RepackInput): RepackedPack['facts'] {
  const width = oidLength(pack.format);
  const tips: Buffer[] = [];
  let othersAreReached = true;
  for (let at = 0; at < pack.sources.length; at += width) {
    const oid = pack.sources.subarray(at, at + width);
    const kind = pack.kinds[rowOf(pack, oid)];
    if (kind === KIND_COMMIT || kind === KIND_TAG) tips.push(oid);
    else othersAreReached = false;
  }
  const linked = new OidMap(width);
  let holdsAll = true;
  for (let i = 0; i < pack.frontier.kinds.length; i++) {
    const kind = pack.frontier.kinds[i]!;
    const isHeld = kind === KIND_BLOB && chunked.oids.has(pack.frontier.oids, i * width);
    if (isHeld) linked.add(pack.frontier.oids, i * width);
    else if (kind === KIND_TREE || kind === KIND_BLOB) holdsAll = false;
  }
  for (let i = 0; i < chunked.oids.size; i++) {
    const oid = chunked.oids.oid(i);
    if (!linked.has(oid) && rowOf(pack, oid) < 0) othersAreReached = false;
  }
  const wereBased = input.keep === undefined && input.packs.every(({ pack: { based } }) => based);
  return { allReached: othersAreReached, based: holdsAll || wereBased, tips: Buffer.concat(tips) };
}
