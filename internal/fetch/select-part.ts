import { codeOf } from '../base/mod.ts';
import type { BitSet } from '../bitmap/mod.ts';
import { OidMap } from '../object/mod.ts';
import type { PackReach } from '../reach/mod.ts';
import type { SelectInput } from './select.ts';

/** Objects of a pack that has bitmaps, as sets of positions. */
export interface SelectedPart {
  readonly reach: PackReach;
  /** What is sent. */
  readonly set: BitSet;
  /** What the client has. */
  readonly had: BitSet;
}

/**
 * What the bitmaps of a pack say is to be sent of it: all that the sent commits of the pack reach, without what the client's commits of it
 * reach, as far as the filter lets it pass. Null when most of what is sent is not in such a pack. Tags are never in it.
 */
export async function selectPart(input: SelectInput, walked: readonly number[]): Promise<SelectedPart | null> {
  const { view, range, filter, bitmapCommitsMin, signal } = input;
  const { pool } = view;
  if (walked.length < bitmapCommitsMin) return null;
  const reach = await pool.reaches.largest();
  if (reach === null) return null;
  const sent = walked.filter((node) => reach.positionOfNode(node) >= 0);
  if (sent.length < bitmapCommitsMin) return null;
  const had: number[] = [];
  for (let node = 0; node < pool.graph.size; node++)
    if (range.isHad.has(node) && pool.graph.isCommit(node) && reach.positionOfNode(node) >= 0) had.push(node);
  try {
    const set = reach.emptySet();
    const has = reach.emptySet();
    await reach.addReached(set, sent, pool, view.format, signal);
    await reach.addReached(has, had, pool, view.format, signal);
    set.andNot(has);
    await reach.keepPassing(set, filter.passes);
    return { reach, set, had: has };
  } catch (error) {
    if (codeOf(error) !== 'bad-bitmap') throw error;
    pool.reaches.distrust(reach.pack);
    return null;
  }
}

/** The oids at some positions. */
export function oidsAt(reach: PackReach, set: BitSet, oidBytes: number, from = 0): OidMap {
  const oids = new OidMap(oidBytes);
  for (let position = set.next(from); position < set.length; position = set.next(position + 1)) {
    const { block, row } = reach.rowAt(position);
    oids.add(block.oids, row * oidBytes);
  }
  return oids;
}
