import { PackhouseError } from '../base/mod.ts';
import type { Catalog, Pack } from '../catalog/mod.ts';
import { type PackStore, sidecarKey } from '../packstore/mod.ts';
import { ByteCache } from './byte-cache.ts';
import { DISK_BLOCK_BYTES, type DiskCache } from './disk-cache.ts';
import { PassingReads } from './passing-reads.ts';
import type { Loan } from './piece-memory.ts';

/** Store packs are cached in blocks of this size, aligned in the pack; scattered reads fetch one, sequential reads many at once. */
export const BLOCK_BYTES = 1 << 20;
/** The longest single read from the store. */
const FETCH_BYTES_MAX = 8 << 20;
/** Longer reads go past the disk: they are of single large objects. */
const DISK_READ_BYTES_MAX = 16 << 20;

/** A pack as far as its bytes are concerned: also one of chunks. */
export interface PackExtent extends Pick<Pack, 'id' | 'crateKey' | 'extentOffset' | 'lengthBytes'> {
  readonly tier: Pack['tier'] | 'chunks';
}

/** Bytes that nobody may look at after they are released. */
export interface LentViews {
  readonly views: readonly Buffer[];
  readonly release: () => void;
}

const NOTHING = (): void => {};

export interface PackBytesOptions {
  readonly onLookup?: (hit: boolean) => void;
  /** Where what the store gave is kept beyond memory. */
  readonly disk?: DiskCache | undefined;
}

/**
 * Bytes of live packs: a tail pack's from PostgreSQL, whole; a store pack's from the bucket, in blocks. Cached, bounded by bytes.
 * `peek` answers from the cache without waiting; `load` fetches what `peek` lacked.
 */
export class PackBytes {
  readonly #catalog: Catalog;
  readonly #store: PackStore;
  readonly #cache: ByteCache;
  readonly #loading = new Map<string, Promise<void>>();
  readonly #passing = new PassingReads();
  readonly #disk: DiskCache | undefined;

  constructor(catalog: Catalog, store: PackStore, cacheBytesMax: number, { onLookup, disk }: PackBytesOptions = {}) {
    this.#catalog = catalog;
    this.#store = store;
    this.#cache = new ByteCache(cacheBytesMax, onLookup);
    this.#disk = disk;
  }

  /** Where what is not in packs is asked for: recipes. */
  get catalog(): Catalog {
    return this.#catalog;
  }

  get cache(): ByteCache {
    return this.#cache;
  }

  /** Puts the bytes of a tail pack in the cache that this process has just published. */
  remember(poolId: number, packId: number, bytes: Buffer): void {
    this.#cache.set(tailKey(poolId, packId), bytes);
  }

  /** The cached bytes from `offset` on, at least one and up to the end of their block; undefined when they are not cached. */
  peek(poolId: number, pack: PackExtent, offset: number): Buffer | undefined {
    if (pack.tier === 'tail') return this.#cache.get(tailKey(poolId, pack.id))?.subarray(offset);
    return this.#cache.get(blockKey(pack, Math.floor(offset / BLOCK_BYTES)))?.subarray(offset % BLOCK_BYTES);
  }

