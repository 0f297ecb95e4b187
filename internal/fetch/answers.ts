import { createHash } from 'node:crypto';
import type { Pack } from '../catalog/mod.ts';
import type { FetchCommon, FilterSpec } from '../protocol/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';
import { remembered } from './advertise.ts';
import type { Wants } from './negotiate.ts';
import type { ShallowPlan } from './shallow.ts';

/** What the objects of an answer, and how they are written, hang on. */
export interface PlanInput {
  readonly view: RepositoryView;
  readonly wants: Wants;
  /** Common commits, as nodes. */
  readonly common: readonly number[];
  readonly shallow: ShallowPlan;
  readonly request: Pick<FetchCommon, 'thinPack' | 'ofsDelta' | 'includeTag' | 'filter'>;
  readonly signal: AbortSignal;
}

/**
 * How a pack that was sent is put together: stretches of stored packs as they are, and between them bytes that were made for it. Columns, a row a
 * stretch, in order: `from[i]` is the index in `packs`, or -1 for `made`; `offsets[i]` and `lengths[i]` say which bytes of it.
 */
export interface KeptAnswer {
  readonly packs: readonly Pack[];
  readonly made: Buffer;
  readonly from: Int32Array;
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
  readonly objectCount: number;
  /** Objects that were compressed anew. */
  readonly expandedCount: number;
}

/** What a row takes in memory, and an entry of the cache beside its rows and bytes. */
const ROW_BYTES = 20;
const ENTRY_BYTES = 1000;
/** The largest answer that is kept, as a part of the cache. */
const LARGEST_PART = 1 / 2;
/** An answer that nobody asks for again is let go. */
const LIFE_MS = 5 * 60_000;
/** What a recorder begins with, which is not counted, and how many rows it takes memory for at a time. */
const FIRST_BYTES = 1024;
const ROWS_TAKEN = 1024;
const NOTHING = Buffer.alloc(0);

/** Memory that all answers take which are noted at a time. */
class RecordingRoom {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  /** Takes more, or gives back what is negative; false when there is not so much. */
  take(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }
}

/**
 * Notes how an answer is put together while it is written. Gives up when that takes too much, or cannot be said. Whoever has one ends it,
 * by `finish` or by `giveUp`.
 */
export class AnswerRecorder {
  readonly #bytesMax: number;
  readonly #room: RecordingRoom;
  readonly #packs: Pack[] = [];
  readonly #from: number[] = [];
  readonly #offsets: number[] = [];
  readonly #lengths: number[] = [];
  #made: Buffer = Buffer.alloc(FIRST_BYTES);
  #madeBytes = 0;
  #taken = 0;
  #isGivenUp = false;

  constructor(bytesMax: number, room = new RecordingRoom(2 * bytesMax)) {
    this.#bytesMax = bytesMax;
    this.#room = room;
  }

