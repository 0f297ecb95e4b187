/**
 * The object checks by git's message ids (git-fsck, "FSCK MESSAGES"), and how much each weighs.
 *
 * `error` refuses the object; `warn` and `info` let it pass with a word; `ignore` says nothing. Some ids are fatal: the object's links cannot
 * be read, so no configuration softens them.
 */
export type Severity = 'error' | 'warn' | 'info' | 'ignore';

/** What `git fsck --strict` makes of each id: its warnings are errors there, its infos are not. */
const STRICT = {
  // A commit or tag whose headers cannot be told from its body.
  nulInHeader: 'error',
  unterminatedHeader: 'error',
  // Identity lines: author, committer, tagger.
  badDate: 'error',
  badDateOverflow: 'error',
  badEmail: 'error',
  badName: 'error',
  badTimezone: 'error',
  missingEmail: 'error',
  missingNameBeforeEmail: 'error',
  missingSpaceBeforeDate: 'error',
  missingSpaceBeforeEmail: 'error',
  zeroPaddedDate: 'error',
  // Commits.
  badParentSha1: 'error',
  badTreeSha1: 'error',
  missingAuthor: 'error',
  missingCommitter: 'error',
  missingTree: 'error',
  multipleAuthors: 'error',
  nulInCommit: 'error',
  // Tags.
  badGpgsig: 'error',
  badHeaderContinuation: 'error',
  badObjectSha1: 'error',
  badTagName: 'info',
  badType: 'error',
  extraHeaderEntry: 'ignore',
  missingObject: 'error',
  missingTag: 'error',
  missingTagEntry: 'error',
  missingTaggerEntry: 'info',
  missingType: 'error',
  missingTypeEntry: 'error',
  // Trees.
  badFilemode: 'info',
  badTree: 'error',
  duplicateEntries: 'error',
  emptyName: 'error',
  fullPathname: 'error',
  gitattributesSymlink: 'info',
  gitignoreSymlink: 'info',
  gitmodulesSymlink: 'error',
  hasDot: 'error',
  hasDotdot: 'error',
  hasDotgit: 'error',
  largePathname: 'error',
  mailmapSymlink: 'info',
  nullSha1: 'error',
  treeNotSorted: 'error',
  zeroPaddedFilemode: 'error',
  // Blobs that a tree names .gitmodules or .gitattributes.
  gitattributesBlob: 'error',
  gitattributesLarge: 'error',
  gitattributesLineLength: 'error',
  gitattributesMissing: 'error',
  gitmodulesBlob: 'error',
  gitmodulesLarge: 'error',
  gitmodulesMissing: 'error',
  gitmodulesName: 'error',
  gitmodulesParse: 'info',
  gitmodulesPath: 'error',
  gitmodulesUpdate: 'error',
  gitmodulesUrl: 'error',
  // Objects of no kind.
  unknownType: 'error',
} as const satisfies Readonly<Record<string, Severity>>;

export type FsckId = keyof typeof STRICT;
export type Severities = Readonly<Record<FsckId, Severity>>;

export const STRICT_SEVERITIES: Severities = Object.freeze({ ...STRICT });

const FATAL: ReadonlySet<string> = new Set<FsckId>([
  'badObjectSha1',
  'badParentSha1',
  'badTree',
  'badTreeSha1',
  'badType',
  'missingObject',
  'missingTree',
  'nulInHeader',
  'unknownType',
  'unterminatedHeader',
]);

/**
 * The ids that real old histories carry, that git's server takes with its defaults (`receive.fsckObjects` is off), and that cannot hurt a
 * reader: text about people and times, and a mode written with a zero too many. Ids about file names, links and submodules
 * are not here: those are how clients get attacked.
 */
const RELAXED = {
  // `<a@b> <a@b> 1305038239 -0700`: the email twice, in dropwizard/dropwizard.
  badDate: 'warn',
  // Angle brackets inside emails and names (`a@b> <none@none>`), in TrinityCore/TrinityCore.
  badEmail: 'warn',
  badName: 'warn',
  // Time zones like +051800, from import tools that took the offset in other units: psf/requests, rails/rails.
  badTimezone: 'warn',
  // Authors that are only a name, from Subversion and CVS imports.
  missingEmail: 'warn',
  // ` <>` and the like, in highlightjs/highlight.js, haskell/haddock, yi-editor/yi.
  missingNameBeforeEmail: 'warn',
  // Taggers with no date at all, in coreutils, collectd/collectd, rhboot/grubby, mesa.
  missingSpaceBeforeDate: 'warn',
  // Histories brought over by hg-git, in pallets/werkzeug.
  missingSpaceBeforeEmail: 'warn',
  // A merge of two authorship lines by scripts; the id exists in git so that it can be softened alone.
  multipleAuthors: 'warn',
  // Seconds written with leading zeros by old importers.
  zeroPaddedDate: 'warn',
  // Directories as 040000, from other writers of trees in the years around 2010: ohmyzsh/ohmyzsh, squint-cljs/cherry.
  zeroPaddedFilemode: 'warn',
} as const satisfies Partial<Record<FsckId, Severity>>;

/** What a push is checked against unless configuration says otherwise. */
export const DEFAULT_SEVERITIES: Severities = Object.freeze({ ...STRICT, ...RELAXED });

/** The defaults with an operator's words laid over them. Unknown ids are passed over; fatal ones stay errors. */
export function severitiesWith(overrides: Readonly<Record<string, Severity>>, base: Severities = DEFAULT_SEVERITIES): Severities {
  const severities: Record<FsckId, Severity> = { ...base };
  for (const [id, severity] of Object.entries(overrides)) {
    if (Object.hasOwn(STRICT, id) && !FATAL.has(id)) severities[id as FsckId] = severity;
  }
  return Object.freeze(severities);
}

/** One thing wrong with an object. */
export interface ObjectProblem {
  readonly id: FsckId;
  readonly severity: Exclude<Severity, 'ignore'>;
  readonly message: string;
}

/** Takes note of a problem; true when it is an error, which ends the check of a header. */
export type Report = (id: FsckId, message: string) => boolean;
