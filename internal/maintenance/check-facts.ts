import type { Pack } from '../catalog/mod.ts';
import type { VerifiedPack } from '../ingest/mod.ts';
import { KIND_BLOB, KIND_TREE, type OidMap, oidLength } from '../object/mod.ts';
import type { NodeSet } from '../reach/mod.ts';
import { parentsOf } from './graph-records.ts';
import type { PoolContent } from './pool-content.ts';
import type { ProblemList } from './problems.ts';

/**
 * Proves anew what the catalog claims of a pack. A claim that is not made costs speed and is never wrong, so only claims are checked.
 * has_duplicates is none: of two pushes that come at the same time neither sees the other's objects. `chunked` are the pack's chunked blobs,
 * which its bytes do not hold, `kept` the commits and tags that no sweep would take.
 */
export async function checkFacts(
  content: PoolContent,
  pack: Pack,
  verified: VerifiedPack,
  chunked: OidMap,
  kept: NodeSet,
  problems: ProblemList,
): Promise<void> {
  checkTips(content, pack, verified, problems);
  if (!isKept(content, pack, kept)) return;
  if (pack.allReached) await checkAllReached(content, pack, verified, chunked, problems);
  if (pack.based) await checkBased(content, pack, verified, chunked, problems);
}

/**
 * Whether all commits and tags of a pack are kept. Its facts are used only when they are, all of them, reached; what else hangs on a commit that waits
 * to be swept may have been swept before it.
 */
function isKept(content: PoolContent, pack: Pack, kept: NodeSet): boolean {
  const own = content.records.get(pack.id) ?? new Map<string, Buffer>();
  return [...own.keys()].every((hex) => kept.has(content.graph.findHex(hex)));
}

/** Tips are commits and tags of the pack itself. */
function checkTips(content: PoolContent, pack: Pack, verified: VerifiedPack, problems: ProblemList): void {
  const width = oidLength(content.format);
  if (pack.tips.length % width !== 0) problems.add('fact', `tips has ${pack.tips.length} bytes: no whole number of oids`);
  for (const tip of eachOid(pack.tips, width)) {
    const row = rowOf(verified, tip, width);
    if (row < 0 || !content.isNodeKind(verified.kinds[row]!)) {
      problems.add('fact', 'is among the tips, but no commit or tag of the pack', { oid: tip.toString('hex') });
    }
  }
}

/** Every object hangs on one that no other links to; each of those is a tip, or reached from one by way of other packs. */
async function checkAllReached(
  content: PoolContent,
  pack: Pack,
  verified: VerifiedPack,
  chunked: OidMap,
  problems: ProblemList,
): Promise<void> {
  const width = oidLength(content.format);
  if (pack.tips.length === 0) return problems.add('fact', 'all_reached is true, but there are no tips');
  const tips = content.newSet();
  for (const tip of eachOid(pack.tips, width)) tips.add(tip);
  const open = content.newSet();
  for (const source of eachOid(verified.sources, width)) if (!tips.has(source)) open.add(source);
  // A chunked blob that no tree of the pack names is a source too.
  const linked = content.newSet();
  for (const oid of eachOid(verified.frontier.oids, width)) linked.add(oid);
  for (let i = 0; i < chunked.size; i++) if (!linked.has(chunked.oid(i))) open.add(chunked.oid(i));
  if (open.size === 0) return;
  const starts = [...eachOid(pack.tips, width)].map((tip) => content.graph.find(tip)).filter((node) => node >= 0);
  for (const oid of await content.notReached(starts, open)) {
    problems.add('fact', 'all_reached is true, but no tip of the pack reaches it', { oid: oid.toString('hex') });
  }
}

/** Outside trees, blobs and delta bases are reached from the parents that the pack's own commits have outside it. */
async function checkBased(
  content: PoolContent,
  pack: Pack,
  verified: VerifiedPack,
  chunked: OidMap,
  problems: ProblemList,
): Promise<void> {
  const width = oidLength(content.format);
  const open = content.newSet();
  const { oids, kinds } = verified.frontier;
  kinds.forEach((kind, i) => {
    if (chunked.has(oids, i * width)) return;
    if (kind === KIND_TREE || kind === KIND_BLOB) open.add(oids, i * width);
  });
  for (const base of eachOid(verified.bases, width)) open.add(base);
  if (open.size === 0) return;
  const own = content.records.get(pack.id) ?? new Map<string, Buffer>();
  const parents = new Set([...own.values()].flatMap((record) => parentsOf(record, content.format)));
  const starts = [...parents].filter((hex) => !own.has(hex)).map((hex) => content.graph.findHex(hex));
  for (const oid of await content.notReached(starts, open)) {
    problems.add('fact', "based is true, but no parent of the pack's commits reaches it", { oid: oid.toString('hex') });
  }
}

function* eachOid(oids: Buffer, width: number): Generator<Buffer> {
  for (let at = 0; at + width <= oids.length; at += width) yield oids.subarray(at, at + width);
}

function rowOf(verified: VerifiedPack, oid: Buffer, width: number): number {
  let low = 0;
  let high = verified.objectCount;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (verified.oids.compare(oid, 0, width, middle * width, (middle + 1) * width) < 0) low = middle + 1;
    else high = middle;
  }
  return low < verified.objectCount && oid.equals(verified.oids.subarray(low * width, (low + 1) * width)) ? low : -1;
}
