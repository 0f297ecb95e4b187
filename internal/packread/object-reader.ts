import { keepBytes, PackhouseError } from '../base/mod.ts';
import type { Pack } from '../catalog/mod.ts';
import { KIND_COMMIT, KIND_TAG, kindName, oidLength } from '../object/mod.ts';
import {
  applyDelta,
  ENTRY_HEADER_BYTES_MAX,
  ENTRY_REF_DELTA,
  emptyEntryHeader,
  Inflater,
  readEntryHeader,
} from '../packformat/mod.ts';
import { ChunkedBlobs, type ChunkedLocation } from './chunked-blobs.ts';
import type { Location } from './location.ts';
import { BLOCK_BYTES, type PackBytes } from './pack-bytes.ts';
import type { PoolIndex } from './pool-index.ts';

export interface StoredObject {
  readonly kind: number;
  readonly data: Buffer;
}

/** What a read that found too little in the caches needs next. */
type Need =
  | { readonly pack: Pack; readonly offset: number; readonly lengthBytes: number }
  | { readonly base: Buffer }
  | { readonly chunked: ChunkedLocation };

type Place = Pick<Location, 'pack' | 'offset'> | ChunkedLocation;

/** One delta on the way down a chain: what it makes of its base, and where else that base may be read. */
interface Step {
  readonly key: string;
  readonly delta: Buffer;
  readonly otherBases: Place[];
}

/** How far a read has come down a delta chain, youngest delta first, and the entry that it stands at. */
interface Descent {
  readonly steps: Step[];
  readonly visited: Set<string>;
  readonly packs: Set<Pack>;
  place: Place;
  /** The chunked blob at `place`, once it was read: there a chain ends. */
  whole: StoredObject | null;
}

const OBJECT_CACHE_BYTES = 32 << 20;
const OBJECT_CACHED_BYTES_MAX = 4 << 20;
/** The next version may be larger by this part of it. */
const ROOM_SLACK_SHIFT = 6;
/** The largest chunked blob that is ever made whole here: larger ones are read in ranges. */
const CHUNKED_BYTES_MAX = 64 << 20;
/** What a byte of a zlib stream can stand for, and some more for the header before it. */
const INFLATED_PER_BYTE_MAX = 1100;
/** One for all pools: an entry is inflated without a wait in between, and each decoder takes 60 KiB. */
const inflater = new Inflater();

/** More unsound objects than this are no accident of the way. */
const DOUBTED_MAX = 1000;

/**
 * Objects of one pool as whole bytes, deltas applied. Works through what is cached without waiting, and waits only for what is not.
 * Keeps recently read objects, since a delta's base is soon a base again.
 */
export class ObjectReader {
  readonly #bytes: PackBytes;
  readonly #index: PoolIndex;
  readonly #oidBytes: number;
  /** Large blobs, for whoever does not want them whole. */
  readonly chunked: ChunkedBlobs;
  readonly #header = emptyEntryHeader();
  readonly #cache = new Map<string, StoredObject>();
  #cacheBytes = 0;
  /** Objects whose bytes were read once more because they were not sound. */
  readonly #doubted = new Set<string>();

  /** Bytes of the objects and recipes that are kept. */
  get bytes(): number {
    return this.#cacheBytes + this.chunked.bytes;
  }

  constructor(bytes: PackBytes, index: PoolIndex) {
    this.#bytes = bytes;
    this.#index = index;
    this.#oidBytes = oidLength(index.format);
    this.chunked = new ChunkedBlobs(bytes, index.poolId);
  }

  /** The object at a location. @throws PackhouseError `pack-corrupt`, `pack-gone`, `object-too-large`, or what the store throws */
  async read(location: Location, signal?: AbortSignal): Promise<StoredObject> {
    const { poolId } = this.#index;
    let descent = startAt(location);
    let held: Buffer | undefined;
    let before: Need | null = null;
    for (;;) {
      signal?.throwIfAborted();
      let result: StoredObject | Need;
      try {
        result = this.#descend(descent, held);
        held = undefined;
        if ('kind' in result) return asStored(result, location);
      } catch (error) {
        if (!this.#doubts(location, descent)) throw error;
        descent = startAt(location);
        held = undefined;
        before = null;
        continue;
      }
      if ('chunked' in result) {
        const data = await this.chunked.whole(result.chunked, CHUNKED_BYTES_MAX, signal);
        descent.whole = { kind: result.chunked.kind, data };
      } else if ('base' in result) {
        await this.#index.loadForBase(result.base);
      } else if (before !== null && 'offset' in before && before.pack === result.pack && before.offset === result.offset) {
        // The cache could not keep what it was given: it is smaller than this entry, or others are in need of it too.
        held = await this.#bytes.read(
          poolId,
          result.pack,
          result.offset,
          Math.min(result.lengthBytes, result.pack.lengthBytes - result.offset),
          signal,
        );
      } else {
        await this.#bytes.load(poolId, result.pack, result.offset, result.lengthBytes, signal);
      }
      before = result;
    }
  }

