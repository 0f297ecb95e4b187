import { randomBytes } from 'node:crypto';
import { failpoint, type Logger, messageOf, PackhouseError } from '../base/mod.ts';
import type { Catalog, CatalogState, LastSnapshot } from '../catalog/mod.ts';
import type { PackStore } from '../packstore/mod.ts';
import { putSnapshot, SNAPSHOTS, type SnapshotHead, textSum } from './snapshot-format.ts';

/** A chain this long, or whose later parts are larger than its first, is followed by a new one. */
const CHAIN_LENGTH_MAX = 200;
const LATER_BYTES_FREE = 4 << 20;

export interface SnapshotSettings {
  readonly catalog: Catalog;
  readonly store: PackStore;
  readonly log?: Logger;
}

export type SnapshotReport =
  | {
      readonly kind: 'written';
      readonly key: string;
      readonly full: boolean;
      readonly push: number;
      readonly storedBytes: number;
    }
  /** Nothing has changed since the last one. */
  | { readonly kind: 'unchanged'; readonly push: number }
  /** Another process writes one. */
  | { readonly kind: 'busy' };

/**
 * Writes the catalog to the store, as far as it has changed since the last time: what `rebuild` makes a new one of. Its object blocks and
 * graph are left out where the packs in the store give them back. An unfinished one leaves nothing that counts; the next begins where the
 * last finished one ended.
 */
export async function writeSnapshot(settings: SnapshotSettings, signal?: AbortSignal): Promise<SnapshotReport> {
  const { snapshots } = settings.catalog;
  const report = await snapshots.exclusively(async (): Promise<SnapshotReport> => {
    const last = await snapshots.last();
    const previous = last !== null && (await goesOn(last, settings.store)) ? last : null;
    return snapshots.take(previous, async (state) => {
      if (previous !== null && !state.changed) return { kind: 'unchanged', push: state.pushId };
      // The newest is found by its time: a clock that was put back must not make it an older one.
      const takenAt = new Date(Math.max(state.takenAt.getTime(), (last?.takenAt.getTime() ?? 0) + 1));
      return write(settings, { ...state, takenAt }, previous, signal);
    });
  });
  return report ?? { kind: 'busy' };
}

/** Writes a whole snapshot to any store, of which this catalog keeps no account, below a prefix. */
export async function writeFullSnapshot(
  catalog: Catalog,
  store: PackStore,
  prefix: string,
  signal?: AbortSignal,
): Promise<{ readonly key: string; readonly head: SnapshotHead }> {
  return catalog.snapshots.take(null, async (state) => {
    const { key, head } = nameOf(state, null, prefix);
    await putSnapshot(store, key, head, state.sections, signal);
    return { key, head };
  });
}

async function goesOn(last: LastSnapshot, store: PackStore): Promise<boolean> {
  if (last.ordinal + 1 >= CHAIN_LENGTH_MAX || last.laterBytes > last.fullBytes + LATER_BYTES_FREE) return false;
  // One that follows what is not there is worth nothing: in a store that was emptied or exchanged a new chain has to begin.
  const keys = new Set(last.chainKeys);
  let bytes = 0;
  for await (const { key, lengthBytes } of store.list(`${SNAPSHOTS}${last.chain}/`)) if (keys.delete(key)) bytes += lengthBytes;
  return keys.size === 0 && bytes === last.fullBytes + last.laterBytes;
}

function nameOf(state: CatalogState, previous: LastSnapshot | null, prefix = SNAPSHOTS): { key: string; head: SnapshotHead } {
  const taken = state.takenAt.toISOString().replaceAll(/[-:]/g, '').toLowerCase();
  const chain = previous?.chain ?? `${taken}-${randomBytes(4).toString('hex')}`;
  const ordinal = previous === null ? 0 : previous.ordinal + 1;
  const key = `${prefix}${chain}/${String(ordinal).padStart(6, '0')}-${randomBytes(4).toString('hex')}.sql.gz`;
  return {
    key,
    head: {
      version: 1,
      chain,
      ordinal,
      previous: previous === null ? null : { key: previous.key, sha256: previous.sha256.toString('hex') },
      takenAt: state.takenAt.toISOString(),
      push: state.pushId,
      sequences: state.sequences,
    },
  };
}

async function write(
  { catalog, store, log }: SnapshotSettings,
  state: CatalogState,
  previous: LastSnapshot | null,
  signal?: AbortSignal,
): Promise<SnapshotReport> {
  const { key, head } = nameOf(state, previous);
  const { storedBytes, sha256 } = await putSnapshot(store, key, head, state.sections, signal);
  await failpoint('snapshot.put');
  const { chain, ordinal } = head;
  const { snapshot, pushId, fingerprint, takenAt } = state;
  await catalog.snapshots.record({ key, chain, ordinal, snapshot, pushId, storedBytes, sha256, fingerprint, takenAt });
  await failpoint('snapshot.recorded');
  if (ordinal === 0) {
    await removeOlderChains(catalog, store, key).catch((error: unknown) => {
      log?.warn({ error: messageOf(error) }, 'older snapshots could not be removed');
    });
  }
  return { kind: 'written', key, full: ordinal === 0, push: pushId, storedBytes };
}

/** Chains that began before this full one, once it is read back, are of no use any more; under a hold they are kept as everything is. */
async function removeOlderChains(catalog: Catalog, store: PackStore, full: string): Promise<void> {
  if ((await catalog.retire.holds()).length > 0) return;
  await textSum(store, full);
  const chain = chainOf(full);
  for await (const { key } of store.list(SNAPSHOTS)) {
    if (chainOf(key) < chain) await store.delete(key);
  }
}

/** The chain that a snapshot's key tells; chains sort by the time they began. */
function chainOf(key: string): string {
  const [, chain] = key.split('/');
  if (chain === undefined) throw new PackhouseError('snapshot-bad', `not the key of a snapshot: ${key}`, { key });
  return chain;
}
