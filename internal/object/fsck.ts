import { checkGitattributes, checkGitmodules } from './dot-files.ts';
import { checkCommit, checkTag } from './fsck-header.ts';
import { DEFAULT_SEVERITIES, type FsckId, type ObjectProblem, type Report, type Severities } from './fsck-ids.ts';
import { TreeChecker, type TreeCopies, type TreeShape } from './fsck-tree.ts';
import { KIND_BLOB, KIND_COMMIT, KIND_TAG, KIND_TREE, type ObjectFormat, oidLength } from './oid.ts';
import { OidMap } from './oid-map.ts';
import { TreeCursor } from './tree.ts';

const NO_PROBLEMS: readonly ObjectProblem[] = Object.freeze([]);

/**
 * Checks objects as `git fsck --strict` does, with its message ids. Objects may come in any order: what a blob holds matters only
 * where a tree names it .gitmodules or .gitattributes, so such oids are gathered and `finishChecks` looks at them last.
 *
 * One checker serves one push; it is not shared between threads. Checkers that saw parts of a push are put together by `merge`.
 */
export class ObjectChecker {
  /** Raw oids of the entries that trees name .gitmodules and .gitattributes, or what some file system takes for these. */
  readonly gitmodules: OidMap;
  readonly gitattributes: OidMap;
  readonly severities: Severities;
  readonly #oidBytes: number;
  readonly #trees: TreeChecker;
  #problems: ObjectProblem[] | undefined;
  readonly #report: Report;
  /** Whether nothing was found in the object that `check` looked at last, faults that the severities ignore included. */
  isFaultless = true;

  constructor(format: ObjectFormat, severities: Severities = DEFAULT_SEVERITIES) {
    this.#oidBytes = oidLength(format);
    this.gitmodules = new OidMap(this.#oidBytes);
    this.gitattributes = new OidMap(this.#oidBytes);
    this.severities = severities;
    this.#trees = new TreeChecker(new TreeCursor(format), this.gitmodules, this.gitattributes);
    this.#report = (id, message) => {
      this.isFaultless = false;
      const severity = severities[id];
      if (severity === 'ignore') return false;
      this.#problems ??= [];
      this.#problems.push({ id, severity, message });
      return severity === 'error';
    };
  }

  /** The problems of one object, errors and others; kinds are pack numbers. An object without any costs no allocation. */
  check(kind: number, data: Buffer): readonly ObjectProblem[] {
    this.isFaultless = true;
    if (kind === KIND_BLOB) return NO_PROBLEMS;
    if (kind === KIND_TREE) this.#trees.check(data, this.#report);
    else if (kind === KIND_COMMIT) checkCommit(data, this.#oidBytes, this.#report);
    else if (kind === KIND_TAG) checkTag(data, this.#oidBytes, this.#report);
    else this.#report('unknownType', `${kind} is not a kind of object`);
    return this.#take();
  }

  /**
   * Checks a tree of which parts are those of another one in which nothing was found, by what is new in it (TreeChecker.checkChanged): the number of
   * its entries when there is nothing to find, -1 when `check` must look at all of it. `onNew` is told each new entry, at the cursor.
   */
  checkChangedTree(data: Buffer, base: TreeShape, copies: TreeCopies, onNew: (cursor: TreeCursor) => void): number {
    return this.#trees.checkChanged(data, base, copies, onNew);
  }

  /** The shape of the tree that `checkChangedTree` has just found to have so many entries: a view that its next call overwrites. */
  changedShape(entries: number): TreeShape {
    return this.#trees.shape(entries);
  }

  /** Takes over what another checker gathered: raw oids, one after the other. */
  merge(gitmodules: Uint8Array, gitattributes: Uint8Array): void {
    for (let at = 0; at < gitmodules.length; at += this.#oidBytes) this.gitmodules.add(gitmodules, at);
    for (let at = 0; at < gitattributes.length; at += this.#oidBytes) this.gitattributes.add(gitattributes, at);
  }

  /** The problems of what stands where a .gitmodules or .gitattributes should. */
  checkDotFile(file: DotFile, found: FoundObject | undefined): readonly ObjectProblem[] {
    const ids = DOT_FILE_IDS[file];
    if (found === undefined) this.#report(ids.missing, `the blob of ${file} cannot be read`);
    else if (found.kind !== KIND_BLOB) this.#report(ids.blob, `${file} is not a blob`);
    else if (found.data === undefined) this.#report(ids.large, `${file} is too large to be checked`);
    else if (file === '.gitmodules') checkGitmodules(found.data, this.#report);
    else checkGitattributes(found.data, this.#report);
    return this.#take();
  }

  #take(): readonly ObjectProblem[] {
    const problems = this.#problems ?? NO_PROBLEMS;
    this.#problems = undefined;
    return problems;
  }
}

export type DotFile = '.gitmodules' | '.gitattributes';

/** An object as a reader found it; without `data` it is larger than the file's bound (GITMODULES_BYTES_MAX, GITATTRIBUTES_BYTES_MAX). */
export interface FoundObject {
  readonly kind: number;
  readonly data: Buffer | undefined;
}

const DOT_FILE_IDS: Readonly<Record<DotFile, { missing: FsckId; blob: FsckId; large: FsckId }>> = {
  '.gitmodules': { missing: 'gitmodulesMissing', blob: 'gitmodulesBlob', large: 'gitmodulesLarge' },
  '.gitattributes': { missing: 'gitattributesMissing', blob: 'gitattributesBlob', large: 'gitattributesLarge' },
};

/** What `finishChecks` found wrong, and with which object (raw oid). */
export interface DotFileProblems {
  readonly oid: Buffer;
  readonly file: DotFile;
  readonly problems: readonly ObjectProblem[];
}

/**
 * Checks the blobs that trees named .gitmodules or .gitattributes, once all objects can be read. `read` gives an object of the push or of
 * the repository it goes to, undefined when there is none; it is called once for each oid and file, one at a time. Objects without problems
 * are passed over.
 */
export async function* finishChecks(
  checker: ObjectChecker,
  read: (oid: Buffer) => Promise<FoundObject | undefined>,
): AsyncGenerator<DotFileProblems> {
  for (const file of ['.gitmodules', '.gitattributes'] as const) {
    const oids = file === '.gitmodules' ? checker.gitmodules : checker.gitattributes;
    for (let index = 0; index < oids.size; index++) {
      const oid = Buffer.from(oids.oid(index));
      const problems = checker.checkDotFile(file, await read(oid));
      if (problems.length > 0) yield { oid, file, problems };
    }
  }
}
