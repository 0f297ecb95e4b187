import { messageOf, PackhouseError } from '../base/mod.ts';
import type { Catalog, Pack } from '../catalog/mod.ts';
import { type ReceivedPack, receivePack, STORED_PACK_LIMITS, type VerifiedPack } from '../ingest/mod.ts';
import { kindName, oidLength, type Severities, STRICT_SEVERITIES, severitiesWith } from '../object/mod.ts';
import type { PackExtent } from '../packread/mod.ts';
import type { PackStore } from '../packstore/mod.ts';
import { compareIdx } from './check-idx.ts';
import { compareReach } from './check-reach.ts';
import { parseGraph } from './graph-records.ts';
import type { PoolContent } from './pool-content.ts';
import type { ProblemList } from './problems.ts';

/** What a check of packs works with. */
export interface PackCheckParts {
  readonly catalog: Catalog;
  readonly store: PackStore;
  readonly memoryBytesMax: number;
}

const PIECE_BYTES = 8 << 20;

/** What was pushed has been weighed by the severities of its day: here only what could not be read as an object counts. */
const LENIENT: Severities = severitiesWith(Object.fromEntries(Object.keys(STRICT_SEVERITIES).map((id) => [id, 'ignore'])));

/** Whether a pack's bytes are where the catalog says, all of them. */
export async function checkBytes(
  parts: PackCheckParts,
  content: PoolContent,
  pack: PackExtent,
  problems: ProblemList,
): Promise<boolean> {
  if (pack.tier === 'tail') {
    const bytes = (await parts.catalog.tailBytes(content.poolId, [pack.id])).get(pack.id);
    if (bytes === undefined) problems.add('bytes', 'tail_bytes has no row');
    else if (bytes.length !== pack.lengthBytes)
      problems.add('bytes', `tail_bytes has ${bytes.length} bytes, not ${pack.lengthBytes}`);
    return bytes?.length === pack.lengthBytes;
  }
  const end = pack.extentOffset + pack.lengthBytes;
  const stored = await parts.store.head(pack.crateKey!);
  if (stored === null) problems.add('bytes', `the store has no ${pack.crateKey}`);
  else if (stored.lengthBytes < end)
    problems.add('bytes', `${pack.crateKey} has ${stored.lengthBytes} bytes, the pack ends at ${end}`);
  return stored !== null && stored.lengthBytes >= end;
}

/**
 * Reads a pack from end to end as if it were pushed now, and compares what it holds with what the catalog and the .idx say. The verified
 * pack, null when its bytes are not a sound pack.
 */
export async function checkContent(
  parts: PackCheckParts,
  content: PoolContent,
  pack: Pack,
  problems: ProblemList,
): Promise<VerifiedPack | null> {
  const received = await verifyBytes(parts, content, pack, problems);
  if (received === null) return null;
  try {
    const verified = received.pack;
    await compareIndex(parts.catalog, content, pack, verified, problems);
    if (pack.tier === 'store') {
      await compareIdx(parts.store, pack, verified, problems);
      await compareReach(parts, content, pack, received.place, problems);
    }
    compareGraph(content, pack, verified, problems);
    return verified;
  } finally {
    await received.dispose();
  }
}

/** Reads a pack from end to end as if it were pushed now; null when its bytes are no sound pack of the length that the catalog says. */
export async function verifyBytes(
  parts: PackCheckParts,
  content: PoolContent,
  pack: PackExtent & { readonly checksum: Buffer },
  problems: ProblemList,
): Promise<ReceivedPack | null> {
  let received: ReceivedPack;
  try {
    received = await receivePack(bytesOf(parts, content.poolId, pack), Buffer.alloc(0), {
      format: content.format,
      limits: STORED_PACK_LIMITS,
      severities: LENIENT,
      memoryBytesMax: parts.memoryBytesMax,
      // Nothing is written: bases are only looked at.
      thinBytesMax: Number.MAX_SAFE_INTEGER,
      async readBase(oid) {
        // A store pack stands alone; a tail pack may lean on what the pool has.
        const base = pack.tier === 'tail' ? await content.read(oid) : null;
        return base === null ? null : { oid, kind: base.kind, data: base.data };
      },
    });
  } catch (error) {
    problems.add('content', messageOf(error), whereOf(error));
    return null;
  }
  const { lengthBytes, checksum } = received.pack;
  if (lengthBytes !== pack.lengthBytes) {
    problems.add('content', `the pack has ${lengthBytes} bytes without repeated objects, its extent ${pack.lengthBytes}`);
    await received.dispose();
    return null;
  }
  if (!checksum.equals(pack.checksum)) {
    problems.add('content', `checksum is ${checksum.toString('hex')}, the catalog says ${pack.checksum.toString('hex')}`);
  }
  return received;
}

