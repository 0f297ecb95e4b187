import {
  GITATTRIBUTES,
  GITIGNORE,
  GITMODULES,
  hasBackslash,
  hasSlash,
  isDotFile,
  isDotGit,
  isNtfsDotFile,
  isNtfsDotGit,
  MAILMAP,
  mayAlias,
  nameTraits,
} from './dot-names.ts';
import type { FsckId, Report } from './fsck-ids.ts';
import type { OidMap } from './oid-map.ts';
import { MODE_EXECUTABLE, MODE_FILE, MODE_GITLINK, MODE_SYMLINK, MODE_TREE, MODE_TYPE_MASK, type TreeCursor } from './tree.ts';

const DOT = 0x2e;
const SLASH = 0x2f;
const BACKSLASH = 0x5c;
const ZERO = 0x30;
/** Longer names trouble file systems and clients; git's default for `largePathname`. */
const NAME_BYTES_MAX = 4096;

// What was found in a tree, a bit each: every id is reported once a tree, however many entries have it.
const NULL_OID = 1 << 0;
const FULL_PATH = 1 << 1;
const HAS_DOT = 1 << 2;
const HAS_DOTDOT = 1 << 3;
const HAS_DOTGIT = 1 << 4;
const ZERO_PADDED = 1 << 5;
const BAD_MODE = 1 << 6;
const DUPLICATE = 1 << 7;
const UNSORTED = 1 << 8;
const LONG_NAME = 1 << 9;
const MODULES_LINK = 1 << 10;
const ATTRIBUTES_LINK = 1 << 11;
const IGNORE_LINK = 1 << 12;
const MAILMAP_LINK = 1 << 13;

const REPORTS: readonly (readonly [number, FsckId, string])[] = [
  [NULL_OID, 'nullSha1', 'an entry points to the all-zero oid'],
  [FULL_PATH, 'fullPathname', 'an entry has a slash in its name'],
  [HAS_DOT, 'hasDot', "an entry is named '.'"],
  [HAS_DOTDOT, 'hasDotdot', "an entry is named '..'"],
  [HAS_DOTGIT, 'hasDotgit', "an entry is named '.git', or what a file system takes for it"],
  [ZERO_PADDED, 'zeroPaddedFilemode', 'an entry has a mode that starts with a zero'],
  [BAD_MODE, 'badFilemode', 'an entry has a mode that git does not write'],
  [DUPLICATE, 'duplicateEntries', 'two entries have the same name'],
  [UNSORTED, 'treeNotSorted', 'the entries are not in order'],
  [LONG_NAME, 'largePathname', `an entry has a name longer than ${NAME_BYTES_MAX} bytes`],
  [MODULES_LINK, 'gitmodulesSymlink', '.gitmodules is a symbolic link'],
  [ATTRIBUTES_LINK, 'gitattributesSymlink', '.gitattributes is a symbolic link'],
  [IGNORE_LINK, 'gitignoreSymlink', '.gitignore is a symbolic link'],
  [MAILMAP_LINK, 'mailmapSymlink', '.mailmap is a symbolic link'],
];

/**
 * Checks trees, one after the other, allocating nothing for an entry. The oids that trees give the names .gitmodules and .gitattributes are
 * gathered in the two maps: their bytes are checked when all objects are there.
 */
export class TreeChecker {
  readonly #cursor: TreeCursor;
  readonly #gitmodules: OidMap;
  readonly #gitattributes: OidMap;
  /** Start and end of the names, in order, that a directory further down may turn out to repeat. */
  readonly #candidates: number[] = [];

  constructor(cursor: TreeCursor, gitmodules: OidMap, gitattributes: OidMap) {
    this.#cursor = cursor;
    this.#gitmodules = gitmodules;
    this.#gitattributes = gitattributes;
  }

  check(data: Buffer, report: Report): void {
    const cursor = this.#cursor;
    cursor.reset(data);
    this.#candidates.length = 0;
    let found = 0;
    let previousStart = -1;
    let previousEnd = -1;
    let previousIsTree = false;
    while (cursor.advance()) {
      const { nameStart, nameEnd, mode } = cursor;
      found |= this.#checkName(data, nameStart, nameEnd, mode);
      found |= modeFaults(mode);
      if (data[cursor.entryStart] === ZERO) found |= ZERO_PADDED;
      if (data[cursor.oidStart] === 0 && isNull(data, cursor.oidStart, cursor.oidBytes)) found |= NULL_OID;
      const isTree = (mode & MODE_TYPE_MASK) === MODE_TREE;
      if (previousStart >= 0) found |= this.#checkOrder(data, previousStart, previousEnd, previousIsTree, isTree);
      previousStart = nameStart;
      previousEnd = nameEnd;
      previousIsTree = isTree;
    }
    if (cursor.malformed !== undefined) report('badTree', cursor.malformed);
    if (found === 0) return;
    for (const [bit, id, message] of REPORTS) if (found & bit) report(id, message);
  }

