import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rename, stat, unlink, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { codeOf, failpoint, PackhouseError } from '../base/mod.ts';
import { missing, type StoreOperation, short, unavailable } from './faults.ts';
import { HandleCache, type OpenFile } from './handle-cache.ts';
import { assertKey, assertPrefix, assertRange, isKey, isKeySegment } from './keys.ts';
import { gatherChunks } from './source.ts';
import type { GetOptions, PackStore, PutOptions, PutSource, StoredObject } from './store.ts';

export interface FsStoreOptions {
  /** The folder that holds everything; made when absent. */
  readonly root: string;
  /** Most files kept open between ranged reads; 64 unless told. */
  readonly openFilesMax?: number;
}

/** No key starts with a dot, so temporary files are out of the keys' reach. */
const TEMPORARY = '.tmp';
const WRITE_BYTES = 256 * 1024;
const READ_BYTES_MAX = 512 * 1024 * 1024;
const IDLE_MILLISECONDS = 30_000;
const ABSENT = new Set(['ENOENT', 'ENOTDIR', 'EISDIR']);

function isAbsent(error: unknown): boolean {
  return ABSENT.has(codeOf(error) ?? '');
}

/** Makes a folder's entries (a new name, a new file) survive a power cut. */
async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function readRange({ handle }: OpenFile, key: string, offset: number, bytes: Buffer): Promise<void> {
  const lengthBytes = bytes.length;
  for (let filled = 0; filled < lengthBytes; ) {
    const { bytesRead } = await handle.read(bytes, filled, Math.min(lengthBytes - filled, READ_BYTES_MAX), offset + filled);
    if (bytesRead === 0) throw short(key, offset, lengthBytes, offset + filled);
    filled += bytesRead;
  }
}

/**
 * Objects as files under `root`, named by their keys.
 *
 * A put writes `<root>/.tmp/<random>`, syncs it, renames it to its name and syncs the folders that name it, so that a
 * crash at any point leaves the whole object or a temporary file. `.tmp` also marks the root: when it is gone the disk is not
 * mounted, and nothing is called missing.
 */
class FsStore implements PackStore {
  readonly kind = 'fs';
  readonly #root: string;
  readonly #handles: HandleCache;
  #rootReady: Promise<void> | undefined;
  /** Folders that this process knows to be on disk for good; a failure is forgotten. */
  readonly #folders = new Map<string, Promise<void>>();

  constructor(options: FsStoreOptions) {
    this.#root = resolve(options.root);
    this.#handles = new HandleCache({ filesMax: options.openFilesMax ?? 64, idleMilliseconds: IDLE_MILLISECONDS });
  }