function whereOf(error: unknown): { offset?: number; oid?: string } {
  const { offset, oid } = error instanceof PackhouseError ? error.data : {};
  return { ...(typeof offset === 'number' ? { offset } : {}), ...(typeof oid === 'string' ? { oid } : {}) };
}

async function* bytesOf({ catalog, store }: PackCheckParts, poolId: number, pack: PackExtent): AsyncGenerator<Buffer, void> {
  if (pack.tier === 'tail') {
    const bytes = (await catalog.tailBytes(poolId, [pack.id])).get(pack.id);
    if (bytes !== undefined) yield bytes;
    return;
  }
  for (let at = 0; at < pack.lengthBytes; at += PIECE_BYTES) {
    const lengthBytes = Math.min(PIECE_BYTES, pack.lengthBytes - at);
    yield await store.get(pack.crateKey!, { offset: pack.extentOffset + at, lengthBytes });
  }
}

/** The catalog's row and object blocks of a pack, one row an object, against the pack. */
async function compareIndex(
  catalog: Catalog,
  content: PoolContent,
  pack: Pack,
  verified: VerifiedPack,
  problems: ProblemList,
): Promise<void> {
  const width = oidLength(content.format);
  const objectCount = verified.objectCount + pack.chunkedCount;
  if (pack.objectCount !== objectCount) {
    problems.add('index', `packs.object_count is ${pack.objectCount}, the pack holds ${objectCount}`);
  }
  for (const firstOid of await catalog.misshapenBlocks(content.poolId, pack.id, content.format)) {
    problems.add('index', `the columns of the block of object_blocks at ${firstOid.toString('hex')} do not fit each other`);
  }
  const blocks = (await catalog.blocks(content.poolId, [pack])).get(pack.id) ?? [];
  let row = 0;
  const absent = (upTo: Buffer | null): void => {
    for (; row < verified.objectCount; row++) {
      const oid = verified.oids.subarray(row * width, (row + 1) * width);
      if (upTo !== null && Buffer.compare(oid, upTo) >= 0) return;
      problems.add('index', 'object_blocks does not have it', { offset: verified.offsets[row]!, oid: oid.toString('hex') });
    }
  };
  for (const block of blocks) {
    for (let i = 0; i < block.kinds.length; i++) {
      // Chunked blobs are no entries: their rows are compared with their recipes.
      if (block.offsets[i]! < 0) continue;
      const oid = block.oids.subarray(i * width, (i + 1) * width);
      absent(oid);
      const where = { offset: block.offsets[i] ?? Number.NaN, oid: oid.toString('hex') };
      if (row >= verified.objectCount || !oid.equals(verified.oids.subarray(row * width, (row + 1) * width))) {
        problems.add('index', 'object_blocks has it, the pack does not', where);
        continue;
      }
      const differs = differences(block, i, verified, row);
      if (differs !== '') problems.add('index', `object_blocks says ${differs}`, { ...where, offset: verified.offsets[row]! });
      row++;
    }
  }
  absent(null);
}

interface Columns {
  readonly kinds: Uint8Array;
  readonly sizes: Float64Array;
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
}

function differences(says: Columns, i: number, is: Columns, row: number): string {
  const parts: string[] = [];
  if (says.kinds[i] !== is.kinds[row]) {
    parts.push(`kind ${kindName(says.kinds[i]!) ?? says.kinds[i]} for ${kindName(is.kinds[row]!)}`);
  }
  if (says.sizes[i] !== is.sizes[row]) parts.push(`size ${says.sizes[i]} for ${is.sizes[row]}`);
  if (says.offsets[i] !== is.offsets[row]) parts.push(`offset ${says.offsets[i]} for ${is.offsets[row]}`);
  if (says.lengths[i] !== is.lengths[row]) parts.push(`length ${says.lengths[i]} for ${is.lengths[row]}`);
  return parts.join(', ');
}

/** The commit graph of a pack in the catalog against the pack's own commits and tags. */
function compareGraph(content: PoolContent, pack: Pack, verified: VerifiedPack, problems: ProblemList): void {
  const says = content.records.get(pack.id);
  // What could not be read was told when it was loaded.
  if (says === undefined) return;
  const is = parseGraph(verified.graph, content.format);
  for (const [oid, record] of is) {
    const said = says.get(oid);
    if (said === undefined) {
      // A commit that a thin pack had for a delta base was appended: its record is with the pack that brought it.
      const elsewhere = content.packs.some((other) => other.id < pack.id && content.records.get(other.id)?.has(oid));
      if (!elsewhere) problems.add('graph', 'graph_blocks has no record of it', { oid });
    } else if (!said.equals(record)) {
      problems.add('graph', `graph_blocks says ${said.toString('hex')}, the object ${record.toString('hex')}`, { oid });
    }
  }
  for (const oid of says.keys())
    if (!is.has(oid)) problems.add('graph', 'graph_blocks has a record of it, the pack not the object', { oid });
}
