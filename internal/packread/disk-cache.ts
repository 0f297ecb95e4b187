import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, rm, statfs, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Allocate } from '../packstore/mod.ts';

/** How much is kept and let go of at a time: readers' pieces end at multiples of it. */
export const DISK_BLOCK_BYTES = 512 << 10;
/** What waits to be written; more is not kept. */
const WRITING_BYTES_MAX = 32 << 20;
/** A block that was compared with its checksum is believed for so long. */
const BELIEVED_MS = 60_000;
/** What was used so lately gives way to one of `ADMITTED_OF` newcomers only: reading more than there is room for leaves most of what is here. */
const RECENT_MS = 600_000;
const ADMITTED_OF = 8;

interface Block {
  readonly slot: number;
  readonly lengthBytes: number;
  readonly sum: number;
  usedAt: number;
  comparedAt: number;
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
  /** The disk failed, or gave back what was not written; from then on nothing is kept. */
  readonly onFault?: (error: Error) => void;
  /** How long what was used does not give way to everything: ten minutes unless told. */
  readonly recentMs?: number;
}

/**
 * Blocks of what an object store was asked for, on a disk of the machine; the least recently used give way. They lie in one file without a name, so
 * that nothing is left of it when the process ends, however it ends. A disk that fails once is left alone: its place is given back, and all is as if
 * nothing were here.
 */
export class DiskCache {
  readonly #file: FileHandle;
  readonly #onLookup: (hit: boolean) => void;
  readonly #onFault: (error: Error) => void;
  readonly #recentMs: number;
  #slotsMax: number;
  /** By name, in order of use. */
  readonly #blocks = new Map<string, Block>();
  readonly #free: number[] = [];
  /** Places in the file that were ever taken. */
  #slots = 0;
  #generation = 0;
  #writingBytes = 0;
  #written: Promise<void> = Promise.resolve();
  readonly #running = new Set<Promise<unknown>>();
  #emptied: Promise<void> = Promise.resolve();

  private constructor(file: FileHandle, slotsMax: number, options: DiskCacheOptions) {
    this.#file = file;
    this.#slotsMax = slotsMax;
    this.#onLookup = options.onLookup ?? (() => {});
    this.#onFault = options.onFault ?? (() => {});
    this.#recentMs = options.recentMs ?? RECENT_MS;
  }

  /** @throws an error of the file system, or that there is no room, when there cannot be a file */
  static async open(options: DiskCacheOptions): Promise<DiskCache> {
    await mkdir(options.folder, { recursive: true });
    const path = join(options.folder, `.cache-${randomBytes(8).toString('hex')}`);
    const file = await open(path, 'wx+', 0o600);
    try {
      await unlink(path);
      const { bavail, bsize } = await statfs(options.folder);
      const slots = Math.floor(Math.min(options.bytesMax, (bavail * bsize) / 2) / DISK_BLOCK_BYTES);
      if (slots === 0) throw new Error(`no room for ${DISK_BLOCK_BYTES} bytes`);
      return new DiskCache(file, slots, options);
    } catch (error) {
      await file.close();
      await rm(path, { force: true });
      throw error;
    }
  }

  /** Whether asking and keeping are of any use. */
  get isOpen(): boolean {
    return this.#slotsMax > 0;
  }

