import { badObject } from './errors.ts';
import { KIND_BLOB, KIND_TREE, type ObjectFormat, oidLength } from './oid.ts';

/** The modes of tree entries (the file type in the upper bits, as in struct stat). */
export const MODE_TREE = 0o040000;
export const MODE_FILE = 0o100644;
export const MODE_EXECUTABLE = 0o100755;
export const MODE_SYMLINK = 0o120000;
export const MODE_GITLINK = 0o160000;
/** The bits of a mode that tell the type: compare `mode & MODE_TYPE_MASK` with MODE_TREE, MODE_SYMLINK. */
export const MODE_TYPE_MASK = 0o170000;
const TYPE_FILE = 0o100000;

/**
 * The kind of object that a tree entry's mode asks for. 0 for a gitlink, whose commit belongs to another repository, and for a type that
 * nobody writes: git takes that for a gitlink too (`canon_mode`), so what it names may be missing.
 */
export function kindOfMode(mode: number): number {
  const type = mode & MODE_TYPE_MASK;
  if (type === MODE_TREE) return KIND_TREE;
  return type === TYPE_FILE || type === MODE_SYMLINK ? KIND_BLOB : 0;
}

const SPACE = 0x20;
const EMPTY = Buffer.alloc(0);

/**
 * Walks the entries of raw trees without allocating: `reset` it on a tree, then each `next()` that answers true leaves the entry's mode
 * and offsets in the fields. One cursor serves any number of trees, one after the other. An entry is
 *
 *   octal mode, SP, name (bytes other than NUL), NUL, raw oid
 */
export class TreeCursor {
  readonly oidBytes: number;
  /** The low 16 bits of the mode, all that git looks at; not brought into a canonical form. */
  mode = 0;
  /** Where the entry starts: its first mode digit. */
  entryStart = 0;
  /** The name is `data[nameStart .. nameEnd)`. */
  nameStart = 0;
  nameEnd = 0;
  /** The raw oid is `data[oidStart .. oidStart + oidBytes)`. */
  oidStart = 0;
  #data: Buffer = EMPTY;
  #at = 0;
  #malformed: string | undefined;

  constructor(format: ObjectFormat) {
    this.oidBytes = oidLength(format);
  }

  /** Starts on another tree. */
  reset(data: Buffer): void {
    this.#data = data;
    this.#at = 0;
    this.#malformed = undefined;
  }

  /** Starts in the middle of a tree, where an entry starts. */
  seek(data: Buffer, at: number): void {
    this.#data = data;
    this.#at = at;
    this.#malformed = undefined;
  }

  /** Moves to the next entry; false after the last. @throws PackhouseError `bad-object` at an entry that cannot be read. */
  next(): boolean {
    if (this.advance()) return true;
    if (this.#malformed !== undefined) throw badObject(this.#malformed, this.#at);
    return false;
  }

  /** Like `next`, but also answers false at an entry that cannot be read: `malformed` then says why. */
  advance(): boolean {
    const data = this.#data;
    const start = this.#at;
    if (start >= data.length || this.#malformed !== undefined) return false;
    const oidBytes = this.oidBytes;
    // Whatever it holds, a tree ends in a NUL and an oid: asked first, so that trailing garbage is found before any entry is believed.
    if (data.length - start < oidBytes + 3 || data[data.length - oidBytes - 1] !== 0)
      return this.#fail('a tree ends inside an entry');
    let at = start;
    let mode = 0;
    let byte = data[at]!;
    if (byte === SPACE) return this.#fail('a tree entry has no mode');
    for (; byte !== SPACE; byte = data[++at]!) {
      if (byte < 0x30 || byte > 0x37) return this.#fail('the mode of a tree entry is not octal');
      mode = ((mode << 3) + (byte - 0x30)) & 0xffff;
    }
    const nameStart = ++at;
    while (data[at] !== 0 && at < data.length) at++;
    if (at === nameStart) return this.#fail('a tree entry has an empty name');
    if (at + 1 + oidBytes > data.length) return this.#fail('a tree ends inside an entry');
    this.entryStart = start;
    this.mode = mode;
    this.nameStart = nameStart;
    this.nameEnd = at;
    this.oidStart = at + 1;
    this.#at = at + 1 + oidBytes;
    return true;
  }

  /** Why the walk stopped before the end of the tree. */
  get malformed(): string | undefined {
    return this.#malformed;
  }

  /** The entry's name and oid: views of the tree. */
  name(): Buffer {
    return this.#data.subarray(this.nameStart, this.nameEnd);
  }

  oid(): Buffer {
    return this.#data.subarray(this.oidStart, this.oidStart + this.oidBytes);
  }

  #fail(reason: string): false {
    this.#malformed = reason;
    return false;
  }
}

export interface TreeEntry {
  readonly mode: number;
  readonly name: Buffer;
  readonly oid: Buffer;
}

/** The entries of a tree, for where speed does not matter: names and oids are views. @throws PackhouseError `bad-object`. */
export function* treeEntries(data: Buffer, format: ObjectFormat): Generator<TreeEntry> {
  const cursor = new TreeCursor(format);
  cursor.reset(data);
  while (cursor.next()) yield { mode: cursor.mode, name: cursor.name(), oid: cursor.oid() };
}
