import { forkRepository as insertFork, sharesPool } from '../../db/queries/forks.ts';
import { codeOf, PackhouseError } from '../base/mod.ts';
import type { Catalog } from './catalog.ts';
import type { Repository } from './types.ts';

export interface ForkRequest {
  readonly owner: string;
  readonly name: string;
  /** Null: as the parent is. */
  readonly private: boolean | null;
  /** Refs by these names, or in folders of these names, stay behind: what clients of the parent do not see. */
  readonly hiddenRefs: readonly string[];
  /** For the push log. */
  readonly actor: string;
}

/**
 * Makes a repository in its parent's pool, with copies of the parent's refs and of its HEAD, in one transaction and without writing
 * an object. What the parent's refs named before is not the fork's.
 * @throws PackhouseError `repository-exists`; `repository-not-found` when the parent was deleted meanwhile
 */
export async function forkRepository(catalog: Catalog, parent: Repository, request: ForkRequest): Promise<void> {
  const { owner, name } = request;
  try {
    const id = await insertFork(catalog.kysely, {
      parentId: parent.id,
      owner,
      name,
      private: request.private,
      hidden: request.hiddenRefs.map((prefix) => Buffer.from(prefix, 'latin1')),
      actor: request.actor,
    });
    if (id === null) throw new PackhouseError('repository-exists', `repository ${owner}/${name} exists already`);
  } catch (error) {
    if (codeOf(error) !== 'PH001') throw error;
    throw new PackhouseError('repository-not-found', `repository ${parent.owner}/${parent.name} does not exist`);
  }
}

/** Whether more than one repository, deleted ones too, is in a pool. */
export async function isSharedPool(catalog: Catalog, poolId: number): Promise<boolean> {
  return sharesPool(catalog.kysely, poolId);
}
