import { codeOf, PackhouseError } from '../base/mod.ts';
import type { Catalog } from '../catalog/mod.ts';
import { isPushableRefName, tooLongForGit } from '../protocol/mod.ts';
import type { Repositories, RepositoryView } from '../reach/mod.ts';
import { peelTips } from './peel.ts';

export interface SetRefSettings {
  readonly catalog: Catalog;
  readonly repositories: Repositories;
  /** How far back the log can be relied on. */
  readonly retentionMs: number;
}

const TRIES_MAX = 4;

/**
 * Sets a ref of a repository to a commit or tag (hex) of its own history: one that its refs reach, or that they have reached within the retention.
 * An object that only another repository of the pool has is answered as one that exists nowhere. What the ref named before, null when it is new.
 * @throws PackhouseError `repository-not-found`, `ref-invalid`, `object-missing`, `ref-stale` when a push was faster
 */
export async function setRef(
  settings: SetRefSettings,
  repository: { readonly owner: string; readonly name: string },
  ref: string,
  hex: string,
  actor = '',
): Promise<Buffer | null> {
  const { owner, name } = repository;
  if (!isPushableRefName(ref)) throw new PackhouseError('ref-invalid', `${ref} is no name of a ref that could be pushed`);
  for (let tries = 1; ; tries++) {
    const view = await settings.repositories.open(owner, name);
    if (view === null) throw new PackhouseError('repository-not-found', `no repository ${owner}/${name}`);
    try {
      return await setOnce(settings, view, ref, hex, actor);
    } catch (error) {
      // Something was condemned meanwhile: what is left to go back to has changed.
      if (codeOf(error) !== 'epoch-moved' || tries === TRIES_MAX) throw error;
    }
  }
}

async function setOnce(
  { catalog, retentionMs }: SetRefSettings,
  view: RepositoryView,
  ref: string,
  hex: string,
  actor: string,
): Promise<Buffer | null> {
  const { graph, poolId } = view.pool;
  const logged = await catalog.history.restorable(poolId, view.id, retentionMs);
  const node = hex.length === 2 * graph.oidBytes ? graph.findHex(hex) : -1;
  if (node < 0 || !view.withTips(logged).reached().has(node))
    throw new PackhouseError('object-missing', `${hex} is no commit or tag of this repository's history`, { oid: hex });
  if (ref.startsWith('refs/heads/') && !graph.isCommit(node))
    throw new PackhouseError('ref-invalid', `${ref} is a branch, ${hex} no commit`);
  const before = view.refs.get(ref)?.oid ?? null;
  if (before === null && tooLongForGit(ref))
    throw new PackhouseError('ref-invalid', `${ref} is too long for git to make a file of`);
  const [peeled] = await peelTips(view, [hex], null);
  const command = { name: ref, oldOid: before, newOid: Buffer.from(hex, 'hex'), peeled: peeled ?? null };
  const [status] = await catalog.publish(
    {
      repositoryId: view.id,
      poolId,
      atomic: true,
      commands: [command],
      head: null,
      actor,
      requestId: '',
      options: [],
      pack: null,
      sweepEpoch: view.sweepEpoch,
    },
    view.format,
  );
  if (status === 'conflict') throw new PackhouseError('ref-invalid', `${ref} would be both a ref and a folder of refs`);
  if (status !== 'ok') throw new PackhouseError('ref-stale', `${ref} was changed by a push at the same time`);
  return before;
}
