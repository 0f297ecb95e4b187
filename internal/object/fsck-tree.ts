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

const SPACE = 0x20;
const DOT = 0x2e;
const SLASH = 0x2f;
const BACKSLASH = 0x5c;
const ZERO = 0x30;
/** Names that a new directory is compared with; behind so many the whole tree is checked. */
const LOOKED_BACK_MAX = 100;
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

/** Where the entries of a tree start, in order, and last its length. */
export type TreeShape = Uint32Array<ArrayBuffer>;

/** The entry before the one that is looked at: its name, and whether it is new. */
interface EntryBefore {
  readonly start: number;
  readonly end: number;
  readonly isTree: boolean;
  readonly isNew: boolean;
}

/** Parts of a tree that are parts of another one: `lengths[i]` bytes at `to[i]`, from `from[i]` of the other. In order of `to`. */
export interface TreeCopies {
  readonly count: number;
  readonly from: Uint32Array;
  readonly to: Uint32Array;
  readonly lengths: Uint32Array;
}

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
  #shape: TreeShape = new Uint32Array(64);

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
      found |= this.#checkEntry(data);
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

  /**
   * Checks a tree that was made of one without faults, by looking at what is new: an entry that was copied whole from where an entry starts in the
   * base is that entry again, and it and its neighbours in the same copy were looked at there. Never wrong, but not always able: -1 when there is
   * a fault, or a name that may stand twice with others between, so that the whole tree must be checked. Else the number of entries; `shape`
   * then says where they start. Each new entry is at the cursor when `onNew` is called; some were told already when the answer is -1.
   */
  checkChanged(data: Buffer, base: TreeShape, copies: TreeCopies, onNew: (cursor: TreeCursor) => void): number {
    const cursor = this.#cursor;
    const before = { start: -1, end: -1, isTree: false, isNew: false };
    let count = 0;
    let run = 0;
    for (let at = 0; at < data.length; ) {
      while (run < copies.count && copies.to[run]! + copies.lengths[run]! <= at) run++;
      const shift = run < copies.count && copies.to[run]! <= at ? copies.to[run]! - copies.from[run]! : Number.NaN;
      const first = Number.isNaN(shift) ? -1 : lastStartUpTo(base, at - shift);
      const last = first >= 0 && base[first] === at - shift ? lastStartUpTo(base, copies.from[run]! + copies.lengths[run]!) : -1;
      cursor.seek(data, at);
      const isNew = last <= first;
      if (!cursor.advance() || !this.#isAfter(data, before, isNew, count)) return -1;
      if (!isNew) {
        this.#reserve(count + last - first);
        for (let i = first; i < last; i++) this.#shape[count++] = base[i]! + shift;
        at = base[last]! + shift;
        cursor.seek(data, base[last - 1]! + shift);
        if (!cursor.advance()) return -1;
      } else {
        if (this.#checkEntry(data) !== 0) return -1;
        onNew(cursor);
        this.#reserve(count + 1);
        this.#shape[count++] = at;
        at = cursor.oidStart + cursor.oidBytes;
      }
      before.start = cursor.nameStart;
      before.end = cursor.nameEnd;
      before.isTree = (cursor.mode & MODE_TYPE_MASK) === MODE_TREE;
      before.isNew = isNew;
    }
    this.#shape[count] = data.length;
    return count;
  }

  /** The shape of the tree that `checkChanged` has looked at last, of so many entries: a view that its next call overwrites. */
  shape(count: number): TreeShape {
    return this.#shape.subarray(0, count + 1);
  }

  /** Room for so many entries and the end. */
  #reserve(count: number): void {
    if (count < this.#shape.length) return;
    const wider = new Uint32Array(2 * count + 2);
    wider.set(this.#shape);
    this.#shape = wider;
  }

  /**
   * Whether the entry at the cursor comes after the one before it and repeats no name (`checkOrder`). In a base without faults no file has the
   * name of a directory. So of such a pair one is new: a new file that is followed by names which it begins leaves the question open, a new
   * directory looks back over those names.
   */
  #isAfter(data: Buffer, before: EntryBefore, isNew: boolean, count: number): boolean {
    if (before.start < 0) return true;
    const { nameStart, nameEnd, mode } = this.#cursor;
    const length1 = before.end - before.start;
    const length2 = nameEnd - nameStart;
    const common = Math.min(length1, length2);
    for (let i = 0; i < common; i++) {
      const difference = data[before.start + i]! - data[nameStart + i]!;
      if (difference !== 0) return difference < 0;
    }
    if (length1 === length2) return false;
    const isTree = (mode & MODE_TYPE_MASK) === MODE_TREE;
    const next1 = length1 > common ? data[before.start + common]! : before.isTree ? SLASH : 0;
    const next2 = length2 > common ? data[nameStart + common]! : isTree ? SLASH : 0;
    if (next1 === 0 && next2 < SLASH && before.isNew) return false;
    if (next2 === SLASH && next1 < SLASH && isNew && this.#isRepeated(data, nameStart, nameEnd, count)) return false;
    return next1 < next2;
  }

  /**
   * Whether one of the entries so far, from the last one back as far as names begin with this one, has it. True as well when these are many: names
   * can be made that each look back over all others.
   */
  #isRepeated(data: Buffer, start: number, end: number, count: number): boolean {
    const length = end - start;
    for (let i = count - 1; i >= 0; i--) {
      if (i < count - LOOKED_BACK_MAX) return true;
      let at = this.#shape[i]!;
      while (data[at] !== SPACE) at++;
      at++;
      for (let k = 0; k < length; k++) if (data[at + k] !== data[start + k]) return false;
      if (data[at + length] === 0) return true;
    }
    return false;
  }

  /** What is wrong with the entry at the cursor alone. */
  #checkEntry(data: Buffer): number {
    const { entryStart, nameStart, nameEnd, oidStart, oidBytes, mode } = this.#cursor;
    let found = this.#checkName(data, nameStart, nameEnd, mode) | modeFaults(mode);
    if (data[entryStart] === ZERO) found |= ZERO_PADDED;
    if (data[oidStart] === 0 && isNull(data, oidStart, oidBytes)) found |= NULL_OID;
    return found;
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

/** The index of the last start that is not above `at`. */
function lastStartUpTo(shape: TreeShape, at: number): number {
  let low = 0;
  let high = shape.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (shape[middle]! <= at) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
