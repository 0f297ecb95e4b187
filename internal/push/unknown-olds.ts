import type { Catalog } from '../catalog/mod.ts';
import type { RefCommand } from '../protocol/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';
import { isZero } from './judge-commands.ts';

const LOGGED_TIPS_MAX = 10_000;

/**
 * Old values of deletions, in hex, that the repository does not know: git deletes a ref whatever it holds then. What it knows is what its refs
 * reach or have ever reached; what another fork of its pool has is as unknown as what nobody has.
 */
export async function unknownOlds(
  catalog: Catalog,
  view: RepositoryView,
  commands: readonly RefCommand[],
): Promise<ReadonlySet<string>> {
  const { graph } = view.pool;
  const isReached = (hex: string): boolean => {
    const node = graph.findHex(hex);
    return node >= 0 && view.reached().has(node);
  };
  const doubtful = commands.filter(
    ({ ref, old, new: to }) => isZero(to) && !isZero(old) && view.refs.get(ref)?.oid.toString('hex') !== old && !isReached(old),
  );
  if (doubtful.length === 0) return new Set();
  const tips = await catalog.loggedTips(view.pool.poolId, view.id, null, LOGGED_TIPS_MAX);
  const logged = view.withTips(tips).reached();
  const named = new Set(tips.map((tip) => tip.toString('hex')));
  return new Set(doubtful.map(({ old }) => old).filter((old) => !named.has(old) && !logged.has(graph.findHex(old))));
}
