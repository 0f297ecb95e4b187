import { PackhouseError } from '../base/mod.ts';
import type { Pack } from '../catalog/mod.ts';
import { oidLength } from '../object/mod.ts';
import {
  applyDelta,
  ENTRY_HEADER_BYTES_MAX,
  ENTRY_OFS_DELTA,
  ENTRY_REF_DELTA,
  emptyEntryHeader,
  Inflater,
  readEntryHeader,
} from '../packformat/mod.ts';
import { BLOCK_BYTES, type PackBytes } from './pack-bytes.ts';
import type { Location, PoolIndex } from './pool-index.ts';

export interface StoredObject {
  readonly kind: number;
  readonly data: Buffer;
}

/** What a read that found too little in the caches needs next. */
type Need = { readonly pack: Pack; readonly offset: number; readonly lengthBytes: number } | { readonly oid: Buffer };

const OBJECT_CACHE_BYTES = 32 << 20;
const OBJECT_CACHED_BYTES_MAX = 1 << 20;

/**
 * Objects of one pool as whole bytes, deltas applied. Works through what is cached without waiting, and waits only for what is not.
 * Keeps recently read objects, since a delta's base is soon a base again.
 */
export class ObjectReader {
  readonly #bytes: PackBytes;
  readonly #index: PoolIndex;
  readonly #oidBytes: number;
  readonly #inflater = new Inflater();
  readonly #header = emptyEntryHeader();
  readonly #cache = new Map<string, StoredObject>();
  #cacheBytes = 0;

  constructor(bytes: PackBytes, index: PoolIndex) {
    this.#bytes = bytes;
    this.#index = index;
    this.#oidBytes = oidLength(index.format);
  }

  /** The object at a location. @throws PackhouseError `pack-corrupt`, `pack-gone`, or what the store throws */
  async read(location: Location, signal?: AbortSignal): Promise<StoredObject> {
    for (;;) {
      const result = this.tryRead(location);
      if ('kind' in result) return result;
      if ('oid' in result) {
        await this.#index.find(result.oid);
      } else {
        await this.#bytes.load(this.#index.poolId, result.pack, result.offset, result.lengthBytes, signal);
      }
    }
  }

  /** The object when all of it is cached, else what is needed first. */
  tryRead(location: Location): StoredObject | Need {
    const deltas: Buffer[] = [];
    const keys: string[] = [];
    let { pack, offset } = location;
    for (;;) {
      const key = `${pack.id} ${offset}`;
      const cached = this.#cache.get(key);
      if (cached !== undefined) return this.#apply(cached, deltas, keys);
      const stream = this.#readStream(pack, offset);
      if (!('data' in stream)) return stream;
      if (stream.type <= 4) return this.#apply(this.#keep(key, { kind: stream.type, data: stream.data }), deltas, keys);
      deltas.push(stream.data);
      keys.push(key);
      if (stream.type === ENTRY_OFS_DELTA) {
        offset -= stream.distance;
      } else {
        const base = this.#index.peek(stream.base!, 0);
        if (base === undefined) return { oid: stream.base! };
        if (base === null) throw corrupt(pack, offset, `delta base ${stream.base!.toString('hex')} is absent`);
        pack = base.pack;
        offset = base.offset;
      }
      if (deltas.length > 100_000) throw corrupt(pack, offset, 'delta chain does not end');
    }
  }

  #apply(base: StoredObject, deltas: readonly Buffer[], keys: readonly string[]): StoredObject {
    let object = base;
    for (let i = deltas.length - 1; i >= 0; i--) object = this.#keep(keys[i]!, { kind: base.kind, data: applyDelta(object.data, deltas[i]!) });
    return object;
  }

  #keep(key: string, object: StoredObject): StoredObject {
    if (object.data.length > OBJECT_CACHED_BYTES_MAX) return object;
    this.#cache.set(key, object);
    this.#cacheBytes += object.data.length + 100;
    for (const [oldest, old] of this.#cache) {
      if (this.#cacheBytes <= OBJECT_CACHE_BYTES) break;
      this.#cache.delete(oldest);
      this.#cacheBytes -= old.data.length + 100;
    }
    return object;
  }

  /** The inflated stream of the entry at an offset, whose length need not be known. */
  #readStream(pack: Pack, offset: number): { type: number; distance: number; base: Buffer | null; data: Buffer } | Need {
    const poolId = this.#index.poolId;
    let bytes = this.#bytes.peek(poolId, pack, offset);
    if (bytes === undefined) return { pack, offset, lengthBytes: 1 };
    let span = bytes.length;
    for (;;) {
      const header = this.#header;
      const whole = readEntryHeader(bytes, 0, bytes.length, this.#oidBytes, header);
      if (whole) {
        const data = Buffer.allocUnsafe(header.size + 1);
        const consumed = this.#inflater.inflateInto(bytes, header.headerBytes, bytes.length, data, 0, header.size);
        if (consumed >= 0) {
          const base = header.type === ENTRY_REF_DELTA ? Buffer.from(bytes.subarray(header.baseAt, header.baseAt + this.#oidBytes)) : null;
          return { type: header.type, distance: header.distance, base, data: data.subarray(0, header.size) };
        }
      }
      if (offset + span >= pack.lengthBytes) throw corrupt(pack, offset, 'entry runs past the end');
      const wanted = Math.max(span + BLOCK_BYTES, whole ? header.size / 2 : ENTRY_HEADER_BYTES_MAX);
      const parts = [bytes];
      for (let have = span; have < wanted && offset + have < pack.lengthBytes; ) {
        const part = this.#bytes.peek(poolId, pack, offset + have);
        if (part === undefined) return { pack, offset, lengthBytes: wanted };
        parts.push(part);
        have += part.length;
      }
      bytes = Buffer.concat(parts);
      span = bytes.length;
    }
  }
}

function corrupt(pack: Pack, offset: number, why: string): PackhouseError {
  return new PackhouseError('pack-corrupt', `pack ${pack.id} at offset ${offset}: ${why}`, { pack: pack.id, offset });
}
