import type { MemoryBudget, MemoryClaim } from '../base/mod.ts';

/** What one answer reads of a pack at a time: little enough that all together stay within the memory, enough for a store to be quick. */
const PIECE_BYTES_MIN = 512 << 10;
const PIECE_BYTES_MAX = 8 << 20;
/** Pieces that an answer holds: on their way to the socket, being copied, and two read ahead. */
const PIECES_HELD = 4;
const CROWD = 16;
/** A selection of fewer objects is not worth waiting for. */
const OBJECTS_SMALL = 20_000;
/** What is held for an object that is chosen and copied by itself: its oid, place and length, twice while it is laid out. */
const OBJECT_BYTES = 100;

/** The place of one answer among those that are sent at a time. */
export interface SendPlace {
  /** How much to read at a time, by how many read now. */
  pieceBytes(): number;
  /** Waits until there is room to choose so many objects; the room is held until `leave`. @throws `overloaded` when too many wait */
  choose(objects: number, signal: AbortSignal): Promise<void>;
  leave(): void;
}

/**
 * What all answers of a process hold together. A slow client keeps what was read for it, so the more are served, the less is read ahead for
 * each; and who asks for a choice of many objects waits until those before have been sent. Whole packs are no choice: they never wait.
 */
export class SendRoom {
  readonly #bytesMax: number;
  readonly #choices: MemoryBudget;
  #sending = 0;

  constructor(bytesMax: number, choices: MemoryBudget) {
    this.#bytesMax = bytesMax;
    this.#choices = choices;
  }

  /** So many are sent that none should keep anything for later. */
  get isCrowded(): boolean {
    return this.#sending > CROWD;
  }

  enter(): SendPlace {
    this.#sending++;
    let claim: MemoryClaim | null = null;
    return {
      pieceBytes: () => {
        const share = this.#bytesMax / (this.#sending * PIECES_HELD);
        return Math.min(PIECE_BYTES_MAX, Math.max(PIECE_BYTES_MIN, 2 ** Math.floor(Math.log2(share))));
      },
      choose: async (objects, signal) => {
        if (objects >= OBJECTS_SMALL) claim = await this.#choices.take(objects * OBJECT_BYTES, signal);
      },
      leave: () => {
        this.#sending--;
        claim?.release();
      },
    };
  }
}

/** For who is alone: an answer that is not sent to a client. */
export const ALONE: SendPlace = { pieceBytes: () => PIECE_BYTES_MAX, choose: async () => {}, leave: () => {} };
