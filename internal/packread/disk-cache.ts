import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, statfs, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

/** How much is kept and let go of at a time: readers' pieces end at multiples of it. */
export const DISK_BLOCK_BYTES = 512 << 10;
/** What waits to be written; more is not kept. */
const WRITING_BYTES_MAX = 16 << 20;

interface Block {
  readonly slot: number;
  readonly lengthBytes: number;
  readonly sum: number;
  /** Reads under way: its place is not given to another before they have ended. */
  readers: number;
  isDropped: boolean;
}

export interface DiskCacheOptions {
  /** Made when it is not there. */
  readonly folder: string;
  /** At most half of what is free there is taken. */
  readonly bytesMax: number;
  readonly onLookup?: (hit: boolean) => void;
  /** The disk did not take what was written; from then on nothing is kept. */
  readonly onFault?: (error: Error) => void;
}

/**
 * Blocks of what an object store was asked for, on a disk of the machine; the least recently used give way. They lie in one file without a name, so
 * that nothing is left of it when the process ends, however it ends, and no other process reads it. What cannot be read or written is as if it
 * were not there.
 */
export class DiskCache {
  readonly #file: FileHandle;
  readonly #onLookup: (hit: boolean) => void;
  readonly #onFault: (error: Error) => void;
  #slotsMax: number;
  /** By name, in order of use. */
  readonly #blocks = new Map<string, Block>();
  readonly #free: number[] = [];
  /** Places in the file that were ever taken. */
  #slots = 0;
  #writingBytes = 0;
  #forgettings = 0;
  readonly #running = new Set<Promise<unknown>>();
  #emptied: Promise<void> = Promise.resolve();

  private constructor(file: FileHandle, slotsMax: number, { onLookup = () => {}, onFault = () => {} }: DiskCacheOptions) {
    this.#file = file;
    this.#slotsMax = slotsMax;
    this.#onLookup = onLookup;
    this.#onFault = onFault;
  }

  /** @throws an error of the file system, when there cannot be a file */
  static async open(options: DiskCacheOptions): Promise<DiskCache> {
    await mkdir(options.folder, { recursive: true });
    const path = join(options.folder, `.cache-${randomBytes(8).toString('hex')}`);
    const file = await open(path, 'wx+', 0o600);
    await unlink(path);
    const { bavail, bsize } = await statfs(options.folder);
    const bytesMax = Math.min(options.bytesMax, (bavail * bsize) / 2);
    return new DiskCache(file, Math.floor(bytesMax / DISK_BLOCK_BYTES), options);
  }

  /**
   * `lengthBytes` of the blocks of `name` from block `first` on, only the last of which may be short; undefined unless all of them are here.
   * Bytes that are `kept` in memory are compared with their checksums, what is passed on to a client is not: it has its own.
   */
  async read(name: string, first: number, lengthBytes: number, isKept: boolean): Promise<Buffer | undefined> {
    const blocks = this.#find(name, first, lengthBytes);
    this.#onLookup(blocks !== undefined);
    if (blocks === undefined) return undefined;
    const bytes = Buffer.allocUnsafeSlow(lengthBytes);
    for (const block of blocks) block.readers++;
    try {
      await this.#track(Promise.all(runsOf(blocks).map(([from, to]) => this.#readRun(blocks[from]!.slot, bytes, from, to))));
    } catch {
      return this.forget(name, first, blocks.length);
    } finally {
      for (const block of blocks) this.#release(block);
    }
    const isWhole = !isKept || blocks.every(({ sum }, i) => sum === crc32(blockOf(bytes, i)));
    return isWhole ? bytes : this.forget(name, first, blocks.length);
  }

