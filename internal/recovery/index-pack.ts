import { createHash } from 'node:crypto';
import { PackhouseError } from '../base/mod.ts';
import type { ChunkedBlob, ObjectBlock, StagedPack } from '../catalog/mod.ts';
import { wireEntryBytes } from '../chunking/mod.ts';
import { receivePack, STORED_PACK_LIMITS, type VerifiedPack } from '../ingest/mod.ts';
import {
  KIND_BLOB,
  KIND_COMMIT,
  KIND_TAG,
  OidMap,
  oidLength,
  readGraphRecords,
  type Severities,
  STRICT_SEVERITIES,
  severitiesWith,
} from '../object/mod.ts';
import { encodeIdx } from '../packformat/mod.ts';
import { type PackTable, tableBlocks } from '../packing/mod.ts';
import { type PackStore, sidecarKey } from '../packstore/mod.ts';
import type { IncomingLinks } from '../reach/mod.ts';

const PIECE_BYTES = 8 << 20;

/** What is stored has passed the severities of its day: here only what could not be read as an object counts. */
const LENIENT: Severities = severitiesWith(Object.fromEntries(Object.keys(STRICT_SEVERITIES).map((id) => [id, 'ignore'])));

export interface IndexSettings {
  readonly store: PackStore;
  readonly memoryBytesMax: number;
}

/** What a new catalog needs to know of a pack, out of its bytes. */
export interface IndexedPack {
  readonly blocks: readonly ObjectBlock[];
  readonly graph: readonly Buffer[];
  readonly facts: { readonly allReached: boolean; readonly based: boolean; readonly tips: Buffer };
  /** What it links to and does not hold, chunked blobs counted as held. */
  readonly links: IncomingLinks;
  readonly idxMatches: boolean;
}

/**
 * Reads a pack of the store from end to end as if it were pushed now. `chunked`: its blobs that are no entries of it.
 * @throws PackhouseError `pack-differs` when it is sound but not the pack that it should be; PackError; `store-missing`, `store-short`
 */
export async function indexPack(
  settings: IndexSettings,
  pack: StagedPack,
  chunked: readonly ChunkedBlob[],
  signal?: AbortSignal,
): Promise<IndexedPack> {
  const received = await receivePack(packBytes(settings.store, pack, signal), Buffer.alloc(0), {
    format: pack.format,
    limits: STORED_PACK_LIMITS,
    severities: LENIENT,
    memoryBytesMax: settings.memoryBytesMax,
    // A pack of the store stands alone.
    readBase: async () => null,
    ...(signal === undefined ? {} : { signal }),
  });
  try {
    const verified = received.pack;
    expect(pack, 'length', verified.lengthBytes, pack.lengthBytes);
    expect(pack, 'checksum', verified.checksum.toString('hex'), pack.checksum.toString('hex'));
    expect(pack, 'chunked blobs', chunked.length, pack.chunkedCount);
    expect(pack, 'objects', verified.objectCount + chunked.length, pack.objectCount);
    const { objectCount: count, oids, offsets, crcs, checksum } = verified;
    const idx = encodeIdx({ count, oids, offsets, crcs, checksum }, pack.format);
    return {
      blocks: tableBlocks(withChunked(verified, chunked), pack.format),
      graph: verified.graph,
      ...linksOf(pack, verified, chunked),
      idxMatches: await holdsIdx(settings.store, pack.crateKey, idx, oidLength(pack.format)),
    };
  } finally {
    await received.dispose();
  }
}

function expect(pack: StagedPack, what: string, found: string | number, expected: string | number): void {
  if (found === expected) return;
  const message = `pack ${pack.packId} in ${pack.crateKey}: ${what} ${found}, not ${expected}`;
  throw new PackhouseError('pack-differs', message, { pack: pack.packId, crate: pack.crateKey });
}

async function* packBytes(store: PackStore, pack: StagedPack, signal?: AbortSignal): AsyncGenerator<Buffer, void> {
  for (let at = 0; at < pack.lengthBytes; at += PIECE_BYTES) {
    const lengthBytes = Math.min(PIECE_BYTES, pack.lengthBytes - at);
    const range = { offset: pack.extentOffset + at, lengthBytes };
    yield await store.get(pack.crateKey, signal === undefined ? range : { ...range, signal });
  }
}

/** Hashes a pack whose objects nobody asks for by oid: one of chunks. @throws as `indexPack` */
export async function checkPackHash(store: PackStore, pack: StagedPack, signal?: AbortSignal): Promise<void> {
  const hash = createHash(pack.format);
  const trailerAt = pack.lengthBytes - oidLength(pack.format);
  let at = 0;
  for await (const piece of packBytes(store, pack, signal)) {
    hash.update(piece.subarray(0, Math.max(0, trailerAt - at)));
    at += piece.length;
  }
  expect(pack, 'checksum', hash.digest('hex'), pack.checksum.toString('hex'));
}

