import { codeOf, messageOf } from '../base/mod.ts';
import { type ManifestPack, type ManifestPush, type ManifestRecipe, readManifest } from '../packing/mod.ts';
import type { PackStore } from '../packstore/mod.ts';

/** A crate that the snapshots do not know: written after them, or given up. */
export interface NewerCrate {
  readonly crateKey: string;
  readonly packs: readonly ManifestPack[];
}

/** A push that the snapshots do not know, and what became of it here. */
export interface Candidate {
  readonly repository: string;
  readonly pushedAt: Date;
  readonly crateKey: string;
  readonly poolId: number;
  readonly packId: number;
  readonly push: ManifestPush;
}

/** Crates in the store that are none of `known`, with what their manifests say, in order of their packs' numbers. */
export async function newerCrates(
  store: PackStore,
  known: ReadonlySet<string>,
  onProblem: (message: string) => void,
): Promise<NewerCrate[]> {
  const found: NewerCrate[] = [];
  for await (const { key } of store.list('crates/')) {
    if (!key.endsWith('.pack') || known.has(key)) continue;
    try {
      const packs: ManifestPack[] = [];
      for await (const item of readManifest(store, key)) if (item.kind === 'pack') packs.push(item.pack);
      found.push({ crateKey: key, packs });
    } catch (error) {
      const code = codeOf(error);
      if (code !== 'manifest-bad' && code !== 'store-missing') throw error;
      onProblem(`${key} cannot be told whose it is, and stays as it is: ${messageOf(error)}`);
    }
  }
  const first = (crate: NewerCrate): number => crate.packs[0]?.packId ?? 0;
  return found.sort((a, b) => first(a) - first(b));
}

/** The recipes of a crate, one at a time. */
export async function* recipesOf(store: PackStore, crateKey: string): AsyncGenerator<ManifestRecipe> {
  for await (const item of readManifest(store, crateKey)) if (item.kind === 'recipe') yield item.recipe;
}

/** The pushes of newer crates, the oldest first. One that was sealed meanwhile is told by both packs: the first counts. */
export function candidatesOf(crates: readonly NewerCrate[]): Candidate[] {
  const candidates: Candidate[] = [];
  const told = new Set<number>();
  for (const { crateKey, packs } of crates) {
    for (const { poolId, packId, pushes } of packs) {
      for (const push of pushes) {
        if (push.pushId !== null && told.has(push.pushId)) continue;
        if (push.pushId !== null) told.add(push.pushId);
        const { owner, name, pushedAt } = push;
        candidates.push({ repository: `${owner}/${name}`, pushedAt, crateKey, poolId, packId, push });
      }
    }
  }
  return candidates.sort((a, b) => a.pushedAt.getTime() - b.pushedAt.getTime() || a.packId - b.packId);
}
