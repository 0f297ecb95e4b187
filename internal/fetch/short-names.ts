import type { Ref } from '../catalog/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';

/** The refs that a name may stand for, by git's rules of abbreviation (gitrevisions, "<refname>"): the first is the one it stands for. */
export function refsNamed(view: RepositoryView, name: string): Ref[] {
  const candidates = [
    name === 'HEAD' ? view.head : name,
    `refs/${name}`,
    `refs/tags/${name}`,
    `refs/heads/${name}`,
    `refs/remotes/${name}`,
    `refs/remotes/${name}/HEAD`,
  ];
  return candidates.map((candidate) => view.refs.get(candidate)).filter((ref) => ref !== undefined);
}
