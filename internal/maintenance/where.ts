import { PackhouseError } from '../base/mod.ts';
import type { Pack } from '../catalog/mod.ts';
import { kindName, type ObjectKind } from '../object/mod.ts';
import { ENTRY_HEADER_BYTES_MAX, ENTRY_REF_DELTA, emptyEntryHeader, readEntryHeader } from '../packformat/mod.ts';
import { isChunked, type Location } from '../packread/mod.ts';
import type { PoolView } from '../reach/mod.ts';

/** One entry of a delta chain, or the end of one. */
export interface ChainEntry {
  readonly oid: string;
  readonly pack: number;
  /** First byte of the entry in the pack and its bytes; -1 of a chunked blob, which is no entry. */
  readonly offset: number;
  readonly length: number;
}

export interface ChunkPlace {
  readonly sha256: string;
  readonly pack: number;
  readonly offset: number;
  /** Stored bytes, and plain ones. */
  readonly length: number;
  readonly size: number;
}

/** One of the places where an object is stored. */
export interface CopyPlace {
  readonly pack: number;
  readonly tier: 'tail' | 'store';
  /** Null for a pack in PostgreSQL. */
  readonly crate: string | null;
  readonly extent_offset: number;
  readonly kind: ObjectKind;
  readonly size: number;
  /** The entry first, then what it is a delta on, down to an object that stands alone. */
  readonly chain: readonly ChainEntry[];
  /** Of a chunked blob. */
  readonly chunks: readonly ChunkPlace[];
}

/** Every copy of an object that live packs of a pool have, in order of pack. A tool for operators: it looks through the whole pool. */
export async function whereIs(pool: PoolView, oid: Buffer): Promise<CopyPlace[]> {
  const copies: CopyPlace[] = [];
  for (const pack of [...pool.index.packs.values()].sort((a, b) => a.id - b.id)) {
    const location = await inPack(pool, pack, oid);
    if (location === null) continue;
    copies.push({
      pack: pack.id,
      tier: pack.tier,
      crate: pack.crateKey,
      extent_offset: pack.extentOffset,
      kind: kindName(location.kind),
      size: location.sizeBytes,
      chain: await chainOf(pool, oid, location),
      chunks: await chunksOf(pool, location),
    });
  }
  return copies;
}

async function inPack(pool: PoolView, pack: Pack, oid: Buffer): Promise<Location | null> {
  return (await pool.index.among(oid, (candidate) => candidate.id === pack.id))[0] ?? null;
}

async function chunksOf(pool: PoolView, location: Location): Promise<ChunkPlace[]> {
  if (!isChunked(location)) return [];
  const recipe = await pool.reader.chunked.recipe(location);
  return Array.from(recipe.sizes, (size, i) => ({
    sha256: recipe.sha256s.toString('hex', i * 32, (i + 1) * 32),
    pack: recipe.packIds[i]!,
    offset: recipe.offsets[i]!,
    length: recipe.lengths[i]!,
    size,
  }));
}

async function chainOf(pool: PoolView, oid: Buffer, location: Location): Promise<ChainEntry[]> {
  const chain: ChainEntry[] = [];
  const header = emptyEntryHeader();
  let at: { readonly oid: Buffer; readonly location: Location } = { oid, location };
  for (;;) {
    const { pack, offset, lengthBytes } = at.location;
    const isCut = isChunked(at.location);
    chain.push({ oid: at.oid.toString('hex'), pack: pack.id, offset: isCut ? -1 : offset, length: lengthBytes });
    if (isCut) return chain;
    const head = await pool.bytes.read(pool.poolId, pack, offset, Math.min(ENTRY_HEADER_BYTES_MAX, lengthBytes));
    if (!readEntryHeader(head, 0, head.length, pool.graph.oidBytes, header)) throw corrupt(pack, offset, 'entry header is cut');
    if (header.type <= 4) return chain;
    const base =
      header.type === ENTRY_REF_DELTA
        ? await named(pool, pack, Buffer.from(head.subarray(header.baseAt, header.baseAt + pool.graph.oidBytes)), chain)
        : await standingAt(pool, pack, offset - header.distance);
    if (base === null) throw corrupt(pack, offset, 'its delta base is nowhere');
    at = base;
  }
}

/** Where a base that is named is read from: the first place that the chain has not come through. */
async function named(pool: PoolView, pack: Pack, oid: Buffer, chain: readonly ChainEntry[]) {
  await pool.index.loadForBase(oid);
  const places = pool.index.peekBases(pack, oid, 0) ?? [];
  const location = places.find((place) => !chain.some((entry) => entry.pack === place.pack.id && entry.offset === place.offset));
  return location === undefined ? null : { oid, location };
}

/** The object whose entry begins at an offset of a pack. */
async function standingAt(pool: PoolView, pack: Pack, offset: number) {
  const width = pool.graph.oidBytes;
  await pool.index.loadWhole([pack]);
  for (const block of pool.index.blocksOf(pack)) {
    const row = block.offsets.indexOf(offset);
    if (row < 0) continue;
    const oid = Buffer.from(block.oids.subarray(row * width, (row + 1) * width));
    const location = await inPack(pool, pack, oid);
    return location === null ? null : { oid, location };
  }
  return null;
}

function corrupt(pack: Pack, offset: number, why: string): PackhouseError {
  return new PackhouseError('pack-corrupt', `pack ${pack.id} at offset ${offset}: ${why}`, { pack: pack.id, offset });
}
