/**
 * File names that some file system takes for `.git` or for one of git's own dot files, whatever their bytes are.
 *
 * - HFS+ folds case and leaves out sixteen Unicode characters that have no width: `.g<U+200C>it` opens `.git`.
 * - NTFS folds case, drops dots and spaces at the end, opens `.git::$INDEX_ALLOCATION` as the folder (a colon starts a stream's name), keeps short
 *   names (`git~1`, `gitmod~1`, and `gi7eba~1` with a hash once four are taken), and takes a backslash for a slash.
 *
 * Names are ranges of a tree's bytes; nothing is decoded or copied. CVE-2014-9390, CVE-2019-1352, CVE-2019-1353.
 */

export interface DotName {
  /** Without the dot, lower case. */
  readonly name: string;
  /** The first six characters of the short name that NTFS falls back to: two of the name, four of a hash of it. */
  readonly shortPrefix: string;
}

export const GITMODULES: DotName = { name: 'gitmodules', shortPrefix: 'gi7eba' };
export const GITATTRIBUTES: DotName = { name: 'gitattributes', shortPrefix: 'gi7d29' };
export const GITIGNORE: DotName = { name: 'gitignore', shortPrefix: 'gi250a' };
export const MAILMAP: DotName = { name: 'mailmap', shortPrefix: 'maba30' };

const DOT = 0x2e;
const SLASH = 0x2f;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const SPACE = 0x20;
const TILDE = 0x7e;

const SEEN_SLASH = 1;
const SEEN_BACKSLASH = 2;
const SEEN_TILDE = 4;
/** The first bytes of the characters that HFS+ leaves out: U+200C to U+206F start with e2, U+FEFF with ef. */
const SEEN_IGNORABLE = 8;
const CLASSES = new Uint8Array(256);
CLASSES[SLASH] = SEEN_SLASH;
CLASSES[BACKSLASH] = SEEN_BACKSLASH;
CLASSES[TILDE] = SEEN_TILDE;
CLASSES[0xe2] = SEEN_IGNORABLE;
CLASSES[0xef] = SEEN_IGNORABLE;

/** What a name holds, from one pass over it: bits for `mayAlias`, `hasSlash`, `hasBackslash`. */
export function nameTraits(data: Uint8Array, start: number, end: number): number {
  let traits = 0;
  for (let i = start; i < end; i++) traits |= CLASSES[data[i]!]!;
  return traits;
}

export function hasSlash(traits: number): boolean {
  return (traits & SEEN_SLASH) !== 0;
}

export function hasBackslash(traits: number): boolean {
  return (traits & SEEN_BACKSLASH) !== 0;
}

/** Whether a name can be any alias at all; false for nearly every name there is, so that the rest is seldom run. */
export function mayAlias(data: Uint8Array, start: number, traits: number): boolean {
  return data[start] === DOT || (traits & (SEEN_BACKSLASH | SEEN_TILDE | SEEN_IGNORABLE)) !== 0;
}

function lower(byte: number | undefined): number {
  if (byte === undefined) return -1;
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}

/** The offset after the characters at `at` that HFS+ leaves out. */
function skipIgnorable(data: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at + 2 < end) {
    const second = data[at + 1]!;
    const third = data[at + 2]!;
    if (data[at] === 0xef) {
      if (second !== 0xbb || third !== 0xbf) break;
    } else if (data[at] !== 0xe2) {
      break;
    } else if (second === 0x80) {
      if (!((third >= 0x8c && third <= 0x8f) || (third >= 0xaa && third <= 0xae))) break;
    } else if (second !== 0x81 || third < 0xaa || third > 0xaf) {
      break;
    }
    at += 3;
  }
  return at;
}

function isHfsDot(data: Uint8Array, start: number, end: number, name: string): boolean {
  let at = skipIgnorable(data, start, end);
  if (at >= end || data[at] !== DOT) return false;
  at++;
  for (let i = 0; i < name.length; i++) {
    at = skipIgnorable(data, at, end);
    if (at >= end || lower(data[at]) !== name.charCodeAt(i)) return false;
    at++;
  }
  at = skipIgnorable(data, at, end);
  return at >= end || data[at] === SLASH || !startsUtf8Char(data, at, end);
}

