/**
 * object: git's objects as bytes: their names, their grammar, and the checks that bytes from a stranger must pass.
 *
 * - Names: `ObjectFormat`, kinds and their numbers; `OidMap`, a set of raw oids with dense indexes in a flat slab.
 * - Grammar: `parseCommit`, `parseTag`, `TreeCursor` read the links of an object in place, lenient as git's own readers are. An object
 *   that cannot be read throws PackhouseError `bad-object` with the offset.
 * - Checks: `ObjectChecker` finds what `git fsck --strict` finds, by git's message ids; `DEFAULT_SEVERITIES` lists what is taken from real old
 *   histories all the same, with the reason for each id. A checker looks at objects in any order; `finishChecks` then looks into the
 *   blobs that trees name .gitmodules and .gitattributes.
 * - Graph records: the links of commits and tags as the catalog keeps them.
 *
 * Pure functions of bytes: no I/O, no state beyond the collectors a caller makes.
 */
export { type ParsedCommit, parseCommit } from './commit.ts';
export { GITATTRIBUTES_BYTES_MAX, GITMODULES_BYTES_MAX } from './dot-files.ts';
export { type DotFile, type DotFileProblems, type FoundObject, finishChecks, ObjectChecker } from './fsck.ts';
export {
  DEFAULT_SEVERITIES,
  type FsckId,
  type ObjectProblem,
  type Severities,
  type Severity,
  STRICT_SEVERITIES,
  severitiesWith,
} from './fsck-ids.ts';
export type { TreeCopies, TreeShape } from './fsck-tree.ts';
export { type CommitRecord, encodeCommitRecord, encodeTagRecord, type GraphVisitor, readGraphRecords } from './graph-record.ts';
export {
  KIND_BLOB,
  KIND_COMMIT,
  KIND_TAG,
  KIND_TREE,
  kindName,
  kindNumber,
  type ObjectFormat,
  type ObjectKind,
  oidLength,
  zeroOid,
} from './oid.ts';
export { OidMap } from './oid-map.ts';
export { type ParsedTag, parseTag } from './tag.ts';
export {
  kindOfMode,
  MODE_FILE,
  MODE_TREE,
  MODE_TYPE_MASK,
  TreeCursor,
  type TreeEntry,
  treeEntries,
} from './tree.ts';
