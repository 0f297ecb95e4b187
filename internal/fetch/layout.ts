import type { Pack } from '../catalog/mod.ts';
import { OidMap } from '../object/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';
import type { ObjectFilter } from './filter.ts';
import type { Selection } from './select.ts';

/** Entries of one pack, in order of place. */
export interface EntryList {
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
  /** Raw oids, one after the other. */
  readonly oids: Buffer;
}

/** A piece of an answer: a pack copied as it is, or entries of one. */
export type Part = { readonly kind: 'verbatim'; readonly pack: Pack } | { readonly kind: 'entries'; readonly pack: Pack; readonly entries: EntryList };

/** How an answer is put together: plain data, made before the first byte is sent. */
export interface Layout {
  readonly parts: readonly Part[];
  readonly objectCount: number;
  /** Whether an object is part of the answer; may say no of one that is, never yes of one that is not. */
  holds(oid: Buffer, at: number): boolean;
}

export interface LayoutOptions {
  readonly filter: ObjectFilter;
  /** Thin packs may be copied as they are: what their deltas are based on is in the answer, or the client has it and takes thin packs. */
  readonly thinVerbatim: boolean;
}

/** Decides what is copied whole and what entry by entry. No object comes twice. */
export async function layOut(view: RepositoryView, selection: Selection, options: LayoutOptions): Promise<Layout> {
  const { index } = view.pool;
  const { whole, leftOut } = selection;
  const byTable = options.filter.passes;
  const filters = options.filter !== undefined && !passesAll(options.filter);
  const twice = whole.length > 1 && whole.some((pack) => pack.hasDuplicates);
  const wholeIds = new Set(whole.map((pack) => pack.id));
  const parts: Part[] = [];
  let objectCount = 0;

  const needTable = new Set(whole.filter((pack) => filters || twice || !verbatimAllowed(pack, options)));
  if (leftOut.size > 0) for (const location of await index.find(leftOut.slab())) if (location) needTable.add(location.pack);
  await index.loadWhole([...needTable]);
  const placed = twice ? new OidMap(view.pool.graph.oidBytes) : null;
  for (const pack of whole) {
    if (!needTable.has(pack)) {
      parts.push({ kind: 'verbatim', pack });
      objectCount += pack.objectCount;
      continue;
    }
    const entries = collect(view, pack, (oids, at, kind, size) => {
      if (!byTable(kind, size) && !selection.explicit.has(oids, at)) return false;
      if (leftOut.has(oids, at)) return false;
      if (placed === null) return true;
      const before = placed.size;
      placed.add(oids, at);
      return placed.size > before;
    });
    if (entries.offsets.length === pack.objectCount && verbatimAllowed(pack, options)) parts.push({ kind: 'verbatim', pack });
    else if (entries.offsets.length > 0) parts.push({ kind: 'entries', pack, entries });
    objectCount += entries.offsets.length;
  }

  const wholeHolds = await wholeMembership(view, selection, wholeIds, placed, byTable);
  const chosen = await chosenEntries(view, selection, wholeHolds);
  for (const part of chosen) {
    parts.push(part);
    objectCount += part.entries.offsets.length;
  }
  const holds = (oid: Buffer, at: number): boolean =>
    wholeHolds(oid, at) || (selection.chosen.has(oid, at) && (!selection.dropped.has(oid, at) || selection.explicit.has(oid, at)));
  return { parts, objectCount, holds };
}

function passesAll(filter: ObjectFilter): boolean {
  return [1, 2, 3, 4].every((kind) => filter.passes(kind, Number.MAX_SAFE_INTEGER));
}

/** A pack in the store stands alone; a tail pack may lean on objects outside it. */
function verbatimAllowed(pack: Pack, options: LayoutOptions): boolean {
  return pack.tier === 'store' || (pack.based && options.thinVerbatim);
}

/** Rows of a pack that was loaded whole and pass, in order of place. */
function collect(view: RepositoryView, pack: Pack, passes: (oids: Buffer, at: number, kind: number, size: number) => boolean): EntryList {
  const width = view.pool.graph.oidBytes;
  const rows: { offset: number; length: number; oids: Buffer; at: number }[] = [];
  for (const block of view.pool.index.blocksOf(pack)) {
    for (let row = 0; row < block.kinds.length; row++) {
      if (!passes(block.oids, row * width, block.kinds[row]!, block.sizes[row]!)) continue;
      rows.push({ offset: block.offsets[row]!, length: block.lengths[row]!, oids: block.oids, at: row * width });
    }
  }
  return toEntries(rows, width);
}

function toEntries(rows: { offset: number; length: number; oids: Buffer; at: number }[], width: number): EntryList {
  rows.sort((a, b) => a.offset - b.offset);
  const oids = Buffer.allocUnsafe(rows.length * width);
  rows.forEach((row, i) => row.oids.copy(oids, i * width, row.at, row.at + width));
  return { offsets: Float64Array.from(rows, (row) => row.offset), lengths: Float64Array.from(rows, (row) => row.length), oids };
}

type Membership = (oid: Buffer, at: number) => boolean;

/** Whether an oid is among what the whole packs give. */
async function wholeMembership(
  view: RepositoryView,
  selection: Selection,
  wholeIds: ReadonlySet<number>,
  placed: OidMap | null,
  passes: ObjectFilter['passes'],
): Promise<Membership> {
  const { index } = view.pool;
  if (wholeIds.size === 0) return () => false;
  if (placed !== null) return (oid, at) => placed.has(oid, at);
  // Look-ups below are answered from what is loaded: bring in what they will ask for.
  await index.find(Buffer.from(selection.chosen.slab()));
  return (oid, at) => {
    const location = index.peek(oid, at);
    if (!location || !wholeIds.has(location.pack.id) || selection.leftOut.has(oid, at)) return false;
    return passes(location.kind, location.sizeBytes) || selection.explicit.has(oid, at);
  };
}

/** The objects chosen one by one, pack by pack. */
async function chosenEntries(view: RepositoryView, selection: Selection, wholeHolds: Membership): Promise<Extract<Part, { kind: 'entries' }>[]> {
  const { chosen, dropped, explicit } = selection;
  const width = view.pool.graph.oidBytes;
  const slab = Buffer.from(chosen.slab());
  const locations = await view.pool.index.find(slab);
  const byPack = new Map<Pack, { offset: number; length: number; oids: Buffer; at: number }[]>();
  locations.forEach((location, i) => {
    const at = i * width;
    if (location === null || wholeHolds(slab, at) || (dropped.has(slab, at) && !explicit.has(slab, at))) return;
    let rows = byPack.get(location.pack);
    if (rows === undefined) {
      rows = [];
      byPack.set(location.pack, rows);
    }
    rows.push({ offset: location.offset, length: location.lengthBytes, oids: slab, at });
  });
  return [...byPack].sort(([a], [b]) => a.id - b.id).map(([pack, rows]) => ({ kind: 'entries', pack, entries: toEntries(rows, width) }));
}