/** The pack's table with its chunked blobs in their places: their offset is -1, their length that of their entry on the wire. */
function withChunked(verified: VerifiedPack, chunked: readonly ChunkedBlob[]): PackTable {
  if (chunked.length === 0) return verified;
  const width = oidLength(verified.format);
  const extra = [...chunked].sort((a, b) => Buffer.compare(a.oid, b.oid));
  const count = verified.objectCount + extra.length;
  const column = (): Float64Array => new Float64Array(count);
  const table = {
    oids: Buffer.alloc(count * width),
    kinds: new Uint8Array(count),
    sizes: column(),
    offsets: column(),
    lengths: column(),
  };
  for (let at = 0, own = 0, other = 0; at < count; at++) {
    const next = extra[other];
    const ownIsNext =
      next === undefined ||
      (own < verified.objectCount && verified.oids.compare(next.oid, 0, width, own * width, (own + 1) * width) < 0);
    if (ownIsNext) verified.oids.copy(table.oids, at * width, own * width, (own + 1) * width);
    else next.oid.copy(table.oids, at * width);
    table.kinds[at] = ownIsNext ? verified.kinds[own]! : KIND_BLOB;
    table.sizes[at] = ownIsNext ? verified.sizes[own]! : next.recipe.sizeBytes;
    table.offsets[at] = ownIsNext ? verified.offsets[own]! : -1;
    table.lengths[at] = ownIsNext ? verified.lengths[own]! : wireEntryBytes(next.recipe);
    if (ownIsNext) own++;
    else other++;
  }
  return { ...table, objectCount: count, crcs: new Uint32Array(count) };
}

/**
 * What is known of a pack that is byte for byte what it was is believed: it was proven in its day, and `packhouse fsck` proves it again. What
 * follows from the pack alone is found anew: its tips reach all of it when all its sources are commits and tags; it is based when it links to no
 * tree or blob outside.
 */
function linksOf(
  pack: StagedPack,
  verified: VerifiedPack,
  chunked: readonly ChunkedBlob[],
): Pick<IndexedPack, 'facts' | 'links'> {
  const width = oidLength(pack.format);
  const { sources, frontier, graph, bases } = verified;
  const held = oidSet(
    width,
    chunked.map(({ oid }) => oid),
  );
  const linked = new OidMap(width);
  const outside: number[] = [];
  frontier.kinds.forEach((_, i) => {
    linked.add(frontier.oids, i * width);
    if (!held.has(frontier.oids, i * width)) outside.push(i);
  });
  const nodes = new OidMap(width);
  for (const records of graph) {
    readGraphRecords(records, pack.format, {
      commit: (bytes, oidAt) => void nodes.add(bytes, oidAt),
      tag: (bytes, oidAt) => void nodes.add(bytes, oidAt),
    });
  }
  let allReached = sources.length > 0 && chunked.every(({ oid }) => linked.has(oid));
  for (let at = 0; at < sources.length; at += width) if (!nodes.has(sources, at)) allReached = false;
  const kinds = Uint8Array.from(outside, (i) => frontier.kinds[i]!);
  const closed = kinds.every((kind) => kind === KIND_COMMIT || kind === KIND_TAG);
  const tips = pack.allReached ? pack.tips : allReached ? sources : Buffer.alloc(0);
  const oids = Buffer.concat(outside.map((i) => frontier.oids.subarray(i * width, (i + 1) * width)));
  return {
    facts: { allReached: pack.allReached || allReached, based: pack.based || closed, tips },
    links: { frontier: { oids, kinds }, bases, graph },
  };
}

function oidSet(width: number, oids: readonly Buffer[]): OidMap {
  const set = new OidMap(width);
  for (const oid of oids) set.add(oid);
  return set;
}

/** Whether the crate's .idx holds the index that git would write for the pack. */
async function holdsIdx(store: PackStore, crateKey: string, expected: Buffer, width: number): Promise<boolean> {
  const key = sidecarKey(crateKey, 'idx');
  const stored = await store.head(key);
  if (stored === null) return false;
  // Its end, the pack's checksum and its own, finds it among those of the crate's other packs.
  const end = expected.subarray(expected.length - 2 * width);
  let overlap = Buffer.alloc(0);
  for (let at = 0; at < stored.lengthBytes; at += PIECE_BYTES) {
    const piece = await store.get(key, { offset: at, lengthBytes: Math.min(PIECE_BYTES, stored.lengthBytes - at) });
    const bytes = Buffer.concat([overlap, piece]);
    const hit = bytes.indexOf(end);
    if (hit >= 0) {
      const from = at - overlap.length + hit + end.length - expected.length;
      return from >= 0 && (await sameBytes(store, key, from, expected));
    }
    overlap = bytes.subarray(Math.max(0, bytes.length - end.length + 1));
  }
  return false;
}

async function sameBytes(store: PackStore, key: string, from: number, expected: Buffer): Promise<boolean> {
  for (let at = 0; at < expected.length; at += PIECE_BYTES) {
    const piece = expected.subarray(at, at + PIECE_BYTES);
    if (!(await store.get(key, { offset: from + at, lengthBytes: piece.length })).equals(piece)) return false;
  }
  return true;
}
