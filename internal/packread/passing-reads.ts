/** Answers that are sent side by side ask for the same bytes within moments. */
const KEPT_MS = 1_000;
const KEPT_BYTES_MAX = 16 << 20;

interface Read {
  readonly bytes: Promise<Buffer>;
  readonly lengthBytes: number;
  readonly timer: NodeJS.Timeout;
}

/**
 * Long reads that are passed on to clients and not cached: whoever asks for the same bytes within a second shares them, so that clones of one
 * repository that begin together read it once. The oldest go when more than 16 MiB are kept; who has asked still gets them.
 */
export class PassingReads {
  readonly #reads = new Map<string, Read>();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** What `load` gives, which is called unless the same is at hand. Nobody's signal ends it: others may wait for it. */
  async read(key: string, lengthBytes: number, load: () => Promise<Buffer>, signal?: AbortSignal): Promise<Buffer> {
    signal?.throwIfAborted();
    const read = this.#reads.get(key) ?? this.#begin(key, lengthBytes, load);
    if (signal === undefined) return read.bytes;
    return new Promise((resolve, reject) => {
      const stop = (): void => reject(signal.reason as Error);
      signal.addEventListener('abort', stop, { once: true });
      read.bytes.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
    });
  }

  /** Who asks from now on reads anew. */
  clear(): void {
    for (const [key, read] of this.#reads) this.#forget(key, read);
  }

  #begin(key: string, lengthBytes: number, load: () => Promise<Buffer>): Read {
    const bytes = load();
    const read: Read = { bytes, lengthBytes, timer: setTimeout(() => this.#forget(key, read), KEPT_MS).unref() };
    this.#reads.set(key, read);
    this.#bytes += lengthBytes;
    bytes.catch(() => this.#forget(key, read));
    for (const [oldest, other] of this.#reads) {
      if (this.#bytes <= KEPT_BYTES_MAX || other === read) break;
      this.#forget(oldest, other);
    }
    return read;
  }

  #forget(key: string, read: Read): void {
    if (this.#reads.get(key) !== read) return;
    clearTimeout(read.timer);
    this.#reads.delete(key);
    this.#bytes -= read.lengthBytes;
  }
}
