import { randomUUID } from 'node:crypto';
import { codeOf, failpoint, messageOf } from '../base/mod.ts';
import type { Catalog, CatalogLoad, StagedPack } from '../catalog/mod.ts';
import type { IncomingLinks } from '../reach/mod.ts';
import { type AdoptedUpdate, Adopter, plain } from './adopt.ts';
import { newestChain, type SnapshotChain } from './chains.ts';
import { checkPackHash, type IndexSettings, indexPack } from './index-pack.ts';
import { type Candidate, candidatesOf, type NewerCrate, newerCrates, recipesOf } from './newer.ts';
import { readSnapshot } from './snapshot-format.ts';

export interface RebuildSettings extends IndexSettings {
  /** Of an empty database at the newest schema. */
  readonly catalog: Catalog;
  /** Do pushes again that came after the snapshot. */
  readonly adopt: boolean;
  /** Why: the hold that is set says so. */
  readonly reason: string;
  readonly onProgress?: (text: string) => void;
  readonly signal?: AbortSignal;
}

/** A pack that the snapshot names and the store does not give back. */
export interface LostPack {
  readonly poolId: number;
  readonly packId: number;
  readonly crateKey: string;
  readonly extentOffset: number;
  /** `missing`: its bytes are not there. `damaged`: they are not what they were, and stay where they are. */
  readonly kind: 'missing' | 'damaged';
  readonly message: string;
}

export interface RebuildReport {
  /** What refs, log and tails come from; null: there was none. What was pushed after it and is not adopted is lost. */
  readonly snapshot: {
    readonly key: string;
    readonly push: number;
    readonly takenAt: string;
    readonly ageSeconds: number;
  } | null;
  readonly storePacks: number;
  readonly tailPacks: number;
  readonly objects: number;
  readonly lost: readonly LostPack[];
  /** Everything else that was not as it should be. */
  readonly problems: readonly string[];
  /** Crates that the snapshot does not know. */
  readonly newerCrates: readonly {
    readonly crateKey: string;
    readonly packs: readonly number[];
    readonly tips: readonly string[];
  }[];
  /** Pushes of those crates, the oldest first. */
  readonly candidates: readonly {
    readonly repository: string;
    readonly pushedAt: string;
    readonly crateKey: string;
    readonly updates: readonly AdoptedUpdate[];
  }[];
}

/**
 * Makes a new catalog out of what is in the store: pools, names, refs, log and tails of the newest snapshot that can be read, objects and commit
 * graph of the packs' own bytes. Says what it could not bring back. Sets a hold, so that nothing in the store that the new catalog does
 * not know is deleted until an operator has looked.
 * @throws PackhouseError `catalog-not-empty`; a rebuild that was stopped has to begin again with an empty database
 */
export async function rebuild(settings: RebuildSettings): Promise<RebuildReport> {
  const problems: string[] = [];
  const onProblem = (message: string): void => void problems.push(message);
  const chain = await newestChain(settings.store, onProblem);
  const built = await settings.catalog.snapshots.load(async (load) => {
    await load.begin();
    if (chain !== null) await loadChain(settings, load, chain);
    const newer = await newerCrates(settings.store, await load.crates(), onProblem);
    // Without a snapshot the manifests are all there is.
    const staged = settings.adopt || chain === null ? newer : [];
    for (const crate of staged) await stageCrate(settings, load, crate, settings.adopt, onProblem);
    await failpoint('rebuild.staged');
    const packs = await bringBack(settings, load, new Set(staged.flatMap((crate) => crate.packs.map(nameOf))), onProblem);
    await failpoint('rebuild.before-names');
    await load.publishNames(knownNumbers(chain, newer));
    return { newer, ...packs };
  });
  const candidates = await adopt(settings, candidatesOf(built.newer), built.links);
  const last = chain?.at(-1) ?? null;
  return {
    snapshot:
      last === null
        ? null
        : {
            key: last.key,
            push: last.head.push,
            takenAt: last.head.takenAt,
            ageSeconds: Math.max(0, Math.round((Date.now() - Date.parse(last.head.takenAt)) / 1000)),
          },
    storePacks: built.storePacks,
    tailPacks: built.tailPacks,
    objects: built.objects,
    lost: built.lost,
    problems,
    newerCrates: built.newer.map(({ crateKey, packs }) => ({
      crateKey,
      packs: packs.map((pack) => pack.packId),
      tips: packs.flatMap((pack) => oidsOf(pack.tips, pack.format)),
    })),
    candidates,
  };
}

async function loadChain(settings: RebuildSettings, load: CatalogLoad, chain: SnapshotChain): Promise<void> {
  for (const { key, head } of chain) {
    settings.onProgress?.(`snapshot ${key}`);
    await load.beginSnapshot(head.ordinal === 0);
    const parts = readSnapshot(settings.store, key);
    for await (const part of parts) {
      settings.signal?.throwIfAborted();
      if (part.kind === 'section') await load.copyIn(part.table, part.columns, rowsOf(parts));
    }
    await load.endSnapshot();
  }
}

/** The rows of the section that has begun; leaves the parts after it. */
async function* rowsOf(parts: ReturnType<typeof readSnapshot>): AsyncGenerator<Buffer> {
  for (;;) {
    const { value, done } = await parts.next();
    if (done || value.kind !== 'rows') return;
    yield value.bytes;
  }
}