  #checkName(data: Buffer, start: number, end: number, mode: number): number {
    const traits = nameTraits(data, start, end);
    let found = end - start > NAME_BYTES_MAX ? LONG_NAME : 0;
    if (hasSlash(traits)) found |= FULL_PATH;
    if (!mayAlias(data, start, traits)) return found;
    if (data[start] === DOT && end - start === 1) found |= HAS_DOT;
    if (data[start] === DOT && data[start + 1] === DOT && end - start === 2) found |= HAS_DOTDOT;
    if (isDotGit(data, start, end)) found |= HAS_DOTGIT;
    const isLink = (mode & MODE_TYPE_MASK) === MODE_SYMLINK;
    if (isDotFile(data, start, end, GITMODULES)) found |= this.#note(this.#gitmodules, isLink, MODULES_LINK, data);
    if (isDotFile(data, start, end, GITATTRIBUTES)) found |= this.#note(this.#gitattributes, isLink, ATTRIBUTES_LINK, data);
    if (isLink && isDotFile(data, start, end, GITIGNORE)) found |= IGNORE_LINK;
    if (isLink && isDotFile(data, start, end, MAILMAP)) found |= MAILMAP_LINK;
    return hasBackslash(traits) ? found | this.#checkBackslashed(data, start, end, isLink) : found;
  }

  /** What a client that takes backslashes for slashes would find in the folders that the name seems to have. */
  #checkBackslashed(data: Buffer, start: number, end: number, isLink: boolean): number {
    let found = 0;
    for (let at = start; at < end; at++) {
      if (data[at] !== BACKSLASH) continue;
      if (isNtfsDotGit(data, at + 1, end)) found |= HAS_DOTGIT;
      if (isNtfsDotFile(data, at + 1, end, GITMODULES)) found |= this.#note(this.#gitmodules, isLink, MODULES_LINK, data);
    }
    return found;
  }

  #note(oids: OidMap, isLink: boolean, linkFault: number, data: Buffer): number {
    if (isLink) return linkFault;
    oids.add(data, this.#cursor.oidStart);
    return 0;
  }

  /**
   * Compares an entry with the one before it: names in byte order, a directory's as if it ended in a slash. Since `a` sorts before `a.b` and
   * the directory `a` after it, a name may return with other entries between; such names wait among the candidates.
   */
  #checkOrder(data: Buffer, start1: number, end1: number, isTree1: boolean, isTree2: boolean): number {
    const { nameStart: start2, nameEnd: end2 } = this.#cursor;
    const length1 = end1 - start1;
    const length2 = end2 - start2;
    const common = Math.min(length1, length2);
    for (let i = 0; i < common; i++) {
      const difference = data[start1 + i]! - data[start2 + i]!;
      if (difference !== 0) return difference < 0 ? 0 : UNSORTED;
    }
    if (length1 === length2) return DUPLICATE;
    const next1 = length1 > common ? data[start1 + common]! : isTree1 ? SLASH : 0;
    const next2 = length2 > common ? data[start2 + common]! : isTree2 ? SLASH : 0;
    if (next1 === 0 && next2 < SLASH) this.#candidates.push(start1, end1);
    else if (next2 === SLASH && next1 > 0 && next1 < SLASH && this.#repeatsCandidate(data, start2, end2)) return DUPLICATE;
    return next1 < next2 ? 0 : UNSORTED;
  }

  #repeatsCandidate(data: Buffer, start: number, end: number): boolean {
    const candidates = this.#candidates;
    while (candidates.length > 0) {
      const candidateEnd = candidates.pop()!;
      const candidateStart = candidates.pop()!;
      const length = candidateEnd - candidateStart;
      if (length > end - start || data.compare(data, candidateStart, candidateEnd, start, start + length) !== 0) continue;
      if (length === end - start) return true;
      if (data[start + length]! < SLASH) {
        candidates.push(candidateStart, candidateEnd);
        return false;
      }
    }
    return false;
  }
}

function modeFaults(mode: number): number {
  const known =
    mode === MODE_FILE || mode === MODE_TREE || mode === MODE_EXECUTABLE || mode === MODE_SYMLINK || mode === MODE_GITLINK;
  return known ? 0 : BAD_MODE;
}

function isNull(data: Buffer, start: number, length: number): boolean {
  for (let i = start; i < start + length; i++) if (data[i] !== 0) return false;
  return true;
}
