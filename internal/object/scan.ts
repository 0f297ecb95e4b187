/**
 * Reading the text headers of commits and tags in place: hex names, lines, decimal times. Nothing here allocates or backtracks.
 */
const LF = 0x0a;
const GREATER = 0x3e;

const HEX_VALUES = new Uint8Array(256).fill(255);
for (let value = 0; value < 16; value++) {
  HEX_VALUES[value.toString(16).charCodeAt(0)] = value;
  HEX_VALUES[value.toString(16).toUpperCase().charCodeAt(0)] = value;
}

/** Whether `data` has the bytes of `text` (ASCII) at `at`. */
export function startsWith(data: Uint8Array, at: number, text: string): boolean {
  if (at + text.length > data.length) return false;
  for (let i = 0; i < text.length; i++) if (data[at + i] !== text.charCodeAt(i)) return false;
  return true;
}

/** Whether `2 * oidBytes` hex digits, in either case, start at `at`. */
export function isHexOid(data: Uint8Array, at: number, oidBytes: number): boolean {
  const end = at + oidBytes * 2;
  if (end > data.length) return false;
  for (let i = at; i < end; i++) if (HEX_VALUES[data[i]!] === 255) return false;
  return true;
}

/** The raw oid written in hex at `at`; undefined when these are not that many hex digits. */
export function readHexOid(data: Uint8Array, at: number, oidBytes: number): Buffer | undefined {
  if (at + oidBytes * 2 > data.length) return undefined;
  const oid = Buffer.allocUnsafe(oidBytes);
  for (let i = 0; i < oidBytes; i++) {
    const high = HEX_VALUES[data[at + i * 2]!]!;
    const low = HEX_VALUES[data[at + i * 2 + 1]!]!;
    if ((high | low) === 255) return undefined;
    oid[i] = (high << 4) | low;
  }
  return oid;
}

/** Where the line that holds `at` ends: the offset of its LF, or the end of the data. */
export function lineEnd(data: Buffer, at: number): number {
  const end = data.indexOf(LF, at);
  return end < 0 ? data.length : end;
}

export function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

/** What C's isspace() takes in the ASCII range. */
export function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || (byte !== undefined && byte >= 0x09 && byte <= 0x0d);
}

/**
 * The time of an identity line (`name <email> seconds zone`), in seconds since 1970; 0 when it has none that can be read, as git
 * answers for damaged old lines. The last `>` of the line counts, so that an email that holds one does no harm.
 */
export function identTimeSeconds(data: Buffer, start: number, end: number): number {
  let at = end - 1;
  while (at >= start && data[at] !== GREATER) at--;
  if (at < start) return 0;
  at++;
  while (at < end && isSpace(data[at])) at++;
  let seconds = 0;
  for (; at < end && isDigit(data[at]); at++) {
    seconds = seconds * 10 + (data[at]! - 0x30);
    if (seconds > Number.MAX_SAFE_INTEGER) return Number.MAX_SAFE_INTEGER;
  }
  return seconds;
}
