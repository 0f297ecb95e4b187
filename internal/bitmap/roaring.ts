import { PackhouseError } from '../base/mod.ts';
import { type BitSet, popCount } from './bitset.ts';

/**
 * Sets of numbers as bytes, after Lemire et al., "Consistently faster and smaller compressed bitmaps with Roaring": a container for each
 * 65,536 numbers that has members, in the smallest of three forms. All numbers big-endian.
 *
 *   4 bytes  number of containers; then each, in ascending order of key:
 *   2 bytes  key: the upper 16 bits of its members
 *   1 byte   form: 1 array, 2 bits, 3 runs
 *   2 bytes  number of items less one: members of an array, runs; 0 for bits
 *   array    2 bytes for each member, ascending: its lower 16 bits
 *   bits     8192 bytes: number n is bit `n & 7` of byte `n >> 3`
 *   runs     4 bytes for each run, ascending, none touching the next: first member, members less one
 */
const FORM_ARRAY = 1;
const FORM_BITS = 2;
const FORM_RUNS = 3;
const HEADER_BYTES = 5;
const CONTAINER_WORDS = 2048;
const BITS_BYTES = 8192;

/** Which form a container takes and its items; -1 when it is empty. */
function chosenForm(words: Uint32Array, from: number, to: number): { form: number; items: number; bytes: number } | null {
  let members = 0;
  let runs = 0;
  let before = 0;
  for (let i = from; i < to; i++) {
    const word = words[i]!;
    members += popCount(word);
    // A run begins at each bit whose lower neighbour is not set.
    runs += popCount(word & ~((word << 1) | before));
    before = word >>> 31;
  }
  if (members === 0) return null;
  if (runs * 4 <= Math.min(members * 2, BITS_BYTES)) return { form: FORM_RUNS, items: runs, bytes: runs * 4 };
  if (members * 2 <= BITS_BYTES) return { form: FORM_ARRAY, items: members, bytes: members * 2 };
  return { form: FORM_BITS, items: 1, bytes: BITS_BYTES };
}

/** How many bytes `encodeBits` makes. */
export function encodedBytes(set: BitSet): number {
  const { words } = set;
  let bytes = 4;
  for (let from = 0; from < words.length; from += CONTAINER_WORDS) {
    const chosen = chosenForm(words, from, Math.min(from + CONTAINER_WORDS, words.length));
    if (chosen !== null) bytes += HEADER_BYTES + chosen.bytes;
  }
  return bytes;
}

export function encodeBits(set: BitSet): Buffer {
  const { words } = set;
  const bytes = Buffer.alloc(encodedBytes(set));
  let at = 4;
  let containers = 0;
  for (let from = 0; from < words.length; from += CONTAINER_WORDS) {
    const to = Math.min(from + CONTAINER_WORDS, words.length);
    const chosen = chosenForm(words, from, to);
    if (chosen === null) continue;
    containers++;
    bytes.writeUInt16BE(from / CONTAINER_WORDS, at);
    bytes[at + 2] = chosen.form;
    bytes.writeUInt16BE(chosen.items - 1, at + 3);
    at += HEADER_BYTES;
    if (chosen.form === FORM_BITS) for (let i = from; i < to; i++) bytes.writeUInt32LE(words[i]!, at + (i - from) * 4);
    else writeItems(set, from * 32, Math.min(to * 32, set.length), chosen.form, bytes, at);
    at += chosen.bytes;
  }
  bytes.writeUInt32BE(containers, 0);
  return bytes;
}

function writeItems(set: BitSet, from: number, to: number, form: number, bytes: Buffer, start: number): void {
  let at = start;
  for (let n = set.next(from); n < to; ) {
    if (form === FORM_ARRAY) {
      at = bytes.writeUInt16BE(n - from, at);
      n = set.next(n + 1);
      continue;
    }
    const end = Math.min(set.nextClear(n), to);
    at = bytes.writeUInt16BE(n - from, at);
    at = bytes.writeUInt16BE(end - n - 1, at);
    n = set.next(end);
  }
}

/**
 * Where the encoded set that begins at `bytes[at]` ends. Afterwards `orEncoded` and `xorEncoded` may trust it.
 * @throws PackhouseError `bad-bitmap` unless it is what `encodeBits` may make of a set of numbers below `length`
 */
