import { PackhouseError } from '../base/mod.ts';
import type { Pack } from '../catalog/mod.ts';
import { OidMap } from '../object/mod.ts';
import { breath, type ChunkedBlobName, isChunked, type Location } from '../packread/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';
import type { ObjectFilter } from './filter.ts';
import { type EntryList, layOutPart, type PlacedPart } from './layout-part.ts';
import type { Selection } from './select.ts';
import type { ChunkedPart } from './write-chunked.ts';

/** A piece of an answer: the entries of a stored pack copied as they are, some entries of one, or blobs that are kept as chunks. */
export type Part =
  | { readonly kind: 'verbatim'; readonly pack: Pack }
  | { readonly kind: 'entries'; readonly pack: Pack; readonly entries: EntryList }
  | ({ readonly kind: 'chunked' } & ChunkedPart);

type EntriesPart = Extract<Part, { kind: 'verbatim' | 'entries' }>;

/** How an answer is put together: plain data, made before the first byte is sent. */
export interface Layout {
  readonly parts: readonly Part[];
  readonly objectCount: number;
  /**
   * Whether a delta that is written from `pack` may name a base by its oid: the base is in the answer, or is not and the client has it. Never
   * when that is in doubt, or when deltas could run in a circle: copies of the same objects in several packs may be deltas of each other.
   */
  mayBase(pack: Pack, oid: Buffer, at: number): boolean;
}

export interface LayoutOptions {
  readonly filter: ObjectFilter;
  /** The client takes deltas that name their base by its distance: stored packs are full of them. */
  readonly ofsDelta: boolean;
  /** Thin packs may be copied as they are: what their deltas are based on is in the answer, or the client has it and takes thin packs. */
  readonly thinVerbatim: boolean;
  /** The client takes deltas whose bases it has and is not sent. */
  readonly takesThin: boolean;
  /** What the client has, unless it is in the answer, and takes deltas on. */
  readonly thinBases: OidMap;
}

/** Decides what is copied whole and what entry by entry. No object comes twice. */
export async function layOut(view: RepositoryView, selection: Selection, options: LayoutOptions): Promise<Layout> {
  const { index } = view.pool;
  const { whole } = selection;
  const placed = whole.length > 1 && (await index.mayShare(whole)) ? new Placed(view.pool.graph.oidBytes) : null;
  const { parts, objectCount, chunked } = await wholeParts(view, selection, options, placed);
  const part = await layOutPart(view, selection, options.takesThin);
  const inWhole = await wholeMembership(view, selection, placed, options);
  const wholePackOf: Membership = (oid, at) => (part?.has(oid, at) ? part.pack.id : inWhole(oid, at));
  const ownCopies = await view.pool.isShared();
  const chosen = await chosenEntries(view, selection, wholePackOf, ownCopies, chunked);
  if (part !== null) {
    for (const blob of part.blobs) chunked.push(blob);
    chosen.push(...partParts(part, options));
  }
  const chunkedParts = chunked.length === 0 ? [] : [await chunkedPart(view, chunked, options.thinBases)];
  const asTheyAre = new Set(parts.flatMap((whole) => (whole.kind === 'verbatim' ? [whole.pack.id] : [])));
  return {
    parts: [...parts, ...chosen, ...chunkedParts],
    objectCount: chosen.reduce((sum, one) => sum + entryCountOf(one), objectCount) + chunked.length,
    mayBase(pack, oid, at) {
      let from = wholePackOf(oid, at);
      if (from < 0 && selection.chosen.has(oid, at) && (!selection.dropped.has(oid, at) || selection.explicit.has(oid, at))) {
        let location = index.peek(oid, at);
        if (location && ownCopies && !view.packReached(location.pack))
          location = index.peekAmong(oid, at, (candidate) => view.packReached(candidate)) ?? location;
        if (!location) return false;
        from = location.pack.id;
      }
      if (from < 0) return options.thinBases.has(oid, at);
      if (from === pack.id) return true;
      // Deltas of a store pack stay inside it. Those of a tail pack may lead to a store pack, or to an older tail pack that does not come as it is.
      if (pack.tier === 'store') return false;
      return index.packs.get(from)!.tier === 'store' || (from < pack.id && !asTheyAre.has(from));
    },
  };
}

/** The entries of a pack that bitmaps have told of: as they are when those are all that there are. */
function partParts({ pack, entries }: PlacedPart, { ofsDelta }: LayoutOptions): EntriesPart[] {
  const count = entries.offsets.length;
  if (count === 0) return [];
  return [
    count === pack.objectCount - pack.chunkedCount && ofsDelta ? { kind: 'verbatim', pack } : { kind: 'entries', pack, entries },
  ];
}

function entryCountOf(part: EntriesPart): number {
  return part.kind === 'verbatim' ? part.pack.objectCount - part.pack.chunkedCount : part.entries.offsets.length;
}

