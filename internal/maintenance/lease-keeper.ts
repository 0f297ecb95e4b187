import { type Logger, messageOf, PackhouseError } from '../base/mod.ts';
import type { Catalog } from '../catalog/mod.ts';

/**
 * Keeps packs leased while they are worked on. `signal` is aborted when the lease is lost, or when the work as a whole is to end: whoever works
 * on the packs listens to it. A renewal that fails for other reasons is tried again; if the lease runs out by that, the swap finds out.
 */
export class LeaseKeeper {
  readonly signal: AbortSignal;
  readonly #timer: NodeJS.Timeout;

  constructor(
    parts: { readonly catalog: Catalog; readonly log: Logger; readonly leaseMs: number },
    lease: { readonly poolId: number; readonly token: string; readonly packs: number },
    signal: AbortSignal,
  ) {
    const lost = new AbortController();
    this.signal = AbortSignal.any([signal, lost.signal]);
    const { poolId, token, packs } = lease;
    this.#timer = setInterval(() => {
      parts.catalog.maintenance.renew(poolId, token, parts.leaseMs).then(
        (held) => {
          if (held < packs)
            lost.abort(new PackhouseError('lease-lost', `packs of pool ${poolId} are not leased any more`, { pool: poolId }));
        },
        (error: unknown) => parts.log.warn({ error: messageOf(error), pool: poolId }, 'a lease was not renewed'),
      );
    }, parts.leaseMs / 3).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
