import { closeSync, openSync } from 'node:fs';
import { assert } from '../base/mod.ts';
import { SpoolSource } from '../ingest/mod.ts';
import { FileWriter } from './pack-file.ts';

/** Deltas that a search has found, compressed, in a file of their own until the pack is written. */
export class FoundDeltas {
  readonly #path: string;
  #file: FileWriter | null = null;
  #source: SpoolSource | null = null;
  /** Row of each object, -1 when none was found for it. */
  readonly #rows: Int32Array;
  #offsets = new Float64Array(1024);
  #lengths = new Float64Array(1024);
  #bases = new Float64Array(1024);
  #sizes = new Float64Array(1024);
  #count = 0;

  constructor(path: string, objects: number) {
    this.#path = path;
    this.#rows = new Int32Array(objects).fill(-1);
  }

  /** Keeps, in place of the one that it had, a delta of `size` bytes whose compressed bytes are `body`. */
  add(object: number, base: number, size: number, body: Buffer): void {
    assert(this.#source === null, 'deltas are kept before they are read');
    this.#file ??= new FileWriter(this.#path);
    if (this.#count === this.#offsets.length) {
      this.#offsets = wider(this.#offsets);
      this.#lengths = wider(this.#lengths);
      this.#sizes = wider(this.#sizes);
      this.#bases = wider(this.#bases);
    }
    this.#offsets[this.#count] = this.#file.position;
    this.#bases[this.#count] = base;
    this.#lengths[this.#count] = body.length;
    this.#sizes[this.#count] = size;
    this.#rows[object] = this.#count++;
    this.#file.write(body);
  }

  /** What the object's delta is on, -1 when it has none. */
  baseOf(object: number): number {
    const row = this.#rows[object]!;
    return row < 0 ? -1 : this.#bases[row]!;
  }

  /** Bytes of the delta when it is inflated. */
  sizeOf(object: number): number {
    return this.#sizes[this.#rows[object]!]!;
  }

  /** Bytes of its zlib stream. */
  lengthOf(object: number): number {
    return this.#lengths[this.#rows[object]!]!;
  }

  /** The object's delta is not to be used. */
  drop(object: number): void {
    this.#rows[object] = -1;
  }

  /** The delta's zlib stream: a view that the next call may overwrite. */
  body(object: number): Buffer {
    const row = this.#rows[object]!;
    const source = this.#reader();
    const { buffer, at } = source.window(this.#offsets[row]!, this.#lengths[row]!);
    return buffer.subarray(at, at + this.#lengths[row]!);
  }

  #reader(): SpoolSource {
    if (this.#source === null) {
      this.#file!.flush();
      this.#source = new SpoolSource(openSync(this.#path, 'r'));
      this.#source.grow(this.#file!.position);
    }
    return this.#source;
  }

  close(): void {
    this.#file?.close();
    if (this.#source !== null) closeSync(this.#source.fd);
  }
}

function wider(from: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const to = new Float64Array(from.length * 2);
  to.set(from);
  return to;
}
