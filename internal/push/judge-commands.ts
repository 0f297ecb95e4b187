import { isHiddenRef, isPushableRefName, type RefCommand, tooLongForGit } from '../protocol/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';

/** One command of a push on its way: `error` is set by the first stage that refuses it, in the words that the client will see. */
export interface Verdict {
  readonly command: RefCommand;
  error: string | null;
}

export interface JudgeOptions {
  /** Prefixes of refs that clients neither see nor may push to. */
  readonly hiddenRefs: readonly string[];
  /** How many refs the repository may have. */
  readonly refsMax: number;
}

const ZERO = /^0+$/;

export function isZero(oid: string): boolean {
  return ZERO.test(oid);
}

/** What can be said of commands before anything else is known: names, duplicates (the first wins), hidden refs, HEAD's branch, too many. */
export function judgeCommands(commands: readonly RefCommand[], view: RepositoryView, options: JudgeOptions): Verdict[] {
  const seen = new Set<string>();
  let room = options.refsMax - view.refs.size;
  return commands.map((command) => {
    const verdict: Verdict = { command, error: null };
    if (!isPushableRefName(command.ref)) verdict.error = 'funny refname';
    else if (isHiddenRef(command.ref, options.hiddenRefs)) {
      verdict.error = isZero(command.new) ? 'deny deleting a hidden ref' : 'deny updating a hidden ref';
    } else if (seen.has(command.ref)) verdict.error = 'multiple updates for ref not allowed';
    else if (deletesHead(command, view)) verdict.error = 'deletion of the current branch prohibited';
    else if (!isZero(command.new) && !view.refs.has(command.ref)) {
      if (tooLongForGit(command.ref)) verdict.error = 'failed to update ref';
      else if (--room < 0) verdict.error = 'too many refs in the repository';
    }
    seen.add(command.ref);
    return verdict;
  });
}

/** A branch that HEAD merely follows may go: HEAD then follows another. The default branch, or one that was chosen, may not. */
function deletesHead(command: RefCommand, view: RepositoryView): boolean {
  if (!isZero(command.new) || command.ref !== view.head || !view.refs.has(command.ref)) return false;
  return view.headChosen || command.ref === 'refs/heads/main';
}

/**
 * In an atomic push no name may be another one's folder, whether it is created or deleted: git takes all of them in one transaction.
 * Names the commands that are in the way.
 */
export function folderConflicts(names: readonly string[]): Set<string> {
  const all = new Set(names);
  const conflicting = new Set<string>();
  for (const name of names) {
    for (let slash = name.indexOf('/'); slash >= 0; slash = name.indexOf('/', slash + 1)) {
      const folder = name.slice(0, slash);
      if (!all.has(folder)) continue;
      conflicting.add(folder);
      conflicting.add(name);
    }
  }
  return conflicting;
}
