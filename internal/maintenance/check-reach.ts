import { codeOf, messageOf } from '../base/mod.ts';
import { findReachPart, ReachBitmaps } from '../bitmap/mod.ts';
import type { Catalog, Pack } from '../catalog/mod.ts';
import type { PackPlace } from '../ingest/mod.ts';
import { type PackStore, sidecarKey } from '../packstore/mod.ts';
import { reachTable, verifyReach } from '../repack/mod.ts';
import type { PoolContent } from './pool-content.ts';
import type { ProblemList } from './problems.ts';

/**
 * The reachability bitmaps of a store pack, when it has any, against those that are made now of its bytes. A pack without is no problem: it is
 * slower to read.
 */
export async function compareReach(
  { catalog, store }: { readonly catalog: Catalog; readonly store: PackStore },
  { poolId, format }: PoolContent,
  pack: Pack,
  place: PackPlace,
  problems: ProblemList,
): Promise<void> {
  const key = sidecarKey(pack.crateKey!, 'reach');
  try {
    const stored = await store.head(key);
    if (stored === null) return;
    const sidecar = await store.get(key, { offset: 0, lengthBytes: stored.lengthBytes });
    const part = findReachPart(sidecar, sidecar.length, pack.extentOffset);
    if (part === null || typeof part === 'number') return;
    const bytes = sidecar.subarray(part.offset, part.offset + part.lengthBytes);
    const bitmaps = new ReachBitmaps(bytes, format, pack.checksum, pack.objectCount);
    const blocks = (await catalog.blocks(poolId, [pack])).get(pack.id) ?? [];
    const graph = (await catalog.graphBlocks(poolId, [pack])).map(({ records }) => records);
    const wrong = verifyReach(place, reachTable({ ...pack, blocks, graph }, format), bitmaps);
    if (wrong !== null) problems.add('reach', `${key}: ${wrong}`);
  } catch (error) {
    const code = codeOf(error) ?? '';
    if (code !== 'bad-bitmap' && code !== 'repack-unsound' && !code.startsWith('store-')) throw error;
    problems.add('reach', `${key}: ${messageOf(error)}`);
  }
}
