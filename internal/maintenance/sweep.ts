import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { codeOf, messageOf, PackhouseError } from '../base/mod.ts';
import type { Pack, SwapOutput, SweepRoots } from '../catalog/mod.ts';
import { oidLength } from '../object/mod.ts';
import { type ManifestPack, writeManifest } from '../packing/mod.ts';
import { crateKey, sidecarKey } from '../packstore/mod.ts';
import { type RepackedPack, repack } from '../repack/mod.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { PoolMark } from './mark.ts';
import { packPieces } from './pack-source.ts';
import { planSweep, type SweepPlan, type SweepPlanInput, type SweptPack, stillHolds } from './plan-sweep.ts';
import type { RewriteSettings } from './settings.ts';
import { collectBases } from './thin-bases.ts';

/** How often a sweep begins anew when its packs are taken by others, and how often it catches up with pushes before it condemns. */
const ATTEMPTS_MAX = 3;
const CATCH_UPS_MAX = 50;
/** So much garbage in a pack is worth writing it again, however large the pack is. */
const WORTH_BYTES = 256 << 20;

/** Where a test may look in, or stop the work. */
export type SweepPoint = 'roots-read' | 'marked' | 'leased' | 'rewritten' | 'caught-up' | 'condemned';

export interface SweepSettings {
  readonly rewrite: RewriteSettings;
  /** How long what is let go can be brought back. */
  readonly retentionMs: number;
  /** More than this part of a pool's bytes is condemned only when `confirmed`. */
  readonly condemnedPercentMax: number;
  readonly confirmed: boolean;
  readonly dryRun: boolean;
  /** Every store pack with garbage is written again, not only when much of it is. */
  readonly thorough: boolean;
  readonly at?: (point: SweepPoint, poolId: number) => Promise<void>;
}

export interface SweepReport {
  readonly poolId: number;
  /**
   * `swept`: done; `clean`: there was nothing to do; `planned`: a dry run; `too-much`: to be confirmed; `busy`: others were faster, later again;
   * `unsound`: something does not fit together, nothing was done.
   */
  readonly outcome: 'swept' | 'clean' | 'planned' | 'too-much' | 'busy' | 'unsound';
  readonly problem: string | null;
  readonly totalBytes: number;
  readonly condemnedBytes: number;
  /** Deleted repositories that are gone for good. */
  readonly repositories: number;
  readonly packs: readonly SweptPack[];
}

/** One try's work: what to do, and on which marks it rests. */
interface Sweep {
  readonly roots: SweepRoots;
  readonly mark: PoolMark;
  readonly input: SweepPlanInput;
  readonly plan: SweepPlan;
  readonly bases: Map<number, Buffer[]>;
  /** No pack has taken the place of one that was looked at. */
  readonly isWhole: boolean;
}

/**
 * Lets go of what nothing reaches any more. Roots are refs, values of the log within the retention, and deleted repositories that are younger.
 *
 *   mark       everything that the roots reach, in one snapshot; whatever does not fit together stops the sweep
 *   plan       packs without anything that is kept go, packs with much garbage are written again without it
 *   rewrite    into new packs, verified, uploaded under intents
 *   condemn    under the pool's exclusive lock, if nothing that was pushed meanwhile rests on what goes; the epoch moves
 *
 * Bytes leave later, by `retire`. @throws what the store and the database throw, and the signal's reason
 */
export async function sweepPool(settings: SweepSettings, poolId: number, signal: AbortSignal): Promise<SweepReport> {
  let last: Sweep | null = null;
  const notes = settings.rewrite.catalog.sweep;
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      signal.throwIfAborted();
      const sweep = await prepare(settings, poolId, signal);
      if (sweep === null) return reportOf(poolId, 'clean', null);
      last = sweep;
      const early = judgeWhole(settings, sweep);
      // The garbage may be in the packs that came.
      if (early?.outcome === 'clean' && !sweep.isWhole) continue;
      if (early !== null) {
        if (early.outcome === 'clean') await notes.noteClean(sweep.roots);
        else if (early.outcome === 'too-much') await notes.noteStopped(poolId);
        return early;
      }
      const repositories = await execute(settings, sweep, signal);
      if (repositories !== null) return reportOf(poolId, 'swept', sweep, { repositories });
    }
    return reportOf(poolId, 'busy', last);
  } catch (error) {
    const code = codeOf(error);
    if (code !== 'sweep-unsound' && code !== 'repack-unsound') throw error;
    settings.rewrite.log.error({ pool: poolId, error: messageOf(error) }, 'a sweep was stopped: something does not fit together');
    if (!settings.dryRun) await notes.noteStopped(poolId);
    return reportOf(poolId, 'unsound', last, { problem: messageOf(error) });
  }
}

/**
 * The sweep of a pool as the loop does it: one in which others were faster each time is an error, so that it is tried again later and later. A walk
 * of all trees every interval would be a heavy load, and as much in vain. @throws PackhouseError `sweep-busy`
 */