  /** The object when all of it is cached and sound, else what is needed first. */
  tryRead(location: Location): StoredObject | Need {
    try {
      const result = this.#descend(startAt(location));
      return 'kind' in result ? asStored(result, location) : result;
    } catch {
      // `read` finds the same, and asks once more or says so.
      return { pack: location.pack, offset: location.offset, lengthBytes: 1 };
    }
  }

  /**
   * Goes on down a chain as far as the caches reach; `held` are bytes of the entry that it stands at. A base that is named by oid may be stored
   * in several places, some of which lead back to where the chain has been: then the next one is tried, so a chain that has an end is found.
   */
  #descend(descent: Descent, held?: Buffer): StoredObject | Need {
    for (let own = held; ; own = undefined) {
      const { place } = descent;
      const { pack, offset } = place;
      const key = keyOf(place);
      if (isChunkedPlace(place)) {
        if (descent.whole === null) return { chunked: place };
        return this.#apply(descent.whole, descent.steps);
      }
      descent.packs.add(pack);
      const cached = this.#cache.get(key);
      if (cached !== undefined) return this.#apply(cached, descent.steps);
      const stream = this.#readStream(pack, offset, own);
      if (!('data' in stream)) return stream;
      if (stream.type <= 4) return this.#apply(this.#keep(key, { kind: stream.type, data: stream.data }), descent.steps);
      if (stream.base === null && stream.distance > offset) throw corrupt(pack, offset, 'delta base is before the pack');
      const bases =
        stream.base === null ? [{ pack, offset: offset - stream.distance }] : this.#index.peekBases(pack, stream.base, 0);
      if (bases === undefined) return { base: stream.base! };
      if (bases.length === 0) throw corrupt(pack, offset, `delta base ${stream.base!.toString('hex')} is absent`);
      descent.visited.add(key);
      descent.steps.push({ key, delta: stream.data, otherBases: [...bases].reverse() });
      if (!goOn(descent)) throw corrupt(pack, offset, 'delta chain does not end');
    }
  }

  /** What is too large to be kept is made in two rooms by turns: a chain of fifty versions is not fifty of them for the collector. */
  #apply(base: StoredObject, steps: readonly Step[]): StoredObject {
    let object = base;
    let room: Buffer | null = null;
    let spare: Buffer | null = null;
    let made: Buffer | null = null;
    const allocate = (bytes: number): Buffer => {
      if (bytes <= OBJECT_CACHED_BYTES_MAX) return Buffer.allocUnsafe(bytes);
      made = spare !== null && spare.length >= bytes ? spare : Buffer.allocUnsafe(bytes + (bytes >>> ROOM_SLACK_SHIFT));
      return made.subarray(0, bytes);
    };
    for (let i = steps.length - 1; i >= 0; i--) {
      const { key, delta } = steps[i]!;
      made = null;
      object = this.#keep(key, { kind: base.kind, data: applyDelta(object.data, delta, allocate) });
      spare = room;
      room = made;
    }
    return object;
  }

  #keep(key: string, object: StoredObject): StoredObject {
    if (object.data.length > OBJECT_CACHED_BYTES_MAX) return object;
    this.#cache.set(key, { kind: object.kind, data: keepBytes(object.data) });
    this.#cacheBytes += object.data.length + 100;
    for (const [oldest, old] of this.#cache) {
      if (this.#cacheBytes <= OBJECT_CACHE_BYTES) break;
      this.#cache.delete(oldest);
      this.#cacheBytes -= old.data.length + 100;
    }
    return object;
  }

  /** The inflated stream of the entry at an offset, whose length need not be known. */
  #readStream(
    pack: Pack,
    offset: number,
    held?: Buffer,
  ): { type: number; distance: number; base: Buffer | null; data: Buffer } | Need {
    const poolId = this.#index.poolId;
    let bytes = held ?? this.#bytes.peek(poolId, pack, offset);
    if (bytes === undefined) return { pack, offset, lengthBytes: 1 };
    let span = bytes.length;
    for (;;) {
      const header = this.#header;
      const whole = readEntryHeader(bytes, 0, bytes.length, this.#oidBytes, header);
      if (whole) {
        if (header.size > (pack.lengthBytes - offset) * INFLATED_PER_BYTE_MAX)
          throw corrupt(pack, offset, `entry claims ${header.size} bytes, more than the rest of the pack can hold`);
        const data = Buffer.allocUnsafe(header.size + 1);
        const consumed = inflater.inflateInto(bytes, header.headerBytes, bytes.length, data, 0, header.size);
        if (consumed >= 0) {
          const base =
            header.type === ENTRY_REF_DELTA ? Buffer.from(bytes.subarray(header.baseAt, header.baseAt + this.#oidBytes)) : null;
          return { type: header.type, distance: header.distance, base, data: data.subarray(0, header.size) };
        }
      }
      if (offset + span >= pack.lengthBytes) throw corrupt(pack, offset, 'entry runs past the end');
      // Twice as much each time, so that a long entry is not inflated again for every block of it.
      const wanted = Math.max(2 * span, BLOCK_BYTES, whole ? Math.ceil(header.size / 2) : ENTRY_HEADER_BYTES_MAX);
      const parts = [bytes];
      for (let have = span; have < wanted && offset + have < pack.lengthBytes; ) {
        const part = this.#bytes.peek(poolId, pack, offset + have);
        if (part === undefined) return { pack, offset, lengthBytes: wanted };
        if (part.length === 0) throw corrupt(pack, offset, 'the stored pack ends early');
        parts.push(part);
        have += part.length;
      }
      bytes = Buffer.concat(parts);
      span = bytes.length;
    }
  }

  /** Whether an unsound object of the store is to be read once more: a byte that was damaged on its way must not stay damaged in the cache. */
  #doubts(location: Location, { packs }: Descent): boolean {
    const key = `${location.pack.id} ${location.offset}`;
    const stored = [...packs].filter(({ tier }) => tier === 'store');
    if (stored.length === 0 || this.#doubted.has(key) || this.#doubted.size >= DOUBTED_MAX) return false;
    this.#doubted.add(key);
    for (const pack of stored) this.#bytes.forget(pack);
    this.#cache.clear();
    this.#cacheBytes = 0;
    return true;
  }
}

/** The object, which must be what its location says. A header that was damaged may still be one, of another object. @throws PackhouseError */
function asStored(object: StoredObject, { pack, offset, kind, sizeBytes }: Location): StoredObject {
  if (object.kind === kind && object.data.length === sizeBytes) return object;
  const stored = kind >= KIND_COMMIT && kind <= KIND_TAG ? kindName(kind) : `kind ${kind}`;
  const found = `${kindName(object.kind)} of ${object.data.length} bytes`;
  throw corrupt(pack, offset, `a ${found} stands where a ${stored} of ${sizeBytes} bytes was stored`);
}

function startAt(place: Place): Descent {
  return { steps: [], visited: new Set(), packs: new Set(), place, whole: null };
}

function isChunkedPlace(place: Place): place is ChunkedLocation {
  return 'chunkedOid' in place && place.chunkedOid !== undefined;
}

function keyOf(place: Place): string {
  return isChunkedPlace(place) ? `${place.pack.id} ${place.chunkedOid.toString('hex')}` : `${place.pack.id} ${place.offset}`;
}

/** Moves on to the next place that was not visited yet, giving up deltas all of whose bases were; false when there is none left. */
function goOn(descent: Descent): boolean {
  for (let step = descent.steps.at(-1); step !== undefined; step = descent.steps.at(-1)) {
    for (let next = step.otherBases.pop(); next !== undefined; next = step.otherBases.pop()) {
      if (descent.visited.has(keyOf(next))) continue;
      descent.place = next;
      return true;
    }
    descent.steps.pop();
  }
  return false;
}

function corrupt(pack: Pack, offset: number, why: string): PackhouseError {
  return new PackhouseError('pack-corrupt', `pack ${pack.id} at offset ${offset}: ${why}`, { pack: pack.id, offset });
}
