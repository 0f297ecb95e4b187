import { createHash, type Hash, hash } from 'node:crypto';
import { kindName, type ObjectFormat } from '../object/mod.ts';

/** Room for the longest object header, `commit 9007199254740991\0`, before an object's bytes. */
export const HEADER_ROOM = 32;

const KIND_PREFIXES = ['', 'commit ', 'tree ', 'blob ', 'tag '].map((text) => Buffer.from(text, 'latin1'));

/** Writes the header of the object of `size` bytes at `buffer[at]` right before it (HEADER_ROOM bytes are the caller's to lose); where it begins. */
export function writeObjectHeader(kind: number, buffer: Buffer, at: number, size: number): number {
  const prefix = KIND_PREFIXES[kind]!;
  let position = at - 1;
  buffer[position] = 0;
  let rest = size;
  do {
    buffer[--position] = 48 + (rest % 10);
    rest = Math.floor(rest / 10);
  } while (rest > 0);
  position -= prefix.length;
  for (let i = 0; i < prefix.length; i++) buffer[position + i] = prefix[i]!;
  return position;
}

/** Names an object, as above, by one call of the hash; the raw oid goes to `into[intoAt]`. */
export function writeOid(
  format: ObjectFormat,
  kind: number,
  buffer: Buffer,
  at: number,
  size: number,
  into: Buffer,
  intoAt: number,
): void {
  const start = writeObjectHeader(kind, buffer, at, size);
  into.write(hash(format, buffer.subarray(start, at + size), 'latin1' as 'hex'), intoAt, 'latin1');
}

/** A hash that has taken the header of an object already, for an object that is streamed. */
export function beginOid(format: ObjectFormat, kind: number, size: number): Hash {
  return createHash(format).update(`${kindName(kind)} ${size}\0`);
}