  async put(key: string, source: PutSource, { signal }: PutOptions = {}): Promise<number> {
    assertKey(key);
    signal?.throwIfAborted();
    await this.#attempt('put', key, () => this.#ready());
    const temporary = join(this.#root, TEMPORARY, randomUUID());
    try {
      const lengthBytes = await this.#writeTemporary(key, temporary, source, signal);
      signal?.throwIfAborted();
      await failpoint('fs.file-written');
      await this.#attempt('put', key, () => this.#publish(key, temporary));
      return lengthBytes;
    } catch (error) {
      await unlink(temporary).catch(() => {});
      throw error;
    }
  }

  async get(key: string, { offset, lengthBytes, signal, passedOn }: GetOptions): Promise<Buffer> {
    assertKey(key);
    assertRange(key, offset, lengthBytes);
    signal?.throwIfAborted();
    try {
      const bytes = await this.#handles.use(this.#path(key), async (file) => {
        if (offset + lengthBytes > file.lengthBytes) throw short(key, offset, lengthBytes, file.lengthBytes);
        const range = (passedOn ?? Buffer.allocUnsafeSlow)(lengthBytes);
        await readRange(file, key, offset, range);
        return range;
      });
      signal?.throwIfAborted();
      return bytes;
    } catch (error) {
      if (signal?.aborted) throw error;
      if (!isAbsent(error)) throw unavailable('get', key, error);
      await this.#assertRoot('get', key);
      throw missing(key, error);
    }
  }

  async head(key: string): Promise<StoredObject | null> {
    assertKey(key);
    const found = await this.#attempt('head', key, () => this.#describe(key));
    if (found === null) await this.#assertRoot('head', key);
    return found;
  }

  async delete(key: string): Promise<void> {
    assertKey(key);
    const path = this.#path(key);
    try {
      await unlink(path);
      await syncFolder(dirname(path));
    } catch (error) {
      if (!isAbsent(error)) throw unavailable('delete', key, error);
      await this.#assertRoot('delete', key);
    } finally {
      // After the unlink: a handle opened before it would go on serving the deleted bytes.
      this.#handles.drop(path);
    }
  }

  async *list(prefix: string): AsyncGenerator<StoredObject> {
    assertPrefix(prefix);
    await this.#assertRoot('list', prefix);
    yield* this.#walk('', prefix);
  }

  async removeUnfinished(olderThanSeconds: number): Promise<number> {
    return await this.#attempt('remove-unfinished', '', async () => {
      await this.#ready();
      const folder = join(this.#root, TEMPORARY);
      const touchedBefore = (await this.#clockMs(folder)) - olderThanSeconds * 1000;
      let removed = 0;
      for (const name of await readdir(folder)) {
        const path = join(folder, name);
        const found = await stat(path).catch(() => null);
        if (found === null || !found.isFile() || found.mtimeMs >= touchedBefore) continue;
        await unlink(path);
        removed += 1;
      }
      return removed;
    });
  }

  /** What the file system takes for now: files are as old as it says, on whatever machine it runs. */
  async #clockMs(folder: string): Promise<number> {
    const path = join(folder, randomUUID());
    try {
      await writeFile(path, '');
      return (await stat(path)).mtimeMs;
    } catch {
      // On a disk that is full there may be no room for one more name, and much to remove.
      return Date.now();
    } finally {
      await unlink(path).catch(() => {});
    }
  }

  async check(): Promise<void> {
    const probe = Buffer.from(randomUUID());
    await this.#attempt('check', '', async () => {
      await this.#ready();
      const path = join(this.#root, TEMPORARY, randomUUID());
      try {
        const handle = await open(path, 'wx+', 0o600);
        try {
          await handle.writeFile(probe);
          await handle.sync();
          const back = Buffer.alloc(probe.length);
          await handle.read(back, 0, back.length, 0);
          if (!back.equals(probe)) throw new Error('what was written did not come back');
        } finally {
          await handle.close();
        }
      } finally {
        await unlink(path).catch(() => {});
      }
    });
  }

  async close(): Promise<void> {
    await this.#handles.close();
  }

  #path(key: string): string {
    return join(this.#root, key);
  }

  async #attempt<T>(operation: StoreOperation, key: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw unavailable(operation, key, error);
    }
  }

  /** Makes root and `.tmp` once; a failure is tried again by the next operation. */
  #ready(): Promise<void> {
    this.#rootReady ??= this.#makeRoot().catch((error: unknown) => {
      this.#rootReady = undefined;
      throw error;
    });
    return this.#rootReady;
  }

  async #makeRoot(): Promise<void> {
    const marker = join(this.#root, TEMPORARY);
    const first = (await mkdir(marker, { recursive: true, mode: 0o700 })) ?? marker;
    // Every folder that got a new entry must keep it, from the marker up to where the first new folder hangs.
    for (let path = marker; path !== dirname(first); path = dirname(path)) await syncFolder(dirname(path));
  }

  /** An absent name means a missing object only while the store's own mark is there. */
  async #assertRoot(operation: StoreOperation, key: string): Promise<void> {
    await this.#attempt(operation, key, async () => {
      await this.#ready();
      const found = await stat(join(this.#root, TEMPORARY)).catch(() => null);
      if (found?.isDirectory()) return;
      const message = `the root of the pack store has vanished: ${this.#root}`;
      throw new PackhouseError('store-unavailable', message, { operation, key, root: this.#root });
    });
  }

  async #writeTemporary(key: string, path: string, source: PutSource, signal: AbortSignal | undefined): Promise<number> {
    const handle = await this.#attempt('put', key, () => open(path, 'wx', 0o600));
    try {
      let lengthBytes = 0;
      for await (const bytes of gatherChunks(source, WRITE_BYTES, signal)) {
        await this.#attempt('put', key, () => handle.writeFile(bytes));
        lengthBytes += bytes.length;
      }
      await this.#attempt('put', key, () => handle.sync());
      return lengthBytes;
    } finally {
      await this.#closeWritten(key, handle);
    }
  }

  async #closeWritten(key: string, handle: FileHandle): Promise<void> {
    await this.#attempt('put', key, () => handle.close());
  }

  async #publish(key: string, temporary: string): Promise<void> {
    const path = this.#path(key);
    await this.#ensureFolder(dirname(path));
    await rename(temporary, path).catch((error: unknown) => {
      this.#folders.delete(dirname(path));
      throw error;
    });
    this.#handles.drop(path);
    await failpoint('fs.file-renamed');
    await syncFolder(dirname(path));
  }

  #ensureFolder(folder: string): Promise<void> {
    const known = this.#folders.get(folder);
    if (known !== undefined) return known;
    const making = this.#makeFolder(folder);
    this.#folders.set(folder, making);
    making.catch(() => this.#folders.delete(folder));
    return making;
  }

  /** Another process may have made a folder and not synced it yet, so each one up to the root is synced whoever made it. */
  async #makeFolder(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (let path = folder; path !== this.#root; path = dirname(path)) await syncFolder(dirname(path));
  }

  async #describe(key: string): Promise<StoredObject | null> {
    try {
      const found = await stat(this.#path(key));
      return found.isFile() ? { key, lengthBytes: found.size, modifiedAt: found.mtime } : null;
    } catch (error) {
      if (isAbsent(error)) return null;
      throw error;
    }
  }

  /** Keys under `folder` ('' or ending with a slash) in byte order; folders that cannot hold `prefix` are not read. */
  async *#walk(folder: string, prefix: string): AsyncGenerator<StoredObject> {
    const names = await this.#attempt('list', folder, () => this.#namesIn(folder));
    for (const name of names) {
      const path = folder + name;
      if (name.endsWith('/')) {
        if (path.startsWith(prefix) || prefix.startsWith(path)) yield* this.#walk(path, prefix);
      } else if (path.startsWith(prefix) && isKey(path)) {
        const found = await this.#attempt('list', path, () => this.#describe(path));
        if (found !== null) yield found;
      }
    }
  }

  /** A folder's name counts with its slash: `a-b` comes before `a/b`, as it does among keys. */
  async #namesIn(folder: string): Promise<string[]> {
    try {
      const entries = await readdir(join(this.#root, folder), { withFileTypes: true });
      return entries
        .filter((entry) => isKeySegment(entry.name) && (entry.isFile() || entry.isDirectory()))
        .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
        .sort();
    } catch (error) {
      if (isAbsent(error)) return [];
      throw error;
    }
  }
}

/** A store in a folder of a local or mounted file system. Nothing is touched before the first operation. */
export function createFsStore(options: FsStoreOptions): PackStore {
  return new FsStore(options);
}