export async function sweepInTurn(settings: SweepSettings, poolId: number, signal: AbortSignal): Promise<SweepReport> {
  const report = await sweepPool(settings, poolId, signal);
  if (report.outcome === 'busy')
    throw new PackhouseError('sweep-busy', `others were faster in pool ${poolId} each time`, { pool: poolId });
  return report;
}

function reportOf(
  poolId: number,
  outcome: SweepReport['outcome'],
  sweep: Sweep | null,
  more: Partial<SweepReport> = {},
): SweepReport {
  const { totalBytes = 0, condemnedBytes = 0, packs = [] } = sweep?.plan ?? {};
  return { poolId, outcome, problem: null, totalBytes, condemnedBytes, repositories: 0, packs, ...more };
}

/** Marks and plans; null when there is no such pool. */
async function prepare(settings: SweepSettings, poolId: number, signal: AbortSignal): Promise<Sweep | null> {
  const { catalog } = settings.rewrite;
  const roots = await catalog.sweep.roots(poolId, settings.retentionMs);
  if (roots === null) return null;
  await settings.at?.('roots-read', poolId);
  const mark = new PoolMark(catalog, settings.rewrite.bytes, roots, signal);
  await mark.extend(roots.oids);
  await settings.at?.('marked', poolId);
  const bases = new Map<number, Buffer[]>();
  await collectBases(catalog, mark.view, bases);
  const { view } = mark;
  const live = await catalog.sweep.packs(roots);
  const input: SweepPlanInput = {
    // What came since the marks were made is not looked at: it stays.
    packs: live.filter((pack) => pack.tier === 'chunks' || view.index.packs.has(pack.id)),
    blocksOf: (packId) => view.index.blocksOf(view.index.packs.get(packId)!),
    reached: mark.reached,
    basesOf: bases,
    recipes: await catalog.sweep.recipeUses(poolId),
    worthPercent: settings.thorough ? 0 : settings.rewrite.compaction.deadPercent,
    worthBytes: WORTH_BYTES,
  };
  const ids = new Set(live.map(({ id }) => id));
  const isWhole = [...view.index.packs.keys()].every((id) => ids.has(id));
  return { roots, mark, input, plan: await planSweep(input), bases, isWhole };
}

/** The report, when there is nothing to do or it must not be done. */
function judgeWhole(settings: SweepSettings, sweep: Sweep): SweepReport | null {
  const { roots, plan } = sweep;
  const { poolId } = roots;
  if (settings.dryRun) return reportOf(poolId, 'planned', sweep, { repositories: roots.expired });
  if (plan.packs.every((pack) => pack.action === 'keep') && roots.expired === 0) return reportOf(poolId, 'clean', sweep);
  const isTooMuch = plan.condemnedBytes * 100 > plan.totalBytes * settings.condemnedPercentMax;
  // With no repository left there is nothing that marks could have missed: who deleted the last one has said yes.
  if (isTooMuch && roots.repositories > 0 && !settings.confirmed) return reportOf(poolId, 'too-much', sweep);
  return null;
}

/** Leases, rewrites, condemns. The number of repositories that are gone; null when others were faster: then plan anew. */
async function execute(settings: SweepSettings, sweep: Sweep, signal: AbortSignal): Promise<number | null> {
  const { catalog } = settings.rewrite;
  const { poolId } = sweep.roots;
  const token = randomUUID();
  const inputs = sweep.plan.packs.filter((pack) => pack.action !== 'keep' && pack.tier !== 'chunks').map((pack) => pack.packId);
  if (!(await catalog.maintenance.lease(poolId, inputs, token, settings.rewrite.leaseMs))) return null;
  const keeper = new LeaseKeeper(settings.rewrite, { poolId, token, packs: inputs.length }, signal);
  const work = new Rewrites(settings.rewrite, sweep, token, keeper.signal);
  let done = false;
  try {
    await settings.at?.('leased', poolId);
    for (const pack of sweep.plan.packs) if (pack.action === 'rewrite') await work.rewrite(pack.packId);
    await settings.at?.('rewritten', poolId);
    const repositories = await condemn(settings, sweep, token, inputs, work.outputs);
    done = repositories !== null;
    return repositories;
  } catch (error) {
    const code = codeOf(error);
    if (code !== 'lease-lost' && code !== 'epoch-moved') throw error;
    settings.rewrite.log.warn({ pool: poolId, error: messageOf(error) }, 'a sweep begins anew');
    return null;
  } finally {
    keeper.stop();
    if (!done) {
      // What cannot be taken back now is left to the intents and leases, which run out.
      await work.undo().catch(() => {});
      await catalog.maintenance.release(poolId, token).catch(() => {});
    }
  }
}

/**
 * Catches up with what was pushed since the roots were read, outside of the lock, then takes it and looks once more: only when nothing has come
 * in between is anything condemned, so that nobody waits for a walk. Null when the plan does not hold any more.
 */