export function checkEncoded(bytes: Buffer, start: number, end: number, length: number): number {
  if (end - start < 4) throw badBitmap('is cut', start);
  let at = start + 4;
  let keyBefore = -1;
  for (let left = bytes.readUInt32BE(start); left > 0; left--) {
    if (end - at < HEADER_BYTES) throw badBitmap('is cut', at);
    const key = bytes.readUInt16BE(at);
    const form = bytes[at + 2]!;
    const items = bytes.readUInt16BE(at + 3) + 1;
    const room = Math.min(65536, length - key * 65536);
    if (key <= keyBefore || room <= 0) throw badBitmap(`has a container ${key} where none may be`, at);
    keyBefore = key;
    at += HEADER_BYTES;
    const dataBytes = form === FORM_ARRAY ? items * 2 : form === FORM_BITS ? BITS_BYTES : form === FORM_RUNS ? items * 4 : -1;
    if (dataBytes < 0) throw badBitmap(`has a container of form ${form}`, at);
    if (end - at < dataBytes) throw badBitmap('is cut', at);
    if (form === FORM_BITS) checkBits(bytes, at, room);
    else checkItems(bytes, at, items, form, room);
    at += dataBytes;
  }
  return at;
}

function checkBits(bytes: Buffer, at: number, room: number): void {
  for (let n = room; n < 65536; n++) {
    if ((n & 7) === 0) {
      if (bytes[at + (n >> 3)] !== 0) throw badBitmap('has members that are too large', at);
      n += 7;
    } else if (((bytes[at + (n >> 3)]! >> (n & 7)) & 1) === 1) throw badBitmap('has members that are too large', at);
  }
}

function checkItems(bytes: Buffer, start: number, items: number, form: number, room: number): void {
  let free = 0;
  let at = start;
  for (let i = 0; i < items; i++) {
    const first = bytes.readUInt16BE(at);
    const last = form === FORM_RUNS ? first + bytes.readUInt16BE(at + 2) : first;
    if (first < free || last >= room) throw badBitmap('has members that are out of order or too large', at);
    free = form === FORM_RUNS ? last + 2 : last + 1;
    at += form === FORM_RUNS ? 4 : 2;
  }
}

/** Adds the members of a set that `checkEncoded` has passed. */
export function orEncoded(into: BitSet, bytes: Buffer, start: number): void {
  const { words } = into;
  let at = start + 4;
  for (let left = bytes.readUInt32BE(start); left > 0; left--) {
    const base = bytes.readUInt16BE(at) * 65536;
    const form = bytes[at + 2]!;
    const items = bytes.readUInt16BE(at + 3) + 1;
    at += HEADER_BYTES;
    if (form === FORM_BITS) {
      const first = base >>> 5;
      const count = Math.min(CONTAINER_WORDS, words.length - first);
      for (let i = 0; i < count; i++) words[first + i]! |= wordAt(bytes, at + i * 4);
      at += BITS_BYTES;
    } else if (form === FORM_ARRAY) {
      for (const end = at + items * 2; at < end; at += 2) into.add(base + ((bytes[at]! << 8) | bytes[at + 1]!));
    } else {
      for (const end = at + items * 4; at < end; at += 4) {
        const first = base + ((bytes[at]! << 8) | bytes[at + 1]!);
        into.addRange(first, first + ((bytes[at + 2]! << 8) | bytes[at + 3]!) + 1);
      }
    }
  }
}

/** Turns the members of a set that `checkEncoded` has passed over: those that were in leave, the others come in. */
export function xorEncoded(into: BitSet, bytes: Buffer, start: number): void {
  const { words } = into;
  let at = start + 4;
  for (let left = bytes.readUInt32BE(start); left > 0; left--) {
    const base = bytes.readUInt16BE(at) * 65536;
    const form = bytes[at + 2]!;
    const items = bytes.readUInt16BE(at + 3) + 1;
    at += HEADER_BYTES;
    if (form === FORM_BITS) {
      const first = base >>> 5;
      const count = Math.min(CONTAINER_WORDS, words.length - first);
      for (let i = 0; i < count; i++) words[first + i]! ^= wordAt(bytes, at + i * 4);
      at += BITS_BYTES;
    } else if (form === FORM_ARRAY) {
      for (const end = at + items * 2; at < end; at += 2) {
        const n = base + ((bytes[at]! << 8) | bytes[at + 1]!);
        words[n >>> 5]! ^= 1 << (n & 31);
      }
    } else {
      for (const end = at + items * 4; at < end; at += 4) {
        const first = base + ((bytes[at]! << 8) | bytes[at + 1]!);
        flipRange(words, first, first + ((bytes[at + 2]! << 8) | bytes[at + 3]!));
      }
    }
  }
}

function wordAt(bytes: Buffer, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

/** Both ends belong to the range. */
function flipRange(words: Uint32Array, from: number, to: number): void {
  const first = from >>> 5;
  const last = to >>> 5;
  const head = -1 << (from & 31);
  const tail = -1 >>> (31 - (to & 31));
  if (first === last) {
    words[first]! ^= head & tail;
    return;
  }
  words[first]! ^= head;
  for (let i = first + 1; i < last; i++) words[i] = ~words[i]!;
  words[last]! ^= tail;
}

export function badBitmap(what: string, offset: number): PackhouseError {
  return new PackhouseError('bad-bitmap', `a bitmap ${what}, at byte ${offset}`, { offset });
}
