import { PackhouseError } from '../base/mod.ts';

/** Source and result size at the head of a delta, and where its instructions start (gitformat-pack, "Deltified representation"). */
export interface DeltaSizes {
  readonly baseSize: number;
  readonly resultSize: number;
  readonly headerBytes: number;
}

function readSize(delta: Uint8Array, at: number): [number, number] {
  let position = at;
  let size = 0;
  let scale = 1;
  for (;;) {
    const byte = delta[position++];
    if (byte === undefined || position - at > 8) throw new PackhouseError('delta', 'delta header is cut or out of range', { at });
    size += (byte & 0x7f) * scale;
    scale *= 128;
    if (!(byte & 0x80)) return [size, position];
  }
}

/** Git takes no shorter delta for one: two sizes and an instruction that makes something. */
const DELTA_BYTES_MIN = 4;

/** @throws PackhouseError `delta` */
export function readDeltaSizes(delta: Uint8Array): DeltaSizes {
  if (delta.length < DELTA_BYTES_MIN) {
    throw new PackhouseError('delta', `delta of ${delta.length} bytes is shorter than any, which has ${DELTA_BYTES_MIN}`);
  }
  const [baseSize, afterBase] = readSize(delta, 0);
  const [resultSize, headerBytes] = readSize(delta, afterBase);
  return { baseSize, resultSize, headerBytes };
}

/**
 * Applies a delta to its base, into `output[at]`, which has room for `sizes.resultSize` bytes.
 * @throws PackhouseError `delta` when the base has another size, a copy leaves the base, or the result has another size.
 */
export function applyDeltaInto(base: Uint8Array, delta: Buffer, sizes: DeltaSizes, output: Buffer, at: number): void {
  if (sizes.baseSize !== base.length) {
    throw new PackhouseError('delta', `delta is for a base of ${sizes.baseSize} bytes, its base has ${base.length}`);
  }
  const end = at + sizes.resultSize;
  let from = sizes.headerBytes;
  let to = at;
  while (from < delta.length) {
    const op = delta[from++]!;
    if (op & 0x80) {
      let offset = 0;
      let length = 0;
      if (op & 0x01) offset = delta[from++]!;
      if (op & 0x02) offset |= delta[from++]! << 8;
      if (op & 0x04) offset |= delta[from++]! << 16;
      if (op & 0x08) offset += delta[from++]! * 0x1000000;
      if (op & 0x10) length = delta[from++]!;
      if (op & 0x20) length |= delta[from++]! << 8;
      if (op & 0x40) length |= delta[from++]! << 16;
      if (length === 0) length = 0x10000;
      if (from > delta.length || Number.isNaN(offset))
        throw new PackhouseError('delta', 'delta ends inside a copy instruction', { from });
      if (offset + length > base.length || to + length > end) {
        throw new PackhouseError('delta', `copy of ${length} bytes from ${offset} leaves the base or the result`, {
          offset,
          length,
        });
      }
      if (length < 24) {
        for (let i = 0; i < length; i++) output[to + i] = base[offset + i]!;
      } else {
        output.set(base.subarray(offset, offset + length), to);
      }
      to += length;
    } else if (op > 0) {
      if (from + op > delta.length || to + op > end) {
        throw new PackhouseError('delta', `insert of ${op} bytes leaves the delta or the result`, { from, op });
      }
      for (let i = 0; i < op; i++) output[to + i] = delta[from + i]!;
      from += op;
      to += op;
    } else {
      throw new PackhouseError('delta', 'delta instruction 0 is reserved', { from: from - 1 });
    }
  }
  if (to !== end) throw new PackhouseError('delta', `delta makes ${to - at} bytes, not the ${sizes.resultSize} it claims`);
}

/** What a delta copies from its base, in order: `length[i]` bytes from `from[i]` of the base to `to[i]` of the result. */
export class DeltaCopies {
  readonly from: Uint32Array;
  readonly to: Uint32Array;
  readonly lengths: Uint32Array;
  count = 0;

  constructor(capacity: number) {
    this.from = new Uint32Array(capacity);
    this.to = new Uint32Array(capacity);
    this.lengths = new Uint32Array(capacity);
  }

  /** Reads a delta that has been applied, to less than 4 GiB. False when it has more copies than there is room for. */
  read(delta: Uint8Array, { headerBytes }: DeltaSizes): boolean {
    this.count = 0;
    let at = headerBytes;
    let to = 0;
    while (at < delta.length) {
      const op = delta[at++]!;
      if (!(op & 0x80)) {
        at += op;
        to += op;
        continue;
      }
      let offset = 0;
      let length = 0;
      for (let i = 0; i < 4; i++) if (op & (1 << i)) offset += delta[at++]! * 2 ** (8 * i);
      for (let i = 0; i < 3; i++) if (op & (0x10 << i)) length += delta[at++]! * 2 ** (8 * i);
      if (length === 0) length = 0x10000;
      if (this.count === this.from.length) return false;
      this.from[this.count] = offset;
      this.to[this.count] = to;
      this.lengths[this.count++] = length;
      to += length;
    }
    return true;
  }
}

/** A result up to this size is believed; of a larger one the instructions are added up before there is room for it. */
const BELIEVED_BYTES_MAX = 1 << 20;

/** How much the instructions of a delta make; any number when it ends inside one. */
function madeBytes(delta: Uint8Array, headerBytes: number): number {
  let made = 0;
  for (let at = headerBytes; at < delta.length; ) {
    const op = delta[at++]!;
    if (!(op & 0x80)) {
      made += op;
      at += op;
      continue;
    }
    for (let bit = 0x01; bit <= 0x08; bit <<= 1) if (op & bit) at++;
    let length = 0;
    for (let i = 0; i < 3; i++) if (op & (0x10 << i)) length |= (delta[at++] ?? 0) << (8 * i);
    made += length === 0 ? 0x10000 : length;
  }
  return made;
}

/** The object that a delta makes of its base, in what `allocate` gives. @throws PackhouseError `delta` */
export function applyDelta(base: Uint8Array, delta: Buffer, allocate: (bytes: number) => Buffer = Buffer.allocUnsafe): Buffer {
  const sizes = readDeltaSizes(delta);
  if (sizes.resultSize > BELIEVED_BYTES_MAX) {
    const made = madeBytes(delta, sizes.headerBytes);
    if (made !== sizes.resultSize)
      throw new PackhouseError('delta', `delta makes ${made} bytes, not the ${sizes.resultSize} it claims`);
  }
  const output = allocate(sizes.resultSize);
  applyDeltaInto(base, delta, sizes, output, 0);
  return output;
}
