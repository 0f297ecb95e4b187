import {
  ObjectChecker as FsckChecker,
  kindName,
  type ObjectFormat,
  type ObjectProblem,
  type Severities,
  type TreeCopies,
  type TreeCursor,
  type TreeShape,
} from '../object/mod.ts';
import { PackError } from './errors.ts';

export type { Severities as CheckSeverities } from '../object/mod.ts';

/** Warnings that are kept to tell the user; a history full of them fills no memory. */
const WARNINGS_MAX = 20;

/** Checks the objects of one pack as they pass: what the severities call an error refuses the pack. */
export class ObjectChecker {
  readonly warnings: string[] = [];
  readonly severities: Severities;
  readonly #fsck: FsckChecker;

  constructor(format: ObjectFormat, severities: Severities) {
    this.severities = severities;
    this.#fsck = new FsckChecker(format, severities);
  }

  /** Whether nothing was found, not even what the severities ignore. @throws PackError with the id and words of `git fsck` */
  check(kind: number, oid: Buffer, data: Buffer): boolean {
    const problems = this.#fsck.check(kind, data);
    if (problems.length > 0) this.#take(kind, oid, problems);
    return this.#fsck.isFaultless;
  }

  /** See the object room's `ObjectChecker`. */
  checkChangedTree(data: Buffer, base: TreeShape, copies: TreeCopies, onNew: (cursor: TreeCursor) => void): number {
    return this.#fsck.checkChangedTree(data, base, copies, onNew);
  }

  changedShape(entries: number): TreeShape {
    return this.#fsck.changedShape(entries);
  }

  #take(kind: number, oid: Buffer, problems: readonly ObjectProblem[]): void {
    for (const problem of problems) {
      const line = `in ${kindName(kind)} ${oid.toString('hex')}: ${problem.id}: ${problem.message}`;
      if (problem.severity === 'error') throw new PackError(`error ${line}`, { id: problem.id, oid: oid.toString('hex') });
      if (problem.severity === 'warn' && this.warnings.length < WARNINGS_MAX) this.warnings.push(`warning ${line}`);
    }
  }

  /** Takes over what the checker of another thread has found. */
  merge(warnings: readonly string[], gitmodules: Uint8Array, gitattributes: Uint8Array): void {
    this.warnings.push(...warnings.slice(0, WARNINGS_MAX - this.warnings.length));
    this.#fsck.merge(gitmodules, gitattributes);
  }

  /** Raw oids that trees of the pack name .gitmodules and .gitattributes: their blobs are checked once all can be read. */
  dotFiles(): { gitmodules: Buffer; gitattributes: Buffer } {
    return { gitmodules: Buffer.from(this.#fsck.gitmodules.slab()), gitattributes: Buffer.from(this.#fsck.gitattributes.slab()) };
  }
}