  stretch(pack: Pack, offset: number, lengthBytes: number): void {
    if (this.#isGivenUp || lengthBytes === 0) return;
    let index = this.#packs.lastIndexOf(pack);
    if (index < 0) index = this.#packs.push(pack) - 1;
    this.#add(index, offset, lengthBytes);
  }

  /** Bytes of the answer only: they are copied. */
  made(bytes: Buffer): void {
    if (this.#isGivenUp || bytes.length === 0) return;
    const needed = this.#madeBytes + bytes.length;
    if (needed > this.#bytesMax) {
      this.giveUp();
      return;
    }
    if (needed > this.#made.length) {
      const wider = Math.max(needed, this.#made.length * 2);
      if (!this.#take(wider - this.#made.length)) return;
      const made = Buffer.alloc(wider);
      this.#made.copy(made, 0, 0, this.#madeBytes);
      this.#made = made;
    }
    bytes.copy(this.#made, this.#madeBytes);
    this.#add(-1, this.#madeBytes, bytes.length);
    this.#madeBytes = needed;
  }

  giveUp(): void {
    this.#isGivenUp = true;
    this.#made = NOTHING;
    for (const column of [this.#from, this.#offsets, this.#lengths]) column.length = 0;
    this.#room.take(-this.#taken);
    this.#taken = 0;
  }

  /** All that was noted; null when it was given up. */
  finish(counts: Pick<KeptAnswer, 'objectCount' | 'expandedCount'>): KeptAnswer | null {
    if (this.#isGivenUp) return null;
    const answer = {
      packs: this.#packs,
      // Not of the pool that small buffers share: it would be kept with all that others put there.
      made: Buffer.alloc(this.#madeBytes, this.#made.subarray(0, this.#madeBytes)),
      from: Int32Array.from(this.#from),
      offsets: Float64Array.from(this.#offsets),
      lengths: Float64Array.from(this.#lengths),
      ...counts,
    };
    this.giveUp();
    return answer;
  }

  #add(index: number, offset: number, lengthBytes: number): void {
    const last = this.#from.length - 1;
    if (last >= 0 && this.#from[last] === index && this.#offsets[last]! + this.#lengths[last]! === offset) {
      this.#lengths[last]! += lengthBytes;
      return;
    }
    this.#from.push(index);
    this.#offsets.push(offset);
    this.#lengths.push(lengthBytes);
    if (this.#from.length * ROW_BYTES > this.#bytesMax) this.giveUp();
    else if (this.#from.length % ROWS_TAKEN === 0) this.#take(ROWS_TAKEN * ROW_BYTES);
  }

  /** Takes more memory, or gives up. */
  #take(bytes: number): boolean {
    const isTaken = this.#room.take(bytes);
    if (isTaken) this.#taken += bytes;
    else this.giveUp();
    return isTaken;
  }
}

interface Entry {
  readonly answer: KeptAnswer;
  readonly bytes: number;
  usedAt: number;
}

/**
 * Packs that were sent lately, for whoever asks for the same again: a CI's clones. Looked into when the request was let in and what it wants
 * and has was proven anew, by the repository's refs of now. The key is all that the choice of objects and their layout hang on, and nothing
 * of who asks: so a push need not empty it, and a ref that has moved away takes the answer with it, since its want is refused. Replaced
 * packs are never read from it: the key names the view of the pool, and a swap makes a new one.
 */
export class AnswerCache {
  readonly #bytesMax: number;
  readonly #onLookup: (hit: boolean) => void;
  readonly #nowMs: () => number;
  readonly #recording: RecordingRoom;
  readonly #entries = new Map<string, Entry>();
  readonly #numbers = new WeakMap<object, number>();
  #part = 1;
  #bytes = 0;
  #used = 0;

  /** `nowMs` is a monotonic clock. */
  constructor(bytesMax: number, onLookup: (hit: boolean) => void = () => {}, nowMs = () => performance.now()) {
    this.#bytesMax = bytesMax;
    this.#recording = new RecordingRoom(bytesMax);
    this.#onLookup = onLookup;
    this.#nowMs = nowMs;
  }

  get bytes(): number {
    return this.#bytes;
  }

  recorder(): AnswerRecorder {
    return new AnswerRecorder(this.#bytesMax * LARGEST_PART, this.#recording);
  }

  get(key: string): KeptAnswer | null {
    const entry = this.#entries.get(key);
    this.#onLookup(entry !== undefined);
    if (entry === undefined) return null;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    entry.usedAt = this.#nowMs();
    return entry.answer;
  }

  keep(key: string, answer: KeptAnswer): void {
    this.#drop(key);
    const bytes = answer.made.length + answer.from.length * ROW_BYTES + ENTRY_BYTES;
    if (bytes > this.#bytesMax * this.#part * LARGEST_PART) return;
    this.#entries.set(key, { answer, bytes, usedAt: this.#nowMs() });
    this.#bytes += bytes;
    this.#evict();
  }

  /** From now on it holds this part of its bound: of 0 to 1. */
  limitTo(part: number): void {
    this.#part = part;
    this.#evict();
  }

  #evict(): void {
    // The least recently used stand first.
    for (const [oldest, { usedAt }] of this.#entries) {
      if (this.#bytes <= this.#bytesMax * this.#part && usedAt > this.#nowMs() - LIFE_MS) break;
      this.#drop(oldest);
    }
  }

  /** The key of an answer, null when it hangs on more than can be said here. */
  async keyOf(input: PlanInput): Promise<string | null> {
    if (this.#bytesMax === 0) return null;
    const { view, wants, common, shallow, request } = input;
    if (request.filter !== null && namesPaths(request.filter)) return null;
    const hash = createHash('sha256');
    hash.update(JSON.stringify([wants.nodes, common, [...shallow.cut], shallow.extraWants, shallow.isShallow, request.filter]));
    for (const oid of wants.objects) hash.update(oid);
    hash.update(request.includeTag ? tagsOf(view) : '');
    // In a pool that is shared the copies that are sent hang on what this repository's refs reach.
    const refs = (await view.pool.isShared()) ? this.#number(wants.by.refs) : 0;
    const flags = `${request.thinPack} ${request.ofsDelta}`;
    return `${this.#number(view.pool)} ${view.id} ${refs} ${wants.objects.length} ${flags} ${hash.digest('base64')}`;
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }

  #number(of: object): number {
    let number = this.#numbers.get(of);
    if (number === undefined) {
      number = ++this.#used;
      this.#numbers.set(of, number);
    }
    return number;
  }
}

/** Whether a filter names what refs lead to: `main:path` is another blob after a push. */
function namesPaths(filter: FilterSpec): boolean {
  return filter.kind === 'sparse:oid' || (filter.kind === 'combine' && filter.filters.some(namesPaths));
}

/** A hash of the annotated tags that `include-tag` may add. */
function tagsOf(view: RepositoryView): string {
  return remembered(view, 'annotated-tags', () => {
    const hash = createHash('sha256');
    for (const ref of view.refs.values()) if (ref.peeled !== null && ref.name.startsWith('refs/tags/')) hash.update(ref.oid);
    return hash.digest('base64');
  });
}
