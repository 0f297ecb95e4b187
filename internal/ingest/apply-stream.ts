import { PackhouseError } from '../base/mod.ts';
import { type DeltaSizes, type Inflater, readDeltaSizes } from '../packformat/mod.ts';
import type { WorkMeter } from './limits.ts';
import type { PackSource } from './pack-source.ts';
import type { SpoolFile } from './spool-file.ts';

const WINDOW_BYTES = 1 << 20;
/** What a copy out of a file reads at once: copies that go on are mostly of neighbouring bytes, one that jumps may be alone. */
const BASE_WINDOW_BYTES = 1 << 16;
const JUMP_WINDOW_BYTES = 1 << 12;
/** The two sizes at the head of a delta take at most this much. */
const SIZES_BYTES_MAX = 20;

/** The inflated bytes of one pack entry, window by window. */
export class EntryStream {
  readonly #source: PackSource;
  readonly #inflater: Inflater;
  readonly #end: number;
  #position: number;
  #left: number;
  readonly #output: Buffer;

  /** Of the zlib stream at [`from`, `end`) of the pack, which was found good and `size` bytes long before; `output` is lent to it. */
  constructor(source: PackSource, inflater: Inflater, from: number, end: number, size: number, output: Buffer) {
    this.#output = output;
    this.#source = source;
    this.#inflater = inflater;
    this.#position = from;
    this.#end = end;
    this.#left = size;
    inflater.begin();
  }

