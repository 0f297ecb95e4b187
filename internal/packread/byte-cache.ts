import { keepBytes } from '../base/mod.ts';

/** Least recently used buffers, bounded by their bytes. Everything in it is immutable, so an entry is never stale, only absent. */
export class ByteCache {
  readonly #bytesMax: number;
  readonly #entries = new Map<string, Buffer>();
  #bytes = 0;
  readonly #onLookup: (hit: boolean) => void;

  constructor(bytesMax: number, onLookup: (hit: boolean) => void = () => {}) {
    this.#bytesMax = bytesMax;
    this.#onLookup = onLookup;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get bytesMax(): number {
    return this.#bytesMax;
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
    this.#bytes -= found.length;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  set(key: string, value: Buffer): void {
    const before = this.#entries.get(key);
    if (before !== undefined) {
      this.#bytes -= before.length;
      this.#entries.delete(key);
    }
    if (value.length > this.#bytesMax) return;
    this.#entries.set(key, keepBytes(value));
    this.#bytes += value.length;
    for (const [oldest, buffer] of this.#entries) {
      if (this.#bytes <= this.#bytesMax) break;
      this.#entries.delete(oldest);
      this.#bytes -= buffer.length;
    }
  }
}