  /** Rises when something is forgotten: what was read of the store before is not kept after. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * `lengthBytes` of the blocks of `name` from block `first` on, only the last of which may be short; undefined unless all of them are here.
   * They are compared with their checksums each time, once a minute when they are `passedOn` as `PackStore.get` says.
   */
  async read(name: string, first: number, lengthBytes: number, passedOn?: Allocate): Promise<Buffer | undefined> {
    const blocks = this.#find(name, first, lengthBytes);
    this.#onLookup(blocks !== undefined);
    if (blocks === undefined) return undefined;
    for (const block of blocks) block.readers++;
    try {
      const bytes = (passedOn ?? Buffer.allocUnsafeSlow)(lengthBytes);
      await this.#track(this.#readRuns(blocks, bytes));
      if (!blocks.every((block, i) => this.#fits(block, blockOf(bytes, i), passedOn === undefined)))
        throw new Error('a block is not what was written');
      return bytes;
    } catch (error) {
      this.#giveUp(error as Error);
      return undefined;
    } finally {
      for (const block of blocks) this.#release(block);
    }
  }

  /**
   * Keeps the blocks of `name` that `bytes` are, from block `first` on; only the last may be short. `generation` is that of when they were asked for.
   * Resolves when `bytes` are looked at no more: they are written, or will not be.
   */
  async keep(name: string, first: number, bytes: Buffer, generation: number): Promise<void> {
    if (!this.isOpen || generation !== this.#generation || this.#writingBytes + bytes.length > WRITING_BYTES_MAX) return;
    const blocks: Block[] = [];
    const now = Date.now();
    for (let at = 0; at < bytes.length; at += DISK_BLOCK_BYTES) {
      const slot = this.#takeSlot(blocks.length === 0);
      if (slot === undefined) break;
      const block = blockOf(bytes, blocks.length);
      const sum = crc32(block);
      blocks.push({ slot, lengthBytes: block.length, sum, usedAt: now, comparedAt: 0, readers: 0, isDropped: false });
    }
    if (blocks.length === 0) return;
    this.#writingBytes += bytes.length;
    // One after the other: a slow disk holds one of Node's few threads, not all.
    this.#written = this.#written.then(async () => {
      try {
        if (this.isOpen) await this.#writeRuns(blocks, bytes);
        const isGood = this.isOpen && generation === this.#generation;
        blocks.forEach((block, i) => void (isGood ? this.#put(blockName(name, first + i), block) : this.#free.push(block.slot)));
      } catch (error) {
        this.#giveUp(error as Error);
      }
      this.#writingBytes -= bytes.length;
    });
    await this.#track(this.#written);
  }

  /** Lets go of `count` blocks of `name` from `first` on, and of whatever is being asked for and written: it may be them. */
  forget(name: string, first: number, count: number): void {
    this.#generation++;
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
    await this.#file.close().catch(() => {});
  }

  #find(name: string, first: number, lengthBytes: number): Block[] | undefined {
    const names = Array.from({ length: Math.ceil(lengthBytes / DISK_BLOCK_BYTES) }, (_, i) => blockName(name, first + i));
    const blocks: Block[] = [];
    for (const [i, each] of names.entries()) {
      const block = this.#blocks.get(each);
      if (block?.lengthBytes !== Math.min(DISK_BLOCK_BYTES, lengthBytes - i * DISK_BLOCK_BYTES)) return undefined;
      blocks.push(block);
    }
    for (const [i, block] of blocks.entries()) {
      block.usedAt = Date.now();
      this.#blocks.delete(names[i]!);
      this.#blocks.set(names[i]!, block);
    }
    return blocks;
  }

  #fits(block: Block, bytes: Buffer, isKept: boolean): boolean {
    if (!isKept && Date.now() - block.comparedAt < BELIEVED_MS) return true;
    block.comparedAt = Date.now();
    return block.sum === crc32(bytes);
  }

  #readRuns(blocks: readonly Block[], bytes: Buffer): Promise<void> {
    return eachRun(blocks, bytes, async (part, at) => (await this.#file.read(part, 0, part.length, at)).bytesRead);
  }

  #writeRuns(blocks: readonly Block[], bytes: Buffer): Promise<void> {
    return eachRun(blocks, bytes, async (part, at) => (await this.#file.write(part, 0, part.length, at)).bytesWritten);
  }

  /** A place for one block, and for the next ones of the same bytes when there was one for the first. */
  #takeSlot(isFirst: boolean): number | undefined {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#slots < this.#slotsMax) return this.#slots++;
    for (const [name, block] of this.#blocks) {
      if (block.readers > 0) continue;
      if (isFirst && Date.now() - block.usedAt < this.#recentMs && Math.random() * ADMITTED_OF >= 1) return undefined;
      this.#blocks.delete(name);
      return block.slot;
    }
    return undefined;
  }

  #put(name: string, block: Block): void {
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

  #giveUp(error: Error): void {
    if (!this.isOpen) return;
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

/** Moves `bytes`, which are those of `blocks`, to or from their places in the file: those that follow each other at once. `move` says how far it came. */
async function eachRun(
  blocks: readonly Block[],
  bytes: Buffer,
  move: (part: Buffer, at: number) => Promise<number>,
): Promise<void> {
  for (let from = 0, to = 1; from < blocks.length; from = to++) {
    while (blocks[to]?.slot === blocks[from]!.slot + to - from) to++;
    const run = bytes.subarray(from * DISK_BLOCK_BYTES, to * DISK_BLOCK_BYTES);
    for (let moved = 0; moved < run.length; ) {
      const count = await move(run.subarray(moved), blocks[from]!.slot * DISK_BLOCK_BYTES + moved);
      if (count === 0) throw new Error('the file is shorter than what was written, or takes nothing');
      moved += count;
    }
  }
}