/** Large blobs come last, with those that the client has: versions of each other go as deltas. */
async function chunkedPart(
  view: RepositoryView,
  blobs: readonly ChunkedBlobName[],
  thinBases: OidMap,
): Promise<Extract<Part, { kind: 'chunked' }>> {
  const own = new Set(blobs.map(({ chunkedOid }) => chunkedOid.toString('hex')));
  const clients = (await view.pool.index.find(Buffer.from(thinBases.slab())))
    .filter((location) => location !== null)
    .filter(isChunked)
    .filter(({ chunkedOid }) => !own.has(chunkedOid.toString('hex')));
  return { kind: 'chunked', blobs, clients };
}

/** Objects that have a place in the answer, and from which pack. */
class Placed {
  readonly #oids: OidMap;
  readonly #packs: number[] = [];

  constructor(oidBytes: number) {
    this.#oids = new OidMap(oidBytes);
  }

  /** False when the object had a place already. */
  add(oid: Buffer, at: number, pack: number): boolean {
    const index = this.#oids.add(oid, at);
    if (index < this.#packs.length) return false;
    this.#packs.push(pack);
    return true;
  }

  packOf(oid: Buffer, at: number): number {
    return this.#packs[this.#oids.get(oid, at)] ?? -1;
  }
}

/**
 * The packs that are taken whole, as they are or entry by entry; `objectCount` counts their entries, and their chunked blobs come apart.
 * `placed` is there when some of them share objects: the oldest pack gives them.
 */
async function wholeParts(
  view: RepositoryView,
  selection: Selection,
  options: LayoutOptions,
  placed: Placed | null,
): Promise<{ parts: Part[]; objectCount: number; chunked: ChunkedBlobName[] }> {
  const { index } = view.pool;
  const { whole, leftOut, explicit } = selection;
  // Where packs share objects, a thin pack's base may come from a younger pack whose deltas lead back: it is looked at entry by entry.
  const asItIs = (pack: Pack): boolean =>
    options.ofsDelta && (pack.tier === 'store' || (pack.based && options.thinVerbatim && placed === null));
  const filters = !passesAll(options.filter);
  const needTable = new Set(whole.filter((pack) => filters || placed !== null || !asItIs(pack)));
  const wholeIds = new Set(whole.map((pack) => pack.id));
  if (leftOut.size > 0)
    for (const location of await index.among(leftOut.slab(), (pack) => wholeIds.has(pack.id)))
      if (location) needTable.add(location.pack);
  await index.loadWhole([...needTable]);
  const parts: Part[] = [];
  const chunked: ChunkedBlobName[] = [];
  let objectCount = 0;
  for (const pack of whole) {
    const entryCount = pack.objectCount - pack.chunkedCount;
    if (!needTable.has(pack)) {
      if (entryCount > 0) parts.push({ kind: 'verbatim', pack });
      if (pack.chunkedCount > 0) for (const blob of await view.pool.reader.chunked.blobsOf(pack)) chunked.push(blob);
      objectCount += entryCount;
      continue;
    }
    const { entries, blobs } = await collect(view, pack, (oids, at, kind, size) => {
      if (leftOut.has(oids, at) || (!options.filter.passes(kind, size) && !explicit.has(oids, at))) return false;
      return placed === null || placed.add(oids, at, pack.id);
    });
    for (const blob of blobs) chunked.push(blob);
    if (entries.offsets.length === 0) continue;
    if (entries.offsets.length === entryCount && asItIs(pack)) parts.push({ kind: 'verbatim', pack });
    else parts.push({ kind: 'entries', pack, entries });
    objectCount += entries.offsets.length;
  }
  return { parts, objectCount, chunked };
}

function passesAll(filter: ObjectFilter): boolean {
  return [1, 2, 3, 4].every((kind) => filter.passes(kind, Number.MAX_SAFE_INTEGER));
}

/** Rows of one pack in any order, as parallel arrays; `oidAt[i]` is where the oid begins in `oidIn[i]`. */
class Rows {
  readonly offsets: number[] = [];
  readonly lengths: number[] = [];
  readonly oidIn: Buffer[] = [];
  readonly oidAt: number[] = [];

  add(offset: number, lengthBytes: number, oids: Buffer, at: number): void {
    this.offsets.push(offset);
    this.lengths.push(lengthBytes);
    this.oidIn.push(oids);
    this.oidAt.push(at);
  }

  /** In order of place. */
  async sorted(width: number): Promise<EntryList> {
    const offsets = Float64Array.from(this.offsets).sort();
    const lengths = new Float64Array(offsets.length);
    const oids = Buffer.allocUnsafe(offsets.length * width);
    for (let i = 0; i < this.offsets.length; i++) {
      const pause = breath();
      if (pause) await pause;
      const place = placeOf(offsets, this.offsets[i]!);
      lengths[place] = this.lengths[i]!;
      this.oidIn[i]!.copy(oids, place * width, this.oidAt[i]!, this.oidAt[i]! + width);
    }
    return { offsets, lengths, oids };
  }
}

/** The index of a value among ascending ones, or -1. */
export function placeOf(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle] === value) return middle;
    if (sorted[middle]! < value) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** Rows of a pack that was loaded whole and pass: entries in order of place, and chunked blobs. */
