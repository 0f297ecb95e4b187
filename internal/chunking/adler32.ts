/** The largest prime below 2^16 (RFC 1950). */
const BASE = 65521;
/** How many bytes may be summed before the second sum leaves 31 bits. */
const BYTES_UNREDUCED = 3800;

/** Adler-32 of RFC 1950, unsigned; `seed` continues that of the bytes before. */
export function adler32(bytes: Uint8Array, seed = 1): number {
  let a = seed & 0xffff;
  let b = seed >>> 16;
  const length = bytes.length;
  for (let at = 0; at < length; ) {
    const end = Math.min(at + BYTES_UNREDUCED, length);
    for (; at + 8 <= end; at += 8) {
      a += bytes[at]!;
      b += a;
      a += bytes[at + 1]!;
      b += a;
      a += bytes[at + 2]!;
      b += a;
      a += bytes[at + 3]!;
      b += a;
      a += bytes[at + 4]!;
      b += a;
      a += bytes[at + 5]!;
      b += a;
      a += bytes[at + 6]!;
      b += a;
      a += bytes[at + 7]!;
      b += a;
    }
    for (; at < end; at++) {
      a += bytes[at]!;
      b += a;
    }
    a %= BASE;
    b %= BASE;
  }
  return b * 0x10000 + a;
}

/** The Adler-32 of two parts one after the other, of which the second has `secondBytes` bytes: zlib's adler32_combine. */
export function combineAdler32(first: number, second: number, secondBytes: number): number {
  const rest = secondBytes % BASE;
  const firstA = first & 0xffff;
  const a = (firstA + (second & 0xffff) + BASE - 1) % BASE;
  const b = ((rest * firstA) % BASE) + (first >>> 16) + (second >>> 16) + BASE - rest;
  return (b % BASE) * 0x10000 + a;
}