  /** Brings `[offset, offset + lengthBytes)` of a pack into the cache, as far as the pack goes. */
  async load(poolId: number, pack: PackExtent, offset: number, lengthBytes: number, signal?: AbortSignal): Promise<void> {
    if (pack.tier === 'tail') return this.#once(tailKey(poolId, pack.id), () => this.#loadTails(poolId, [pack.id]));
    const last = Math.floor((Math.min(offset + lengthBytes, pack.lengthBytes) - 1) / BLOCK_BYTES);
    const waits: Promise<void>[] = [];
    for (let block = Math.floor(offset / BLOCK_BYTES); block <= last; ) {
      if (this.#cache.has(blockKey(pack, block))) {
        block++;
        continue;
      }
      const from = block;
      do block++;
      while (block <= last && (block - from) * BLOCK_BYTES < FETCH_BYTES_MAX && !this.#cache.has(blockKey(pack, block)));
      const to = block;
      waits.push(this.#once(`${blockKey(pack, from)}-${to}`, () => this.#loadBlocks(pack, from, to)));
    }
    await Promise.all(waits);
    signal?.throwIfAborted();
  }

  /** Lets go of what is cached of a store pack: its bytes were not what they should be, and are to be read again. */
  forget(pack: PackExtent): void {
    for (let block = 0; block * BLOCK_BYTES < pack.lengthBytes; block++) this.#cache.delete(blockKey(pack, block));
    this.#passing.clear();
    this.#disk?.forget(diskName(pack), 0, Math.ceil(pack.lengthBytes / DISK_BLOCK_BYTES));
  }

  /** Brings tail packs into the cache, all in one statement. */
  async loadTails(poolId: number, packIds: readonly number[]): Promise<void> {
    const missing = packIds.filter((id) => !this.#cache.has(tailKey(poolId, id)));
    if (missing.length > 0) await this.#loadTails(poolId, missing);
  }

  /** Exactly `[offset, offset + lengthBytes)` of a pack, in one piece. */
  async read(poolId: number, pack: PackExtent, offset: number, lengthBytes: number, signal?: AbortSignal): Promise<Buffer> {
    const { views } = await this.lend(poolId, pack, offset, lengthBytes, signal);
    return views.length === 1 ? views[0]! : Buffer.concat(views, lengthBytes);
  }

  /**
   * Exactly `[offset, offset + lengthBytes)` of a pack, as views of what is cached: nothing is copied. Long reads of big packs go past the cache, so
   * that one clone cannot empty it; chunks of large blobs always do. Those are shared with who asks for the same at the time, and their memory is
   * used again when it is released.
   */
  async lend(poolId: number, pack: PackExtent, offset: number, lengthBytes: number, signal?: AbortSignal): Promise<LentViews> {
    const isLong = lengthBytes >= BLOCK_BYTES && pack.lengthBytes > this.#cache.bytesMax / 2;
    if (pack.tier === 'chunks' || (pack.tier === 'store' && isLong)) {
      const key = `${blockKey(pack, offset)}+${lengthBytes}`;
      const load = (loan: Loan): Promise<Buffer> => this.#get(pack, offset, lengthBytes, { loan });
      const { bytes, release } = await this.#passing.read(key, lengthBytes, load, signal);
      return { views: [bytes], release };
    }
    for (let attempt = 0; attempt < 3; attempt++) {
      const views = this.#assemble(poolId, pack, offset, lengthBytes);
      if (views !== undefined) return { views, release: NOTHING };
      await this.load(poolId, pack, offset, lengthBytes, signal);
    }
    // The cache is smaller than what is asked for at once.
    if (pack.tier === 'store')
      return { views: [await this.#get(pack, offset, lengthBytes, signal && { signal })], release: NOTHING };
    const bytes = (await this.#catalog.tailBytes(poolId, [pack.id])).get(pack.id);
    if (bytes === undefined || bytes.length < offset + lengthBytes) throw missingPack(pack);
    return { views: [bytes.subarray(offset, offset + lengthBytes)], release: NOTHING };
  }

  /** Bytes of the `.reach` beside a pack's crate: how many there are, 0 when it has none, and ranges of them. Not cached here. */
  reachSidecar(pack: PackExtent): { lengthBytes(): Promise<number>; read(offset: number, lengthBytes: number): Promise<Buffer> } {
    const key = sidecarKey(pack.crateKey!, 'reach');
    return {
      lengthBytes: async () => (await this.#store.head(key))?.lengthBytes ?? 0,
      read: (offset, lengthBytes) => this.#store.get(key, { offset, lengthBytes }),
    };
  }

  #assemble(poolId: number, pack: PackExtent, offset: number, lengthBytes: number): Buffer[] | undefined {
    const first = this.peek(poolId, pack, offset);
    if (first === undefined) return undefined;
    if (first.length >= lengthBytes) return [first.subarray(0, lengthBytes)];
    const parts = [first];
    for (let have = first.length; have < lengthBytes; ) {
      const part = this.peek(poolId, pack, offset + have);
      if (part === undefined || part.length === 0) return undefined;
      parts.push(part.subarray(0, lengthBytes - have));
      have += part.length;
    }
    return parts;
  }

  async #once(key: string, load: () => Promise<void>): Promise<void> {
    let running = this.#loading.get(key);
    if (running === undefined) {
      running = load().finally(() => this.#loading.delete(key));
      this.#loading.set(key, running);
    }
    return running;
  }

  async #loadTails(poolId: number, packIds: readonly number[]): Promise<void> {
    const found = await this.#catalog.tailBytes(poolId, packIds);
    for (const [id, bytes] of found) this.#cache.set(tailKey(poolId, id), bytes);
    if (found.size < packIds.length)
      throw new PackhouseError('pack-gone', `tail packs ${packIds.filter((id) => !found.has(id)).join(', ')} are gone`);
  }

  /** Without anybody's signal: several requests may wait for it, and one that goes must not take it from the others. */
  async #loadBlocks(pack: PackExtent, from: number, to: number): Promise<void> {
    const start = from * BLOCK_BYTES;
    const bytes = await this.#get(pack, start, Math.min(to * BLOCK_BYTES, pack.lengthBytes) - start);
    for (let block = from; block < to; block++) {
      const at = (block - from) * BLOCK_BYTES;
      const view = bytes.subarray(at, at + BLOCK_BYTES);
      this.#cache.set(blockKey(pack, block), view);
    }
  }

  /** Of the disk when all of it is there, else of the store: then whole blocks of the disk's, which keeps them. */
  async #get(pack: PackExtent, offset: number, lengthBytes: number, options: ReadOptions = {}): Promise<Buffer> {
    const disk = this.#disk;
    const isBeyond = offset + lengthBytes > pack.lengthBytes;
    if (!disk?.isOpen || isBeyond || lengthBytes > DISK_READ_BYTES_MAX)
      return await this.#fromStore(pack, offset, lengthBytes, options);
    const first = Math.floor(offset / DISK_BLOCK_BYTES);
    const from = first * DISK_BLOCK_BYTES;
    const end = Math.ceil((offset + lengthBytes) / DISK_BLOCK_BYTES) * DISK_BLOCK_BYTES;
    const wide = Math.min(end, pack.lengthBytes) - from;
    const { generation } = disk;
    let bytes = await disk.read(diskName(pack), first, wide, options.loan?.allocate);
    options.signal?.throwIfAborted();
    if (bytes === undefined) {
      try {
        bytes = await this.#fromStore(pack, from, wide, options);
      } catch (error) {
        if (wide === lengthBytes || options.signal?.aborted) throw error;
        // What is beside it may be what cannot be read.
        return await this.#fromStore(pack, offset, lengthBytes, options);
      }
      const written = options.loan?.hold();
      void disk.keep(diskName(pack), first, bytes, generation).then(written);
    }
    const wanted = bytes.subarray(offset - from, offset - from + lengthBytes);
    // Little of it would hold all of it.
    return lengthBytes * 2 < wide ? Buffer.from(wanted) : wanted;
  }

  async #fromStore(pack: PackExtent, offset: number, lengthBytes: number, options: ReadOptions): Promise<Buffer> {
    const { signal, loan } = options;
    const range = {
      offset: pack.extentOffset + offset,
      lengthBytes,
      ...(signal && { signal }),
      ...(loan && { passedOn: loan.allocate }),
    };
    const bytes = await this.#store.get(pack.crateKey!, range);
    if (bytes.length === lengthBytes) return bytes;
    // Kept as it is, it would be short for everybody after.
    const message = `the store gave ${bytes.length} of ${lengthBytes} bytes of pack ${pack.id} at offset ${offset}`;
    throw new PackhouseError('store-short', message, { pack: pack.id, offset, lengthBytes, actualBytes: bytes.length });
  }
}

interface ReadOptions {
  readonly signal?: AbortSignal;
  /** The memory of bytes that are passed on. */
  readonly loan?: Loan;
}

function tailKey(poolId: number, packId: number): string {
  return `tail ${poolId} ${packId}`;
}

function diskName(pack: PackExtent): string {
  return `${pack.crateKey} ${pack.extentOffset}`;
}

function blockKey(pack: PackExtent, block: number): string {
  return `${pack.crateKey} ${pack.extentOffset} ${block}`;
}

function missingPack(pack: PackExtent): PackhouseError {
  return new PackhouseError('pack-gone', `pack ${pack.id} is gone`, { pack: pack.id });
}