async function condemn(
  settings: SweepSettings,
  sweep: Sweep,
  token: string,
  inputs: readonly number[],
  outputs: readonly SwapOutput[],
): Promise<number | null> {
  const { catalog } = settings.rewrite;
  const { roots, mark, plan } = sweep;
  const { poolId, format, epoch } = roots;
  for (let i = 0; i < CATCH_UPS_MAX; i++) {
    const news = await catalog.sweep.news(roots);
    const isKnown = (): boolean => news.packs.every((id) => mark.view.index.packs.has(id));
    if (!mark.hasAll(news.oids) || !isKnown()) {
      await mark.extend(news.oids);
      await collectBases(catalog, mark.view, sweep.bases);
      const bases = [...sweep.bases]
        .filter(([id]) => !sweep.input.packs.some((pack) => pack.id === id))
        .flatMap(([, oids]) => oids);
      if (!(await stillHolds(sweep.input, plan, bases))) return null;
    }
    await settings.at?.('caught-up', poolId);
    const condemned = { poolId, format, epoch, token, inputs, outputs, bytes: plan.condemnedBytes };
    const result = await catalog.sweep.condemn(roots, condemned, ({ oids, packs }) => {
      return mark.hasAll(oids) && packs.every((id) => mark.view.index.packs.has(id));
    });
    if (result !== null) {
      await settings.at?.('condemned', poolId);
      return result.repositories;
    }
  }
  return null;
}

/** New packs that hold what stays of old ones. */
class Rewrites {
  readonly outputs: SwapOutput[] = [];
  readonly #settings: RewriteSettings;
  readonly #sweep: Sweep;
  readonly #token: string;
  readonly #signal: AbortSignal;
  readonly #crates: string[] = [];

  constructor(settings: RewriteSettings, sweep: Sweep, token: string, signal: AbortSignal) {
    this.#settings = settings;
    this.#sweep = sweep;
    this.#token = token;
    this.#signal = signal;
  }

  /** Writes a pack again without its garbage, verifies it, and puts it into a crate of its own: compaction brings small ones together. */
  async rewrite(packId: number): Promise<void> {
    const { mark, plan, roots, input } = this.#sweep;
    const pack = mark.view.index.packs.get(packId)!;
    const made = await repack({
      format: roots.format,
      packs: [{ pack, blocks: input.blocksOf(packId) }],
      readPack: (one) => packPieces(this.#settings, roots.poolId, one, this.#signal),
      readObject: (oid) => mark.view.read(oid, this.#signal),
      keep: (oids, at) => mark.reached.has(oids, at) || plan.pinned.has(oids, at),
      settings: this.#settings.repack,
      signal: this.#signal,
    });
    try {
      await this.#upload(pack, made);
    } finally {
      await made.dispose();
    }
  }

  async #upload(pack: Pack, made: RepackedPack): Promise<void> {
    const { catalog, store, leaseMs, throttle } = this.#settings;
    const { poolId } = this.#sweep.roots;
    const packId = await catalog.reservePackId();
    const key = crateKey(randomUUID());
    await catalog.maintenance.beginCrate(
      { key, tier: 'store', origin: 'sweep' },
      [{ poolId, packId, token: this.#token }],
      leaseMs,
    );
    this.#crates.push(key);
    await throttle.take(made.lengthBytes, this.#signal);
    const options = { signal: this.#signal };
    await store.put(key, createReadStream(made.path), options);
    await store.put(sidecarKey(key, 'idx'), made.idx, options);
    await this.#writeManifest(key, packId, pack, made);
    this.outputs.push({
      packId,
      extentOffset: 0,
      lengthBytes: made.lengthBytes,
      checksum: made.checksum,
      objectCount: made.objectCount,
      ...made.facts,
      hasDuplicates: pack.hasDuplicates,
      tables: { kind: 'made', blocks: made.blocks, graph: made.graph },
      chunkedOids: made.chunkedOids,
    });
  }

  async #writeManifest(key: string, packId: number, from: Pack, made: RepackedPack): Promise<void> {
    const { catalog, store } = this.#settings;
    const { poolId, format } = this.#sweep.roots;
    const width = oidLength(format);
    const wanted = Array.from({ length: made.chunkedOids.length / width }, (_, i) => ({
      packId: from.id,
      oid: made.chunkedOids.subarray(i * width, (i + 1) * width),
    }));
    const recipes = wanted.length === 0 ? [] : await catalog.chunks.recipes(poolId, wanted);
    const { lengthBytes, objectCount, checksum, facts } = made;
    const pack: ManifestPack = {
      poolId,
      packId,
      format,
      tier: 'store',
      origin: 'sweep',
      extentOffset: 0,
      lengthBytes,
      objectCount,
      chunkedCount: wanted.length,
      checksum,
      ...facts,
      hasDuplicates: from.hasDuplicates,
      inputs: [from.id],
      pushes: [],
    };
    await writeManifest(
      store,
      key,
      [pack],
      recipes.map(({ oid, recipe }) => ({ poolId, packId, oid, recipe })),
      this.#signal,
    );
  }

  async undo(): Promise<void> {
    const { catalog, store } = this.#settings;
    const packs = [{ poolId: this.#sweep.roots.poolId, token: this.#token }];
    for (const key of this.#crates) {
      await catalog.maintenance.abortOutputs(key, packs, async () => {
        await store.delete(sidecarKey(key, 'idx'));
        await store.delete(sidecarKey(key, 'manifest'));
        await store.delete(key);
      });
    }
  }
}
