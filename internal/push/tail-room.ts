import type { Catalog } from '../catalog/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';

/** How old the sum over all pools may be: bounds of the tail are for days when sealing does not keep up, not exact to the byte. */
const REFRESH_MS = 1_000;

/**
 * Whether the tail has room for another pack. One that it has no room for goes to the store, whatever its size: pushes get slower, and none is
 * refused, until sealing has caught up. Of the pool its view tells; of all pools a sum that is asked for beside the pushes.
 */
export class TailRoom {
  readonly #catalog: Catalog;
  readonly #poolBytesMax: number;
  readonly #bytesMax: number;
  #total = 0;
  #askedAt = Number.NEGATIVE_INFINITY;

  constructor(catalog: Catalog, poolBytesMax: number, bytesMax: number) {
    this.#catalog = catalog;
    this.#poolBytesMax = poolBytesMax;
    this.#bytesMax = bytesMax;
  }

  isFull(view: RepositoryView): boolean {
    this.#refresh();
    if (this.#total >= this.#bytesMax) return true;
    let bytes = 0;
    for (const pack of view.pool.index.packs.values()) if (pack.tier === 'tail') bytes += pack.lengthBytes;
    return bytes >= this.#poolBytesMax;
  }

  #refresh(): void {
    const now = performance.now();
    if (now - this.#askedAt < REFRESH_MS) return;
    this.#askedAt = now;
    this.#catalog.maintenance.tailBytesTotal().then(
      (bytes) => {
        this.#total = bytes;
      },
      // Asked again soon; whatever is wrong with the catalog, the push itself will find out.
      () => {},
    );
  }
}
