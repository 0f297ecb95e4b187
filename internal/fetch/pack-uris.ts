import type { Pack } from '../catalog/mod.ts';
import { OidMap } from '../object/mod.ts';
import type { PackStore } from '../packstore/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';
import type { Selection } from './select.ts';

/** A pack that a client gets from the store itself. */
export interface PackUri {
  /** The pack's trailer, in hex. */
  readonly checksum: string;
  readonly uri: string;
}

export interface PackUriOptions {
  readonly store: PackStore;
  /** Smaller packs come in the answer: a request of their own costs more. */
  readonly bytesMin: number;
  /** How long a URI can be used. */
  readonly lifeSeconds: number;
}

const CRATES_MAX = 100_000;

/** Makes URIs of stored packs. */
export class PackUris {
  readonly #options: PackUriOptions;
  /** Bytes of crates, which never change. */
  readonly #crateBytes = new Map<string, number>();

  constructor(options: PackUriOptions) {
    this.#options = options;
  }

  /**
   * Where a pack can be had, or null. A URI opens a whole object of the store, so that must be the pack and nothing else, not even what no row
   * names any more: it may be another repository's.
   */
  async of(pack: Pack, protocols: readonly string[]): Promise<PackUri | null> {
    const { store, bytesMin, lifeSeconds } = this.#options;
    const { crateKey, extentOffset, lengthBytes, chunkedCount } = pack;
    if (store.presignGet === undefined || pack.tier !== 'store' || crateKey === null) return null;
    if (chunkedCount > 0 || lengthBytes < bytesMin || extentOffset !== 0) return null;
    if ((await this.#bytesOf(crateKey)) !== lengthBytes) return null;
    const uri = await store.presignGet(crateKey, lifeSeconds);
    return protocols.includes(uri.slice(0, uri.indexOf(':'))) ? { checksum: pack.checksum.toString('hex'), uri } : null;
  }

  async #bytesOf(crateKey: string): Promise<number | undefined> {
    let bytes = this.#crateBytes.get(crateKey);
    if (bytes === undefined) {
      bytes = (await this.#options.store.head(crateKey))?.lengthBytes;
      if (bytes === undefined) return undefined;
      if (this.#crateBytes.size >= CRATES_MAX) this.#crateBytes.clear();
      this.#crateBytes.set(crateKey, bytes);
    }
    return bytes;
  }
}

/**
 * What of a selection the client gets by URI, and what is left. Only packs of which every object is in the answer anyway, so a URI tells no more than
 * the answer would. In a pool that forks share there are none: the store says when an object was made, and its name who else has it.
 */
export async function takeByUri(
  uris: PackUris,
  view: RepositoryView,
  selection: Selection,
  protocols: readonly string[],
): Promise<{ readonly uris: readonly PackUri[]; readonly rest: Selection }> {
  const none = { uris: [], rest: selection };
  if (selection.whole.length === 0 || (await view.pool.isShared())) return none;
  const { index } = view.pool;
  const isPart = new Set<Pack>();
  const left = await index.among(Buffer.from(selection.leftOut.slab()), () => true);
  for (const location of left) if (location !== null) isPart.add(location.pack);
  const taken = new Map<Pack, PackUri>();
  for (const pack of selection.whole) {
    const uri = isPart.has(pack) || !view.packReached(pack) ? null : await uris.of(pack, protocols);
    if (uri !== null) taken.set(pack, uri);
  }
  if (taken.size === 0) return none;
  const lacking = async (oids: OidMap): Promise<OidMap> => {
    const slab = Buffer.from(oids.slab());
    const width = view.pool.graph.oidBytes;
    const locations = await index.among(slab, (pack) => taken.has(pack));
    const kept = new OidMap(width);
    locations.forEach((location, i) => void (location === null && kept.add(slab, i * width)));
    return kept;
  };
  const rest = {
    ...selection,
    whole: selection.whole.filter((pack) => !taken.has(pack)),
    chosen: await lacking(selection.chosen),
    explicit: await lacking(selection.explicit),
  };
  return { uris: [...taken.values()], rest };
}