  /** The next bytes, at most `most` of them, none at the end: a view that the next call overwrites. */
  next(most = this.#output.length): Buffer {
    let produced = 0;
    while (this.#left > 0 && produced === 0) {
      const { buffer, at, end } = this.#source.window(this.#position, Math.min(WINDOW_BYTES, this.#end - this.#position));
      const to = Math.min(end, at + this.#end - this.#position);
      const step = this.#inflater.step(buffer, at, to, this.#output, 0, Math.min(most, this.#output.length, this.#left));
      if (step.produced === 0 && step.consumed === 0) throw new PackhouseError('zlib', 'stream ended before its size');
      this.#position += step.consumed;
      this.#left -= step.produced;
      produced = step.produced;
    }
    return this.#output.subarray(0, produced);
  }
}

/** The sizes at the head of a delta, of which nothing else is read. @throws PackhouseError `delta` */
export function peekDeltaSizes(stream: EntryStream): DeltaSizes {
  const parts: Buffer[] = [];
  let bytes = 0;
  for (let part = stream.next(SIZES_BYTES_MAX); part.length > 0 && bytes < SIZES_BYTES_MAX; ) {
    parts.push(Buffer.from(part));
    bytes += part.length;
    if (bytes < SIZES_BYTES_MAX) part = stream.next(SIZES_BYTES_MAX - bytes);
  }
  return readDeltaSizes(Buffer.concat(parts));
}

/** A base that copies are taken from: in memory, or in a file. */
export interface CopySource {
  readonly sizeBytes: number;
  /** Copies `length` bytes at `offset` into `into[at]`. */
  copy(offset: number, length: number, into: Buffer, at: number): void;
}

export function memoryCopies(bytes: Buffer): CopySource {
  return {
    sizeBytes: bytes.length,
    copy: (offset, length, into, at) => void bytes.copy(into, at, offset, offset + length),
  };
}

/** Copies out of a file through a small window. Bytes that are read and not asked for count as work: scattered copies cost most. */
export function fileCopies(file: SpoolFile, meter: WorkMeter): CopySource {
  const window = Buffer.allocUnsafe(BASE_WINDOW_BYTES);
  let start = 0;
  let filled = 0;
  const read = (into: Buffer, at: number, offset: number, length: number): void => {
    if (file.readInto(into, at, offset, length) < length) throw new PackhouseError('spool-corrupt', 'a delta base is cut short');
  };
  return {
    sizeBytes: file.sizeBytes,
    copy(offset, length, into, at) {
      if (length >= BASE_WINDOW_BYTES) {
        read(into, at, offset, length);
        return;
      }
      if (offset < start || offset + length > start + filled) {
        const goesOn = offset >= start && offset <= start + filled + BASE_WINDOW_BYTES;
        start = offset;
        filled = Math.min(goesOn ? BASE_WINDOW_BYTES : Math.max(JUMP_WINDOW_BYTES, length), file.sizeBytes - offset);
        read(window, 0, start, filled);
        meter.takeLarge(Math.max(0, filled - length));
      }
      window.copy(into, at, offset - start, offset - start + length);
    },
  };
}

/**
 * Applies a delta of any size to a base of any size; the result goes to `emit` in windows as long as `output`, which is lent to it.
 * @throws PackhouseError `delta` when the base has another size, a copy leaves the base, or the result has another size.
 */
export function applyDeltaStream(stream: EntryStream, base: CopySource, output: Buffer, emit: (bytes: Buffer) => void): void {
  const input = new DeltaInput(stream);
  const baseSize = input.size();
  const resultSize = input.size();
  if (baseSize !== base.sizeBytes) {
    throw new PackhouseError('delta', `delta is for a base of ${baseSize} bytes, its base has ${base.sizeBytes}`);
  }
  let filled = 0;
  let left = resultSize;
  const take = (length: number, put: (done: number, part: number, at: number) => void): void => {
    if (length > left) throw new PackhouseError('delta', `delta makes more than the ${resultSize} bytes it claims`);
    left -= length;
    for (let done = 0; done < length; ) {
      const part = Math.min(length - done, output.length - filled);
      put(done, part, filled);
      done += part;
      filled += part;
      if (filled < output.length) continue;
      emit(output);
      filled = 0;
    }
  };
  for (let op = input.op(); op >= 0; op = input.op()) {
    if (op & 0x80) {
      const offset = input.number(op & 0xf);
      const length = input.number((op >> 4) & 7) || 0x10000;
      if (offset + length > base.sizeBytes)
        throw new PackhouseError('delta', `copy of ${length} bytes from ${offset} leaves the base`);
      take(length, (done, part, at) => base.copy(offset + done, part, output, at));
    } else if (op > 0) {
      take(op, (_, part, at) => input.into(output, at, part));
    } else {
      throw new PackhouseError('delta', 'delta instruction 0 is reserved');
    }
  }
  if (left > 0) throw new PackhouseError('delta', `delta makes ${resultSize - left} bytes, not the ${resultSize} it claims`);
  if (filled > 0) emit(output.subarray(0, filled));
}

/** Reads a delta from its stream, byte by byte where it must. */
class DeltaInput {
  readonly #stream: EntryStream;
  #window: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(stream: EntryStream) {
    this.#stream = stream;
  }

  #fill(): boolean {
    if (this.#at < this.#window.length) return true;
    this.#window = this.#stream.next();
    this.#at = 0;
    return this.#window.length > 0;
  }

  /** The next instruction, -1 at the end. */
  op(): number {
    return this.#fill() ? this.#window[this.#at++]! : -1;
  }

  #byte(): number {
    if (!this.#fill()) throw new PackhouseError('delta', 'delta ends inside an instruction');
    return this.#window[this.#at++]!;
  }

  /** A number whose bytes that are not zero are there, as the bits say. */
  number(bits: number): number {
    let value = 0;
    for (let scale = 1; bits > 0; bits >>= 1, scale *= 256) if (bits & 1) value += this.#byte() * scale;
    return value;
  }

  size(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) throw new PackhouseError('delta', 'delta header is out of range');
      if (byte < 0x80) return value;
    }
  }

  into(output: Buffer, at: number, length: number): void {
    for (let done = 0; done < length; ) {
      if (!this.#fill()) throw new PackhouseError('delta', 'delta ends inside an insert');
      const part = Math.min(length - done, this.#window.length - this.#at);
      this.#window.copy(output, at + done, this.#at, this.#at + part);
      this.#at += part;
      done += part;
    }
  }
}
