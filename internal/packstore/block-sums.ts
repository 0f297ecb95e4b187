import { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import { codeOf, PackhouseError } from '../base/mod.ts';
import { assertKey, assertRange, sidecarKey } from './keys.ts';
import { type GetOptions, type PackStore, type PutOptions, type PutSource, RANGE_BYTES_MAX } from './store.ts';

/** Bytes of a crate that one checksum covers. */
export const SUM_BLOCK_BYTES = 32 << 10;
/** Checksums in a page of the sidecar: those of 128 MiB. */
const PAGE_SUMS = 4096;
const PAGE_BYTES = 8 + 4 * PAGE_SUMS + 4;
/** What one page covers. */
const PAGE_SPAN_BYTES = PAGE_SUMS * SUM_BLOCK_BYTES;
/** Pages that are kept, by number: 8 MiB, the checksums of 64 GiB. */
const PAGES_KEPT = 512;
/** How often bytes are read that do not fit their checksums. */
const READS_MAX = 3;

/** Told of each read whose bytes were not what was stored. */
type OnDamage = (key: string, offset: number) => void;

/** The sidecar of a crate while the crate is written. */
class SumsWriter {
  readonly #sums: number[] = [];
  #sum = 0;
  #filled = 0;
  #lengthBytes = 0;

  add(chunk: Uint8Array): void {
    this.#lengthBytes += chunk.length;
    for (let at = 0; at < chunk.length; ) {
      const end = Math.min(at + SUM_BLOCK_BYTES - this.#filled, chunk.length);
      this.#sum = crc32(chunk.subarray(at, end), this.#sum);
      this.#filled += end - at;
      at = end;
      if (this.#filled < SUM_BLOCK_BYTES) continue;
      this.#sums.push(this.#sum);
      [this.#sum, this.#filled] = [0, 0];
    }
  }

  pages(): Buffer {
    const sums = this.#filled === 0 ? this.#sums : [...this.#sums, this.#sum];
    const pages = Buffer.alloc(Math.max(1, Math.ceil(sums.length / PAGE_SUMS)) * PAGE_BYTES);
    for (let at = 0; at < pages.length; at += PAGE_BYTES) {
      const first = (at / PAGE_BYTES) * PAGE_SUMS;
      pages.writeBigUInt64BE(BigInt(this.#lengthBytes), at);
      sums.slice(first, first + PAGE_SUMS).forEach((sum, i) => void pages.writeUInt32BE(sum, at + 8 + 4 * i));
      pages.writeUInt32BE(crc32(pages.subarray(at, at + PAGE_BYTES - 4)), at + PAGE_BYTES - 4);
    }
    return pages;
  }

  /** The same source; what is read of it is summed. */
  over(source: PutSource): PutSource {
    if (source instanceof Uint8Array) {
      this.add(source);
      return source;
    }
    const iterator: AsyncIterator<Uint8Array> = source[Symbol.asyncIterator]();
    const summed: AsyncIterator<Uint8Array> = {
      next: async () => {
        const step = await iterator.next();
        // What is no bytes is refused by the store.
        if (!step.done && step.value instanceof Uint8Array) this.add(step.value);
        return step;
      },
      return: async () => {
        // A stream that waits for its next chunk would not hear of it otherwise.
        if (source instanceof Readable) source.once('error', () => {}).destroy();
        else await iterator.return?.();
        return { done: true, value: undefined };
      },
    };
    return { [Symbol.asyncIterator]: () => summed } as AsyncIterable<Uint8Array>;
  }
}

/**
 * The same store, in which no byte of a crate is given that is not the one that was put: beside a crate lies `.sums`, a CRC-32 of each 32 KiB of
 * it (ARCHITECTURE.md has the layout), and what is read is compared with it. What differs was damaged on its way or in the store: it is read
 * again, then `store-damaged`. Crates without `.sums` are given as they come, and so is what is only passed on from a disk of the machine: that
 * has checks of its own, there is no way on which it could be damaged, and comparing would be a large part of all that such a read costs.
 */
class SummedStore implements PackStore {
  readonly #inner: PackStore;
  readonly #onDamage: OnDamage;
  /** Pages by key and number, in order of use; null: the crate has none. */
  readonly #pages = new Map<string, Promise<Buffer | null>>();
  readonly presignGet: PackStore['presignGet'];

  constructor(inner: PackStore, onDamage: OnDamage) {
    this.#inner = inner;
    this.#onDamage = onDamage;
    this.presignGet = inner.presignGet && ((key, lifeSeconds) => inner.presignGet!(key, lifeSeconds));
  }

  get kind(): PackStore['kind'] {
    return this.#inner.kind;
  }

  /** The checksums come after the crate: a crate is published when both are there. */
  async put(key: string, source: PutSource, options?: PutOptions): Promise<number> {
    if (!isCrate(key)) return await this.#inner.put(key, source, options);
    const sums = new SumsWriter();
    const lengthBytes = await this.#inner.put(key, sums.over(source), options);
    try {
      await this.#inner.put(sidecarKey(key, 'sums'), sums.pages(), options);
    } catch (error) {
      // A put that failed shows nothing; what cannot be taken back is a leftover like others.
      await this.#inner.delete(key).catch(() => {});
      throw error;
    }
    return lengthBytes;
  }

  async get(key: string, options: GetOptions): Promise<Buffer> {
    const { offset, lengthBytes, passedOn } = options;
    if (!isCrate(key) || lengthBytes === 0 || (passedOn && this.kind === 'fs')) return await this.#inner.get(key, options);
    assertRange(key, offset, lengthBytes);
    const first = Math.floor(offset / PAGE_SPAN_BYTES);
    const last = Math.floor((offset + lengthBytes - 1) / PAGE_SPAN_BYTES);
    const start = await this.#page(key, first);
    // No checksums; or too little, of which the store speaks better.
    if (start === null) return await this.#inner.get(key, options);
    const crateBytes = Number(start.readBigUInt64BE(0));
    if (offset + lengthBytes > crateBytes) return await this.#inner.get(key, options);
    const numbers = Array.from({ length: last - first + 1 }, (_, i) => first + i);
    const pages = await Promise.all(numbers.map((number) => this.#page(key, number)));
    const from = offset - (offset % SUM_BLOCK_BYTES);
    const to = Math.min(Math.ceil((offset + lengthBytes) / SUM_BLOCK_BYTES) * SUM_BLOCK_BYTES, crateBytes);
    if (to - from > RANGE_BYTES_MAX) return await this.#inHalves(key, options);
    const read = { ...options, offset: from, lengthBytes: to - from };
    for (let reads = 1; ; reads++) {
      const bytes = await this.#inner.get(key, read);
      const damagedAt = bytes.length === to - from ? damaged(bytes, from, pages, first) : from;
      if (damagedAt < 0) {
        if (bytes.length === lengthBytes) return bytes;
        return passedOn ? bytes.subarray(offset - from, offset - from + lengthBytes) : ownCopy(bytes, offset - from, lengthBytes);
      }
      this.#onDamage(key, damagedAt);
      if (reads === READS_MAX) throw notAsPut(key, damagedAt);
    }
  }

  async head(key: string): ReturnType<PackStore['head']> {
    return await this.#inner.head(key);
  }

  async delete(key: string): Promise<void> {
    assertKey(key);
    if (isCrate(key)) await this.#inner.delete(sidecarKey(key, 'sums'));
    await this.#inner.delete(key);
  }

  list(prefix: string): ReturnType<PackStore['list']> {
    return this.#inner.list(prefix);
  }

  async removeUnfinished(olderThanSeconds: number): Promise<number> {
    return await this.#inner.removeUnfinished(olderThanSeconds);
  }

  async check(): Promise<void> {
    await this.#inner.check();
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  async #inHalves(key: string, { offset, lengthBytes, ...rest }: GetOptions): Promise<Buffer> {
    const half = Math.floor(lengthBytes / 2);
    const bytes = Buffer.allocUnsafeSlow(lengthBytes);
    bytes.set(await this.get(key, { ...rest, offset, lengthBytes: half }));
    bytes.set(await this.get(key, { ...rest, offset: offset + half, lengthBytes: lengthBytes - half }), half);
    return bytes;
  }

  #page(key: string, number: number): Promise<Buffer | null> {
    const name = `${key} ${number}`;
    const page = this.#pages.get(name) ?? this.#loadPage(key, number);
    this.#pages.delete(name);
    this.#pages.set(name, page);
    page.catch(() => {
      if (this.#pages.get(name) === page) this.#pages.delete(name);
    });
    for (const oldest of this.#pages.keys()) {
      if (this.#pages.size <= PAGES_KEPT) break;
      this.#pages.delete(oldest);
    }
    return page;
  }

  /** Without anybody's signal: several may wait for it. */
  async #loadPage(key: string, number: number): Promise<Buffer | null> {
    const sums = sidecarKey(key, 'sums');
    const offset = number * PAGE_BYTES;
    for (let reads = 1; ; reads++) {
      const page = await this.#inner.get(sums, { offset, lengthBytes: PAGE_BYTES }).catch((error: unknown) => {
        if (codeOf(error) !== 'store-missing') throw error;
        return null;
      });
      if (page === null) return null;
      if (page.length === PAGE_BYTES && page.readUInt32BE(PAGE_BYTES - 4) === crc32(page.subarray(0, PAGE_BYTES - 4)))
        return page;
      this.#onDamage(sums, offset);
      if (reads === READS_MAX) throw notAsPut(sums, offset);
    }
  }
}

function isCrate(key: string): boolean {
  return key.endsWith('.pack');
}

/** Where the first block begins that does not fit its checksum; -1 when all do. `bytes` begin with a block, at `from` of the crate. */
function damaged(bytes: Buffer, from: number, pages: readonly (Buffer | null)[], firstPage: number): number {
  for (let at = 0; at < bytes.length; at += SUM_BLOCK_BYTES) {
    const block = (from + at) / SUM_BLOCK_BYTES;
    const page = pages[Math.floor(block / PAGE_SUMS) - firstPage]!;
    const sum = page?.readUInt32BE(8 + 4 * (block % PAGE_SUMS));
    if (crc32(bytes.subarray(at, at + SUM_BLOCK_BYTES)) !== sum) return from + at;
  }
  return -1;
}

function ownCopy(bytes: Buffer, from: number, lengthBytes: number): Buffer {
  const own = Buffer.allocUnsafeSlow(lengthBytes);
  bytes.copy(own, 0, from, from + lengthBytes);
  return own;
}

function notAsPut(key: string, offset: number): PackhouseError {
  const message = `object ${key} at offset ${offset} is not what was put there: read ${READS_MAX} times`;
  return new PackhouseError('store-damaged', message, { key, offset, reads: READS_MAX });
}

/** A store whose crates are compared with checksums when they are read. */
export function withBlockSums(store: PackStore, onDamage: OnDamage = () => {}): PackStore {
  return new SummedStore(store, onDamage);
}
