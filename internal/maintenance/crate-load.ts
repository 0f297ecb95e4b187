import { createHash, randomUUID } from 'node:crypto';
import { codeOf, failpoint, messageOf, PackhouseError } from '../base/mod.ts';
import { encodeReachSidecar } from '../bitmap/mod.ts';
import type { SwapOutput } from '../catalog/mod.ts';
import { oidLength } from '../object/mod.ts';
import { crateKey, sidecarKey } from '../packstore/mod.ts';
import { writeCrateManifest } from './crate-manifest.ts';
import type { PreparedPack, PreparedSwap } from './prepared.ts';
import type { RewriteSettings } from './settings.ts';

/** What became of a crate. */
export interface ShippedCrate {
  readonly key: string;
  readonly lengthBytes: number;
  /** Swaps that were published, and those that were not: others were faster, or objects were condemned. */
  readonly swapped: readonly PreparedSwap[];
  readonly left: readonly PreparedSwap[];
}

interface Laid {
  readonly swap: PreparedSwap;
  readonly pack: PreparedPack;
  readonly extentOffset: number;
}

/**
 * Lays packs of several pools one after the other into a crate, puts it with its sidecars, and publishes pool by pool. A pool whose swap fails
 * leaves dead space; the others do not suffer. The rows of intents come before the first byte, so nothing that is put can get lost.
 */
export class CrateLoad {
  readonly #settings: RewriteSettings;
  readonly #reason: string;
  #laid: Laid[] = [];
  #lengthBytes = 0;

  /** `reason`: seal, compact, gather, sweep. */
  constructor(settings: RewriteSettings, reason: string) {
    this.#settings = settings;
    this.#reason = reason;
  }

  get lengthBytes(): number {
    return this.#lengthBytes;
  }

  /** Takes a swap over: it is disposed of here. */
  add(swap: PreparedSwap): void {
    for (const pack of swap.packs) {
      this.#laid.push({ swap, pack, extentOffset: this.#lengthBytes });
      this.#lengthBytes += pack.lengthBytes;
    }
  }

  /** Puts what was added and publishes it; null when nothing was. Empty afterwards, also when it fails. */
  async ship(signal: AbortSignal): Promise<ShippedCrate | null> {
    const laid = this.#laid;
    const lengthBytes = this.#lengthBytes;
    this.#laid = [];
    this.#lengthBytes = 0;
    if (laid.length === 0) return null;
    const swaps = [...new Set(laid.map(({ swap }) => swap))];
    const key = crateKey(randomUUID());
    const open = new Set(swaps);
    try {
      await this.#upload(key, laid, signal);
      await this.#settings.at?.('uploaded', laid[0]!.swap.poolId);
      for (const swap of swaps) if (await this.#publish(swap, laid)) open.delete(swap);
      const swapped = swaps.filter((swap) => !open.has(swap));
      return { key, lengthBytes, swapped, left: [...open] };
    } finally {
      await this.#letGo(key, swaps, open);
    }
  }

  /** Gives up what was added and not shipped. */
  async discard(): Promise<void> {
    const swaps = [...new Set(this.#laid.map(({ swap }) => swap))];
    this.#laid = [];
    this.#lengthBytes = 0;
    for (const swap of swaps) {
      swap.keeper.stop();
      await swap.dispose();
      await this.#settings.catalog.maintenance.release(swap.poolId, swap.token).catch(() => {});
    }
  }

  async #upload(key: string, laid: readonly Laid[], signal: AbortSignal): Promise<void> {
    const { catalog, store, leaseMs } = this.#settings;
    const intents = laid.map(({ swap, pack }) => ({ poolId: swap.poolId, packId: pack.packId, token: swap.token }));
    await catalog.maintenance.beginCrate({ key, tier: 'store', origin: this.#reason }, intents, leaseMs);
    await this.#settings.at?.('uploading', laid[0]!.swap.poolId);
    await store.put(key, this.#bytes(laid, signal), { signal });
    await failpoint('rewrite.crate-put');
    await store.put(sidecarKey(key, 'idx'), Buffer.concat(laid.map(({ pack }) => pack.idx())), { signal });
    const crate = laid.map((one) => ({
      poolId: one.swap.poolId,
      format: one.swap.format,
      inputs: one.swap.inputs,
      output: outputOf(one),
    }));
    await writeCrateManifest(this.#settings, key, this.#reason, crate, signal);
    // An empty one says that there is nothing to be made.
    if (laid.every(({ pack }) => pack.reach === undefined)) return;
    const parts = laid.flatMap(({ pack: { reach }, extentOffset }) => (reach ? [{ extentOffset, bytes: reach }] : []));
    await store.put(sidecarKey(key, 'reach'), encodeReachSidecar(parts), { signal });
  }

  /** What is put is hashed on the way: bytes that are not the ones that were verified do not become a crate. */
  async *#bytes(laid: readonly Laid[], signal: AbortSignal): AsyncGenerator<Buffer, void> {
    for (const { swap, pack } of laid) {
      const hash = createHash(swap.format);
      let left = pack.lengthBytes - oidLength(swap.format);
      for await (const piece of pack.read(signal)) {
        await this.#settings.throttle.take(piece.length, signal);
        hash.update(piece.subarray(0, Math.max(left, 0)));
        left -= piece.length;
        yield piece;
      }
      if (left !== -oidLength(swap.format) || !hash.digest().equals(pack.checksum)) {
        throw new PackhouseError('spool-corrupt', `pack ${pack.packId} changed between its verification and its upload`);
      }
    }
  }

  /** False when the swap cannot be: its inputs stay as they are. */
  async #publish(swap: PreparedSwap, laid: readonly Laid[]): Promise<boolean> {
    const { catalog, log } = this.#settings;
    const { poolId, format, epoch, token, inputs } = swap;
    const outputs = laid.filter((one) => one.swap === swap).map(outputOf);
    try {
      await catalog.maintenance.swap({ poolId, format, epoch, token, inputs, outputs, reason: this.#reason });
    } catch (error) {
      const code = codeOf(error);
      if (code !== 'lease-lost' && code !== 'epoch-moved') throw error;
      log.warn({ pool: poolId, error: messageOf(error) }, 'packs were not replaced');
      return false;
    }
    await this.#settings.at?.('swapped', poolId);
    return true;
  }

  async #letGo(key: string, swaps: readonly PreparedSwap[], open: ReadonlySet<PreparedSwap>): Promise<void> {
    const { catalog, store, log } = this.#settings;
    for (const swap of swaps) {
      swap.keeper.stop();
      await swap.dispose();
    }
    if (open.size === 0) return;
    // What cannot be taken back now is left to the intents, which run out.
    try {
      await catalog.maintenance.abortOutputs(key, [...open], async () => {
        await store.delete(key);
        await store.delete(sidecarKey(key, 'idx'));
        await store.delete(sidecarKey(key, 'reach'));
        await store.delete(sidecarKey(key, 'manifest'));
      });
      for (const { poolId, token } of open) await catalog.maintenance.release(poolId, token);
    } catch (error) {
      log.warn({ crate: key, error: messageOf(error) }, 'a crate that was given up is left to the reaper');
    }
  }
}

function outputOf({ pack, extentOffset }: Laid): SwapOutput {
  const { packId, lengthBytes, checksum, output } = pack;
  return { packId, extentOffset, lengthBytes, checksum, ...output };
}