  /** Keeps the blocks of `name` that `bytes` are, from block `first` on; only the last may be short. Returns before they are written. */
  keep(name: string, first: number, bytes: Buffer): void {
    if (this.#writingBytes + bytes.length > WRITING_BYTES_MAX) return;
    const blocks: Block[] = [];
    for (let at = 0; at < bytes.length; at += DISK_BLOCK_BYTES) {
      const slot = this.#takeSlot();
      if (slot === undefined) break;
      const block = blockOf(bytes, blocks.length);
      blocks.push({ slot, lengthBytes: block.length, sum: crc32(block), readers: 0, isDropped: false });
    }
    this.#writingBytes += bytes.length;
    const forgettings = this.#forgettings;
    const written = Promise.all(runsOf(blocks).map(([from, to]) => this.#writeRun(blocks[from]!.slot, bytes, from, to)));
    const done = written.then(
      () => {
        blocks.forEach((block, i) => void this.#put(blockName(name, first + i), block));
        if (forgettings !== this.#forgettings) this.forget(name, first, blocks.length);
      },
      (error: Error) => this.#giveUp(error),
    );
    const ended = (): void => {
      this.#writingBytes -= bytes.length;
    };
    void this.#track(done.finally(ended));
  }

  /** Lets go of `count` blocks of `name` from `first` on, and of whatever is being written: it may be them. */
  forget(name: string, first: number, count: number): undefined {
    this.#forgettings++;
    for (let i = first; i < first + count; i++) this.#drop(blockName(name, i));
  }

  /** Waits for what is being read and written. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }

  async close(): Promise<void> {
    this.#slotsMax = 0;
    await this.settled();
    await this.#emptied;
    await this.#file.close();
  }

  #find(name: string, first: number, lengthBytes: number): Block[] | undefined {
    const names = Array.from({ length: Math.ceil(lengthBytes / DISK_BLOCK_BYTES) }, (_, i) => blockName(name, first + i));
    const blocks: Block[] = [];
    for (const [i, each] of names.entries()) {
      const block = this.#blocks.get(each);
      if (block?.lengthBytes !== Math.min(DISK_BLOCK_BYTES, lengthBytes - i * DISK_BLOCK_BYTES)) return undefined;
      blocks.push(block);
    }
    for (const [i, each] of names.entries()) {
      this.#blocks.delete(each);
      this.#blocks.set(each, blocks[i]!);
    }
    return blocks;
  }

  async #readRun(slot: number, bytes: Buffer, from: number, to: number): Promise<void> {
    const target = bytes.subarray(from * DISK_BLOCK_BYTES, to * DISK_BLOCK_BYTES);
    for (let filled = 0; filled < target.length; ) {
      const { bytesRead } = await this.#file.read(target, filled, target.length - filled, slot * DISK_BLOCK_BYTES + filled);
      if (bytesRead === 0) throw new Error('the file is shorter than what was written');
      filled += bytesRead;
    }
  }

  async #writeRun(slot: number, bytes: Buffer, from: number, to: number): Promise<void> {
    const source = bytes.subarray(from * DISK_BLOCK_BYTES, to * DISK_BLOCK_BYTES);
    for (let written = 0; written < source.length; ) {
      const left = source.length - written;
      written += (await this.#file.write(source, written, left, slot * DISK_BLOCK_BYTES + written)).bytesWritten;
    }
  }

  #takeSlot(): number | undefined {
    if (this.#slotsMax === 0) return undefined;
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#slots < this.#slotsMax) return this.#slots++;
    for (const [name, block] of this.#blocks) {
      if (block.readers > 0) continue;
      this.#blocks.delete(name);
      return block.slot;
    }
    return undefined;
  }

  #put(name: string, block: Block): void {
    if (this.#slotsMax === 0) return;
    this.#drop(name);
    this.#blocks.set(name, block);
  }

  #drop(name: string): void {
    const block = this.#blocks.get(name);
    if (block === undefined) return;
    this.#blocks.delete(name);
    block.isDropped = true;
    if (block.readers === 0) this.#free.push(block.slot);
  }

  #release(block: Block): void {
    block.readers--;
    if (block.isDropped && block.readers === 0) this.#free.push(block.slot);
  }

  /** A full disk is needed for other things than this. */
  #giveUp(error: Error): void {
    if (this.#slotsMax === 0) return;
    this.#slotsMax = 0;
    this.#blocks.clear();
    // Not under a read: it would get zeros for what another write makes longer again.
    this.#emptied = this.settled().then(() => this.#file.truncate(0).catch(() => {}));
    this.#onFault(error);
  }

  #track<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work);
    const done = (): void => void this.#running.delete(work);
    work.then(done, done);
    return work;
  }
}

function blockName(name: string, block: number): string {
  return `${name} ${block}`;
}

function blockOf(bytes: Buffer, block: number): Buffer {
  return bytes.subarray(block * DISK_BLOCK_BYTES, (block + 1) * DISK_BLOCK_BYTES);
}

/** Blocks whose places follow each other, as `[from, to)`. */
function runsOf(blocks: readonly Block[]): [number, number][] {
  const runs: [number, number][] = [];
  blocks.forEach(({ slot }, i) => {
    if (i > 0 && slot === blocks[i - 1]!.slot + 1) runs.at(-1)![1] = i + 1;
    else runs.push([i, i + 1]);
  });
  return runs;
}
