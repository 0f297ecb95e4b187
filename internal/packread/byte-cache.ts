import { keepBytes } from '../base/mod.ts';

/** Least recently used buffers, bounded by their bytes. Everything in it is immutable, so an entry is never stale, only absent. */
export class ByteCache {
  readonly #bytesMax: number;
  readonly #entryBytes: number;
  #part = 1;
  readonly #entries = new Map<string, Buffer>();
  #bytes = 0;
  readonly #onLookup: (hit: boolean) => void;

  /** `entryBytes` is what an entry counts for beside its buffer: small ones take more memory than their bytes. */
  constructor(bytesMax: number, onLookup: (hit: boolean) => void = () => {}, entryBytes = 0) {
    this.#bytesMax = bytesMax;
    this.#entryBytes = entryBytes;
    this.#onLookup = onLookup;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** What it may hold now. */
  get bytesMax(): number {
    return this.#bytesMax * this.#part;
  }

  get(key: string): Buffer | undefined {
    const found = this.#entries.get(key);
    this.#onLookup(found !== undefined);
    if (found === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, found);
    return found;
  }

  delete(key: string): void {
    const found = this.#entries.get(key);
    if (found === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= found.length + this.#entryBytes;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  set(key: string, value: Buffer): void {
    this.delete(key);
    if (value.length + this.#entryBytes > this.bytesMax) return;
    this.#entries.set(key, keepBytes(value));
    this.#bytes += value.length + this.#entryBytes;
    this.#evict();
  }

  /** From now on it holds this part of its bound: of 0 to 1. */
  limitTo(part: number): void {
    this.#part = part;
    this.#evict();
  }

  #evict(): void {
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.bytesMax) break;
      this.delete(oldest);
    }
  }
}