/**
 * Whether a well-formed UTF-8 character starts here. HFS+ writes other bytes as percent escapes; git takes such a name for the alias all the
 * same, and so do we.
 */
function startsUtf8Char(data: Uint8Array, at: number, end: number): boolean {
  const lead = data[at]!;
  if (lead < 0x80) return true;
  const bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || at + bytes > end) return false;
  for (let i = 1; i < bytes; i++) if ((data[at + i]! & 0xc0) !== 0x80) return false;
  const second = data[at + 1]!;
  // Overlong forms, surrogates, what is past U+10FFFF, and the two noncharacters U+FFFE and U+FFFF.
  if (lead === 0xe0) return second >= 0xa0;
  if (lead === 0xed) return second < 0xa0;
  if (lead === 0xef && second === 0xbf) return data[at + 2]! < 0xbe;
  if (lead === 0xf0) return second >= 0x90;
  return lead !== 0xf4 || second <= 0x8f;
}

function matchesFolded(data: Uint8Array, start: number, end: number, text: string): boolean {
  if (start + text.length > end) return false;
  for (let i = 0; i < text.length; i++) if (lower(data[start + i]) !== text.charCodeAt(i)) return false;
  return true;
}

/** Whether NTFS drops all that follows: spaces and dots up to the end, a colon or, where `separators` asks, a separator. */
function ntfsEnds(data: Uint8Array, start: number, end: number, separators: boolean): boolean {
  for (let at = start; at < end; at++) {
    const byte = data[at]!;
    if (byte === COLON || (separators && (byte === SLASH || byte === BACKSLASH))) return true;
    if (byte !== SPACE && byte !== DOT) return false;
  }
  return true;
}

/** Whether NTFS may open `.git` for the name that starts here. */
export function isNtfsDotGit(data: Uint8Array, start: number, end: number): boolean {
  if (matchesFolded(data, start, end, '.git')) return ntfsEnds(data, start + 4, end, true);
  return matchesFolded(data, start, end, 'git~1') && ntfsEnds(data, start + 5, end, true);
}

/** Whether some file system opens `.git` for this name. */
export function isDotGit(data: Uint8Array, start: number, end: number): boolean {
  return isHfsDot(data, start, end, 'git') || isNtfsDotGit(data, start, end);
}

/** Whether NTFS may open that dot file for the name that starts here. */
export function isNtfsDotFile(data: Uint8Array, start: number, end: number, file: DotName): boolean {
  if (data[start] === DOT && matchesFolded(data, start + 1, end, file.name)) {
    return ntfsEnds(data, start + 1 + file.name.length, end, false);
  }
  if (end - start < 8) return false;
  const ordinal = data[start + 7]!;
  if (data[start + 6] === TILDE && ordinal >= 0x31 && ordinal <= 0x34 && matchesFolded(data, start, end, file.name.slice(0, 6))) {
    return ntfsEnds(data, start + 8, end, false);
  }
  return isFallbackShortName(data, start, file.shortPrefix) && ntfsEnds(data, start + 8, end, false);
}

/** Whether eight bytes are a part of the prefix, a tilde and a number that does not start with 0. */
function isFallbackShortName(data: Uint8Array, start: number, prefix: string): boolean {
  let i = 0;
  while (i < 6 && data[start + i] !== TILDE) {
    if (lower(data[start + i]) !== prefix.charCodeAt(i)) return false;
    i++;
  }
  if (data[start + i] !== TILDE || data[start + i + 1] === 0x30) return false;
  for (i++; i < 8; i++) if (data[start + i]! < 0x30 || data[start + i]! > 0x39) return false;
  return true;
}

/** Whether some file system opens that dot file for this name. */
export function isDotFile(data: Uint8Array, start: number, end: number, file: DotName): boolean {
  return isHfsDot(data, start, end, file.name) || isNtfsDotFile(data, start, end, file);
}