async function collect(
  view: RepositoryView,
  pack: Pack,
  passes: (oids: Buffer, at: number, kind: number, size: number) => boolean,
): Promise<{ entries: EntryList; blobs: ChunkedBlobName[] }> {
  const width = view.pool.graph.oidBytes;
  const rows = new Rows();
  const blobs: ChunkedBlobName[] = [];
  for (const block of view.pool.index.blocksOf(pack)) {
    for (let row = 0; row < block.kinds.length; row++) {
      const pause = breath();
      if (pause) await pause;
      if (!passes(block.oids, row * width, block.kinds[row]!, block.sizes[row]!)) continue;
      const offset = block.offsets[row]!;
      if (offset >= 0) rows.add(offset, block.lengths[row]!, block.oids, row * width);
      else {
        const chunkedOid = block.oids.subarray(row * width, (row + 1) * width);
        blobs.push({ pack, chunkedOid, sizeBytes: block.sizes[row]! });
      }
    }
  }
  return { entries: await rows.sorted(width), blobs };
}

/** The id of the whole pack that gives an object, or -1. */
type Membership = (oid: Buffer, at: number) => number;

async function wholeMembership(
  view: RepositoryView,
  selection: Selection,
  placed: Placed | null,
  options: LayoutOptions,
): Promise<Membership> {
  const { index } = view.pool;
  const { whole, chosen, leftOut, explicit } = selection;
  if (whole.length === 0) return () => -1;
  if (placed !== null) return (oid, at) => placed.packOf(oid, at);
  const wholeIds = new Set(whole.map((pack) => pack.id));
  // Look-ups below are answered from what is loaded: bring in what they will ask for. The rest is answered as if it were not there.
  const isWhole = (pack: Pack): boolean => wholeIds.has(pack.id);
  await index.among(Buffer.concat([chosen.slab(), options.thinBases.slab()]), isWhole);
  return (oid, at) => {
    const location = index.peekAmong(oid, at, isWhole);
    if (!location || leftOut.has(oid, at)) return -1;
    return options.filter.passes(location.kind, location.sizeBytes) || explicit.has(oid, at) ? location.pack.id : -1;
  };
}

/**
 * Where objects are taken from, by raw oids. In a pool that is shared a copy in a pack that is all this repository's comes first: the bytes of
 * an entry would tell that another fork has stored the object in its own way, and its delta is rarely of use here.
 */
async function places(view: RepositoryView, oids: Buffer, ownCopies: boolean): Promise<(Location | null)[]> {
  const { index, graph } = view.pool;
  const locations = await index.find(oids);
  if (!ownCopies) return locations;
  const isOwn = (pack: Pack): boolean => view.packReached(pack);
  const foreign = locations.flatMap((location, i) => (location && !isOwn(location.pack) ? [i] : []));
  const width = graph.oidBytes;
  const copies = await index.among(Buffer.concat(foreign.map((i) => oids.subarray(i * width, (i + 1) * width))), isOwn);
  foreign.forEach((i, at) => {
    locations[i] = copies[at] ?? locations[i]!;
  });
  return locations;
}

/** The objects chosen one by one, pack by pack; chunked blobs are added to `chunked`. */
async function chosenEntries(
  view: RepositoryView,
  selection: Selection,
  wholePackOf: Membership,
  ownCopies: boolean,
  chunked: ChunkedBlobName[],
): Promise<EntriesPart[]> {
  const { chosen, dropped, explicit } = selection;
  const width = view.pool.graph.oidBytes;
  const slab = Buffer.from(chosen.slab());
  const locations = await places(view, slab, ownCopies);
  const byPack = new Map<Pack, Rows>();
  for (let i = 0; i < locations.length; i++) {
    const pause = breath();
    if (pause) await pause;
    const at = i * width;
    const location = locations[i];
    if (wholePackOf(slab, at) >= 0 || (dropped.has(slab, at) && !explicit.has(slab, at))) continue;
    if (!location) {
      const oid = slab.toString('hex', at, at + width);
      throw new PackhouseError('object-missing', `object ${oid} is missing from pool ${view.pool.poolId}`);
    }
    if (isChunked(location)) {
      chunked.push(location);
      continue;
    }
    const rows = byPack.get(location.pack) ?? new Rows();
    byPack.set(location.pack, rows);
    rows.add(location.offset, location.lengthBytes, slab, at);
  }
  const parts: EntriesPart[] = [];
  for (const [pack, rows] of [...byPack].sort(([a], [b]) => a.id - b.id))
    parts.push({ kind: 'entries', pack, entries: await rows.sorted(width) });
  return parts;
}
