import { PackhouseError } from '../base/mod.ts';
import type { Repositories, RepositoryView } from '../reach/mod.ts';
import type { PushRequest } from './settings.ts';

/** Far less than what maintenance replaces stays readable. */
const AGE_MS_MAX = 60_000;

/**
 * The repository of a push. What a push brings may take hours to come, longer than packs stay readable that others have taken the place of: so a
 * view is used for a minute, and whoever needs one later gets a new one.
 */
export class PushView {
  readonly #repositories: Repositories;
  readonly #push: PushRequest;
  #view: RepositoryView;
  #since = performance.now();

  constructor(repositories: Repositories, push: PushRequest, view: RepositoryView) {
    this.#repositories = repositories;
    this.#push = push;
    this.#view = view;
  }

  /** @throws PackhouseError `repository-not-found` when it was deleted or replaced meanwhile */
  async now(): Promise<RepositoryView> {
    if (performance.now() - this.#since < AGE_MS_MAX) return this.#view;
    const { owner, name } = this.#push;
    const since = performance.now();
    const view = await this.#repositories.open(owner, name);
    if (view === null || view.id !== this.#view.id)
      throw new PackhouseError('repository-not-found', `repository ${owner}/${name} was deleted meanwhile`);
    this.#view = view;
    this.#since = since;
    return view;
  }
}
