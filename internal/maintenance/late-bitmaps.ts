import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, messageOf } from '../base/mod.ts';
import { encodeReachSidecar, type ReachPart } from '../bitmap/mod.ts';
import type { Pack, PackSummary } from '../catalog/mod.ts';
import { makeSpoolFolder } from '../ingest/mod.ts';
import { sidecarKey } from '../packstore/mod.ts';
import { makeReach } from '../repack/mod.ts';
import { packPieces } from './pack-source.ts';
import type { RewriteSettings } from './settings.ts';

export interface LateBitmapsReport {
  /** Crates that were looked into, packs that got bitmaps, and bytes of those. */
  readonly crates: number;
  readonly packs: number;
  readonly bytes: number;
  readonly failed: number;
}

/**
 * Bitmaps for packs that came to the store without: large pushes, which do not wait for them, and copies. A crate is looked into once; the
 * sidecar that it gets says so, also when none of its packs can have bitmaps. Nothing is leased: a sidecar that came too late has no crate,
 * and goes as orphans do; two that make the same one write the same bytes.
 */
export class LateBitmaps {
  readonly #settings: RewriteSettings;
  /** Crates that have their sidecar, as far as this process knows, or of which a pack could not be read. */
  readonly #done = new Set<string>();

  constructor(settings: RewriteSettings) {
    this.#settings = settings;
  }

  /** Crates that have packs large enough, and no sidecar yet. */
  async due(): Promise<{ key: string; packs: readonly PackSummary[] }[]> {
    const { catalog, store, bitmapObjectsMin } = this.#settings;
    const byCrate = new Map<string, PackSummary[]>();
    for (const pack of await catalog.maintenance.packs(null, ['live'])) {
      if (pack.tier !== 'store' || pack.crateKey === null || pack.objectCount < bitmapObjectsMin) continue;
      if (this.#done.has(pack.crateKey)) continue;
      const packs = byCrate.get(pack.crateKey) ?? [];
      byCrate.set(pack.crateKey, packs);
      packs.push(pack);
    }
    const due: { key: string; packs: PackSummary[] }[] = [];
    for (const [key, packs] of byCrate) {
      if ((await store.head(sidecarKey(key, 'reach'))) === null) due.push({ key, packs });
      else this.#done.add(key);
    }
    return due;
  }

  async make(signal: AbortSignal): Promise<LateBitmapsReport> {
    const { store, log } = this.#settings;
    const report = { crates: 0, packs: 0, bytes: 0, failed: 0 };
    for (const { key, packs } of await this.due()) {
      signal.throwIfAborted();
      try {
        const parts: ReachPart[] = [];
        for (const pack of packs) {
          const bytes = await this.#reachOf(pack, signal);
          if (bytes !== null) parts.push({ extentOffset: pack.extentOffset, bytes });
        }
        const sidecar = encodeReachSidecar(parts);
        await store.put(sidecarKey(key, 'reach'), sidecar, { signal });
        report.crates++;
        report.packs += parts.length;
        report.bytes += sidecar.length;
      } catch (error) {
        // One crate that cannot be read must not keep the others from it; the next process tries again.
        signal.throwIfAborted();
        log.error({ crate: key, code: codeOf(error), error: messageOf(error) }, 'the packs of a crate got no bitmaps');
        report.failed++;
      }
      this.#done.add(key);
    }
    return report;
  }

  async #reachOf({ poolId, id }: PackSummary, signal: AbortSignal): Promise<Buffer | null> {
    const { catalog } = this.#settings;
    const state = await catalog.maintenance.poolState(poolId);
    const [pack] = await catalog.packs(poolId, [id]);
    if (state === null || pack === undefined) return null;
    const graph = (await catalog.graphBlocks(poolId, [pack])).map(({ records }) => records);
    const blocks = (await catalog.blocks(poolId, [pack])).get(id) ?? [];
    const folder = await makeSpoolFolder(this.#settings.repack.spoolFolder);
    try {
      const path = join(folder, 'pack');
      await this.#spool(path, poolId, pack, signal);
      return await makeReach(
        { path, lengthBytes: pack.lengthBytes, checksum: pack.checksum, blocks, graph },
        state.format,
        signal,
      );
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async #spool(path: string, poolId: number, pack: Pack, signal: AbortSignal): Promise<void> {
    const file = await open(path, 'w', 0o600);
    try {
      for await (const piece of packPieces(this.#settings, poolId, pack, signal)) await file.write(piece);
    } finally {
      await file.close();
    }
  }
}
