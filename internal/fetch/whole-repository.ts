import type { Ref } from '../catalog/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';
import { planPack } from './send-pack.ts';
import { ALONE } from './send-room.ts';
import { packPieces } from './write-pack.ts';

/** A history that is short is walked. */
const BITMAP_COMMITS_MIN = 200;

/** A pack that is made while it is read. */
export interface PackStream {
  readonly objectCount: number;
  readonly pieces: AsyncGenerator<Buffer>;
}

/** Everything that the given refs of a repository reach, as one pack that stands alone: what a clone of all of them would be sent. */
export async function repositoryPack(view: RepositoryView, refs: Iterable<Ref>, signal: AbortSignal): Promise<PackStream> {
  const { graph } = view.pool;
  const nodes = new Set<number>();
  const objects = new Map<string, Buffer>();
  for (const { oid } of refs) {
    const node = graph.find(oid);
    if (node >= 0) nodes.add(node);
    else objects.set(oid.toString('hex'), oid);
  }
  const { layout, options } = await planPack(
    {
      view,
      wants: { nodes: [...nodes], objects: [...objects.values()], by: view },
      common: [],
      shallow: { update: null, cut: new Set(), extraWants: [], isShallow: false },
      request: { thinPack: false, ofsDelta: true, includeTag: false, filter: null },
      signal,
      place: ALONE,
    },
    BITMAP_COMMITS_MIN,
  );
  return { objectCount: layout.objectCount, pieces: packPieces(view, layout, { ...options, onExpanded: () => {} }) };
}
