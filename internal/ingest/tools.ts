import { Inflater } from '../packformat/mod.ts';
import { HEADER_ROOM } from './hash-slab.ts';

/** Objects up to this size are inflated in one step; larger blobs and deltas are streamed through a buffer of it. */
export const STEP_BYTES = 1 << 20;

/** How many sets wait for the next pack: pushes that are verified at the same time in one thread. */
const IDLE_MAX = 4;

/** What a thread works on a pack with: a decoder, and room for one object with its header before it and a spare byte behind. */
export interface Tools {
  readonly inflater: Inflater;
  readonly slab: Buffer;
}

const idle: Tools[] = [];

/**
 * Tools for one pack, of an earlier one where there are any: a small push needs a MiB for microseconds, and a new one each time makes the collector
 * walk the whole heap every few dozen pushes.
 */
export function takeTools(): Tools {
  return idle.pop() ?? { inflater: new Inflater(), slab: Buffer.allocUnsafe(HEADER_ROOM + STEP_BYTES + 1) };
}

/** Gives tools back. A decoder that has met a corrupt stream is not used again. */
export function giveBack(tools: Tools, isSound: boolean): void {
  if (isSound && idle.length < IDLE_MAX) idle.push(tools);
  else tools.inflater.close();
}