/** Takes the packs of a crate for the new catalog on its manifest's word; their bytes are looked at like all others. */
async function stageCrate(
  { store }: RebuildSettings,
  load: CatalogLoad,
  { crateKey, packs }: NewerCrate,
  withRepositories: boolean,
  onProblem: (message: string) => void,
): Promise<void> {
  const staged = new Set<string>();
  for (const pack of packs) {
    // What it says of the rest of the pool was true of a pool that may have held more: only what follows from the pack alone is taken.
    const facts = { allReached: false, based: false, tips: Buffer.alloc(0) };
    if (await load.stage({ ...pack, ...facts, crateKey }, pack.origin, pack.hasDuplicates)) staged.add(nameOf(pack));
    else onProblem(`pack ${pack.packId} of pool ${pack.poolId} in ${crateKey} has the number of another`);
    if (!withRepositories) continue;
    for (const push of pack.pushes) await load.stageRepository(pack.poolId, push.repositoryId, { ...push, format: pack.format });
  }
  for await (const { poolId, packId, ...blob } of recipesOf(store, crateKey))
    if (staged.has(nameOf({ poolId, packId }))) await load.stageRecipe(poolId, packId, blob);
}

function nameOf({ poolId, packId }: { readonly poolId: number; readonly packId: number }): string {
  return `${poolId}/${packId}`;
}

interface Built {
  readonly storePacks: number;
  readonly tailPacks: number;
  readonly objects: number;
  readonly lost: readonly LostPack[];
  /** Of the packs that no snapshot knows. */
  readonly links: ReadonlyMap<string, IncomingLinks>;
}

/** Reads every pack of the store that the catalog is to have, and puts those in force that are what they were. */
async function bringBack(
  settings: RebuildSettings,
  load: CatalogLoad,
  newer: ReadonlySet<string>,
  onProblem: (message: string) => void,
): Promise<Built> {
  const lease = randomUUID();
  const { tailPacks, tailObjects } = await load.publishPools(settings.reason, lease);
  const counts = { storePacks: 0, objects: tailObjects };
  const lost: LostPack[] = [];
  const links = new Map<string, IncomingLinks>();
  for (const pack of await load.waiting(lease)) {
    settings.signal?.throwIfAborted();
    settings.onProgress?.(`pool ${pack.poolId}: pack ${pack.packId} in ${pack.crateKey}`);
    try {
      const found = await bringBackPack(settings, load, pack);
      if (found !== null && newer.has(nameOf(pack))) links.set(nameOf(pack), found.links);
      if (found?.idxMatches === false) onProblem(`the .idx of ${pack.crateKey} is not that of pack ${pack.packId}`);
      counts.storePacks++;
      await failpoint('rebuild.pack-read');
      if (found !== null) counts.objects += pack.objectCount;
    } catch (error) {
      const kind = lossOf(error);
      if (kind === null) throw error;
      const { poolId, packId, crateKey, extentOffset } = pack;
      lost.push({ poolId, packId, crateKey, extentOffset, kind, message: messageOf(error) });
      await load.dropPack(pack);
    }
  }
  return { ...counts, tailPacks, lost, links };
}

async function bringBackPack(settings: RebuildSettings, load: CatalogLoad, pack: StagedPack) {
  if (pack.tier === 'chunks') {
    await checkPackHash(settings.store, pack, settings.signal);
    await load.publishPack(pack, null, { allReached: false, based: false, tips: Buffer.alloc(0) });
    return null;
  }
  const chunked = pack.chunkedCount === 0 ? [] : await load.recipes(pack.poolId, pack.packId);
  const indexed = await indexPack(settings, pack, chunked, settings.signal);
  await load.publishPack(pack, indexed, indexed.facts);
  return indexed;
}

/** Whether an error says that a pack is not there, or not what it was; null: it says something else. */
function lossOf(error: unknown): LostPack['kind'] | null {
  const code = codeOf(error);
  if (code === 'store-missing' || code === 'store-short') return 'missing';
  return code === 'bad-pack' || code === 'pack-differs' || code === 'bad-object' ? 'damaged' : null;
}

/** The highest number of each sequence that snapshot and manifests tell. */
function knownNumbers(chain: SnapshotChain | null, newer: readonly NewerCrate[]): Record<string, number> {
  const known: Record<string, number> = { ...chain?.at(-1)?.head.sequences };
  const raise = (name: string, id: number): void => {
    known[name] = Math.max(known[name] ?? 0, id);
  };
  for (const pack of newer.flatMap(({ packs }) => packs)) {
    raise('pack_ids', pack.packId);
    raise('pools_id_seq', pack.poolId);
    for (const push of pack.pushes) {
      raise('repositories_id_seq', push.repositoryId);
      raise('push_ids', push.pushId ?? 0);
    }
  }
  return known;
}

async function adopt(
  settings: RebuildSettings,
  candidates: readonly Candidate[],
  links: ReadonlyMap<string, IncomingLinks>,
): Promise<RebuildReport['candidates']> {
  const adopter = new Adopter(
    settings.catalog,
    settings.store,
    (poolId, packId) => links.get(nameOf({ poolId, packId })) ?? null,
  );
  const done: RebuildReport['candidates'][number][] = [];
  for (const candidate of candidates) {
    const { repository, crateKey, pushedAt, push } = candidate;
    const updates = settings.adopt
      ? await adopter.adopt(candidate)
      : push.updates.map((update) => ({ ...plain(update), result: 'not adopted' }));
    done.push({ repository, pushedAt: pushedAt.toISOString(), crateKey, updates });
  }
  return done;
}

function oidsOf(tips: Buffer, format: 'sha1' | 'sha256'): string[] {
  const width = format === 'sha1' ? 20 : 32;
  return Array.from({ length: tips.length / width }, (_, i) => tips.toString('hex', i * width, (i + 1) * width));
}
