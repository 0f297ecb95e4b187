import { instantiateKernel } from '../base/mod.ts';
import { WASM } from './kernel.wasm.ts';

/** Where the kernel's layout.as has them. */
export const CHAIN_AT = 1024 + 80 * 16 + 2 * 5 * 16;
export const JOBS_AT = 16384;
export const JOBS_MAX = 1024;
export const DIGESTS_AT = JOBS_AT + JOBS_MAX * 8;
export const BLOCK_BYTES = 64;

/** Messages of a batch, padded. */
export const BATCH_AT = 1 << 16;
export const BATCH_BYTES = 4 << 20;
/** Whole blocks of a message that is streamed. The kernel loads up to three blocks more than it works on. */
export const WINDOW_AT = BATCH_AT + BATCH_BYTES;
export const WINDOW_BYTES = 1 << 16;
const MEMORY_BYTES = WINDOW_AT + WINDOW_BYTES + 4 * BLOCK_BYTES;

interface Exports {
  init(): void;
  /** 1: a block is of an attack. */
  serial(chain: number, from: number, blocks: number): number;
  /** The number of a message that is of an attack, or -1. */
  lanes(jobs: number): number;
}

export interface Kernel extends Omit<Exports, 'init'> {
  readonly memory: Buffer;
}

let kernel: Kernel | null = null;

/** The kernel of this thread. It does one thing at a time, and keeps nothing between calls. */
export function sha1Kernel(): Kernel {
  if (kernel !== null) return kernel;
  const { memory, init, serial, lanes } = instantiateKernel<Exports>(WASM, MEMORY_BYTES);
  init();
  kernel = { memory: Buffer.from(memory.buffer), serial, lanes };
  return kernel;
}

/** Pads the message of `size` bytes whose last part ends at `end`; the bytes that it then has from `start` on, whole blocks. */
export function pad(memory: Buffer, start: number, end: number, size: number): number {
  const blocks = Math.ceil((end - start + 9) / BLOCK_BYTES);
  const padded = blocks * BLOCK_BYTES;
  memory.fill(0, end, start + padded);
  memory[end] = 0x80;
  memory.writeUInt32BE(Math.floor(size / 2 ** 29), start + padded - 8);
  memory.writeUInt32BE((size * 8) % 2 ** 32, start + padded - 4);
  return padded;
}
