import { type FileHandle, open } from 'node:fs/promises';
import { PackhouseError } from '../base/mod.ts';

export interface OpenFile {
  readonly handle: FileHandle;
  /** Files here never change once they have a name, so the size at opening stays true. */
  readonly lengthBytes: number;
}

interface Entry {
  readonly opening: Promise<OpenFile>;
  users: number;
  /** No longer in the map: to be closed by its last user. */
  dropped: boolean;
  usedSinceSweep: boolean;
}

/**
 * The least recently used open files, so that ranged reads of one crate open it once.
 *
 * Invariants: an entry is in the map or `dropped`, never both; a handle is closed exactly once, when its entry is dropped and has no
 * user. A file that another process deleted keeps its disk space while it is open here: handles that were not used for one to
 * two idle times are closed.
 */
export class HandleCache {
  readonly #entries = new Map<string, Entry>();
  readonly #closing = new Set<Promise<void>>();
  readonly #filesMax: number;
  readonly #idleMilliseconds: number;
  #sweep: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: { readonly filesMax: number; readonly idleMilliseconds: number }) {
    this.#filesMax = options.filesMax;
    this.#idleMilliseconds = options.idleMilliseconds;
  }

  /** How many files are held open, for tests and metrics. */
  get size(): number {
    return this.#entries.size;
  }

  async use<T>(path: string, work: (file: OpenFile) => Promise<T>): Promise<T> {
    if (this.#closed) throw new PackhouseError('store-unavailable', 'the store has been closed', { path });
    const entry = this.#entryOf(path);
    entry.users += 1;
    try {
      const file = await entry.opening.catch((error: unknown) => {
        if (this.#entries.get(path) === entry) this.drop(path);
        throw error;
      });
      return await work(file);
    } finally {
      entry.users -= 1;
      this.#closeIfDone(entry);
    }
  }

  /** Forgets a file that was deleted or replaced. */
  drop(path: string): void {
    const entry = this.#entries.get(path);
    if (entry === undefined) return;
    this.#entries.delete(path);
    entry.dropped = true;
    this.#closeIfDone(entry);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#sweep);
    for (const path of [...this.#entries.keys()]) this.drop(path);
    await Promise.all(this.#closing);
  }

  #entryOf(path: string): Entry {
    const known = this.#entries.get(path);
    const entry = known ?? { opening: openFile(path), users: 0, dropped: false, usedSinceSweep: true };
    entry.usedSinceSweep = true;
    // Re-inserting moves it to the end: the map's order is the order of last use.
    this.#entries.delete(path);
    this.#entries.set(path, entry);
    if (known === undefined) this.#makeRoom();
    this.#scheduleSweep();
    return entry;
  }

  #makeRoom(): void {
    for (const path of this.#entries.keys()) {
      if (this.#entries.size <= this.#filesMax) return;
      this.drop(path);
    }
  }

  #closeIfDone(entry: Entry): void {
    if (!entry.dropped || entry.users > 0) return;
    const closing = entry.opening.then(({ handle }) => handle.close()).then(undefined, () => {});
    this.#closing.add(closing);
    void closing.finally(() => this.#closing.delete(closing));
  }

  #scheduleSweep(): void {
    if (this.#sweep !== undefined) return;
    this.#sweep = setTimeout(() => {
      this.#sweep = undefined;
      for (const [path, entry] of this.#entries) {
        if (!entry.usedSinceSweep && entry.users === 0) this.drop(path);
        entry.usedSinceSweep = false;
      }
      if (this.#entries.size > 0) this.#scheduleSweep();
    }, this.#idleMilliseconds).unref();
  }
}

async function openFile(path: string): Promise<OpenFile> {
  const handle = await open(path, 'r');
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw Object.assign(new Error(`not a file: ${path}`), { code: 'EISDIR' });
    return { handle, lengthBytes: stat.size };
  } catch (error) {
    await handle.close();
    throw error;
  }
}
