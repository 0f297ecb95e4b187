/** Why a name breaks git's rules for refs, in the order of git's check-ref-format page. */
export type RefNameFault =
  | 'empty-component'
  | 'component-starts-with-dot'
  | 'component-ends-with-lock'
  | 'one-level'
  | 'two-dots'
  | 'bad-character'
  | 'ends-with-dot'
  | 'at-brace'
  | 'lone-at';

const BAD_CHARACTER = /[\x00-\x20\x7f~^:?*[\\]/;

/**
 * What is wrong with a ref name (binary string), or null: the rules of `git check-ref-format`, with `--allow-onelevel` when asked.
 * A trailing dot is forbidden at the end of the name alone, `.lock` and a leading dot in every component.
 */
export function refNameFault(name: string, options: { readonly allowOneLevel?: boolean } = {}): RefNameFault | null {
  if (name === '@') return 'lone-at';
  const components = name.split('/');
  for (const component of components) {
    if (component === '') return 'empty-component';
    if (component.startsWith('.')) return 'component-starts-with-dot';
    if (component.endsWith('.lock')) return 'component-ends-with-lock';
  }
  if (name.includes('..')) return 'two-dots';
  if (BAD_CHARACTER.test(name)) return 'bad-character';
  if (name.includes('@{')) return 'at-brace';
  if (name.endsWith('.')) return 'ends-with-dot';
  if (components.length < 2 && options.allowOneLevel !== true) return 'one-level';
  return null;
}

/**
 * Whether receive-pack lets a push touch this name, to set or to delete it: below `refs/`, and what follows is a valid name of at least two
 * levels. `refs/heads/-x` and `refs/heads/@` are valid, `refs/stash` is not. A refusal is reported as `funny refname`.
 */
export function isPushableRefName(name: string): boolean {
  return name.startsWith('refs/') && refNameFault(name.slice('refs/'.length)) === null;
}

/** The longest component of a ref name that git stores, where it has room for `.lock`: its clones make a file of each ref. */
const LAST_COMPONENT_BYTES_MAX = 250;
const COMPONENT_BYTES_MAX = 255;

/** Whether git could not make the file of a ref: whoever fetches it then fails. */
export function tooLongForGit(name: string): boolean {
  const components = name.split('/');
  return (
    (components.pop() ?? '').length > LAST_COMPONENT_BYTES_MAX || components.some(({ length }) => length > COMPONENT_BYTES_MAX)
  );
}

/** Whether a name is, or is below, one of the prefixes that clients neither see nor may push to. */
export function isHiddenRef(name: string, hiddenRefs: readonly string[]): boolean {
  return hiddenRefs.some((prefix) => name === prefix || name.startsWith(prefix.endsWith('/') ? prefix : `${prefix}/`));
}
