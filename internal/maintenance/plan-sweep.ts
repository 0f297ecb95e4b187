import { PackhouseError } from '../base/mod.ts';
import type { ObjectBlock, SweepPack } from '../catalog/mod.ts';
import { kindName, OidMap } from '../object/mod.ts';
import { breath } from '../packread/mod.ts';

/** What becomes of a pack, and why. */
export interface SweptPack {
  readonly packId: number;
  readonly tier: 'tail' | 'store' | 'chunks';
  readonly action: 'drop' | 'rewrite' | 'keep';
  /** Why a pack with garbage stays as it is. */
  readonly reason: 'garbage' | 'reached' | 'young' | 'leased' | 'tail' | 'little';
  readonly lengthBytes: number;
  readonly garbageBytes: number;
  readonly objects: number;
  readonly garbageObjects: number;
}

export interface SweepPlan {
  readonly packs: readonly SweptPack[];
  /** Bytes of all live packs of the pool, and those that are to go. */
  readonly totalBytes: number;
  readonly condemnedBytes: number;
  /** Objects that no root reaches, but that deltas of packs which stay are based on. */
  readonly pinned: OidMap;
}

export interface SweepPlanInput {
  readonly packs: readonly SweepPack[];
  readonly blocksOf: (packId: number) => readonly ObjectBlock[];
  readonly reached: OidMap;
  /** Of each tail pack the delta bases that it names by oid. */
  readonly basesOf: ReadonlyMap<number, readonly Buffer[]>;
  /** For each chunked blob of a live pack the chunk packs that it uses. */
  readonly recipes: readonly { readonly packId: number; readonly oid: Buffer; readonly chunkPacks: readonly number[] }[];
  /** A store pack is written again when so much of it is garbage. */
  readonly worthPercent: number;
  readonly worthBytes: number;
}

/** What a sweep would do, as data. Nothing that is reached, or that something which stays is based on, is in a pack that goes or is left out of one. */
export async function planSweep(input: SweepPlanInput): Promise<SweepPlan> {
  const objectPacks = input.packs.filter((pack) => pack.tier !== 'chunks');
  const pinned = await pinBases(input, objectPacks);
  const packs: SweptPack[] = [];
  for (const pack of objectPacks) packs.push(judge(input, pack, await weigh(input, pack.id, pinned)));
  packs.push(...judgeChunkPacks(input, packs, pinned));
  const totalBytes = input.packs.reduce((sum, pack) => sum + pack.lengthBytes, 0);
  const condemnedBytes = packs.reduce((sum, pack) => (pack.action === 'keep' ? sum : sum + pack.garbageBytes), 0);
  return { packs, totalBytes, condemnedBytes, pinned };
}

/**
 * Whether a plan is still right after more was marked (`input.reached`) and more thin packs came, which are based on `bases`: nothing of what it
 * lets go of may be among that.
 */
export async function stillHolds(input: SweepPlanInput, plan: SweepPlan, bases: readonly Buffer[]): Promise<boolean> {
  const pinned = new OidMap(input.reached.oidBytes);
  for (let i = 0; i < plan.pinned.size; i++) pinned.add(plan.pinned.oid(i));
  for (const base of bases) pinned.add(base);
  for (const { packId, tier, action, garbageObjects } of plan.packs) {
    if (action === 'keep' || tier === 'chunks') continue;
    if ((await weigh(input, packId, pinned)).garbageObjects !== garbageObjects) return false;
  }
  return true;
}

interface Weight {
  readonly objects: number;
  readonly garbageObjects: number;
  readonly garbageBytes: number;
}

/** Counts what of a pack is garbage. @throws `sweep-unsound` for a kind that there is not */
async function weigh(input: SweepPlanInput, packId: number, pinned: OidMap): Promise<Weight> {
  const { reached } = input;
  const width = reached.oidBytes;
  let [objects, garbageObjects, garbageBytes] = [0, 0, 0];
  for (const block of input.blocksOf(packId)) {
    const pause = breath();
    if (pause) await pause;
    for (let row = 0; row < block.kinds.length; row++) {
      if (kindName(block.kinds[row]!) === undefined)
        throw new PackhouseError('sweep-unsound', `pack ${packId} has an object of kind ${block.kinds[row]}`, { pack: packId });
      objects++;
      if (reached.has(block.oids, row * width) || pinned.has(block.oids, row * width)) continue;
      garbageObjects++;
      if (block.offsets[row]! >= 0) garbageBytes += block.lengths[row]!;
    }
  }
  return { objects, garbageObjects, garbageBytes };
}

function judge(input: SweepPlanInput, pack: SweepPack, weight: Weight): SweptPack {
  const all = weight.garbageObjects === weight.objects;
  const garbageBytes = all ? pack.lengthBytes : weight.garbageBytes;
  const worth = garbageBytes * 100 >= pack.lengthBytes * input.worthPercent || garbageBytes >= input.worthBytes;
  let action: SweptPack['action'] = 'keep';
  let reason: SweptPack['reason'];
  if (weight.garbageObjects === 0) reason = 'reached';
  else if (pack.young) reason = 'young';
  else if (pack.leased) reason = 'leased';
  else if (all) [action, reason] = ['drop', 'garbage'];
  else if (pack.tier === 'tail') reason = 'tail';
  else if (worth) [action, reason] = ['rewrite', 'garbage'];
  else reason = 'little';
  const { objects, garbageObjects } = weight;
  return {
    packId: pack.id,
    tier: pack.tier,
    action,
    reason,
    lengthBytes: pack.lengthBytes,
    garbageBytes,
    objects,
    garbageObjects,
  };
}

/**
 * Bases of thin packs that stay, wherever nothing else keeps them. A pack stays when something of it is kept; a base that is kept may itself lie in
 * a thin pack, which then stays too: until nothing is added any more.
 */
async function pinBases(input: SweepPlanInput, packs: readonly SweepPack[]): Promise<OidMap> {
  const pinned = new OidMap(input.reached.oidBytes);
  let open = packs.filter((pack) => (input.basesOf.get(pack.id)?.length ?? 0) > 0);
  for (let before = -1; before !== pinned.size; ) {
    before = pinned.size;
    const still: SweepPack[] = [];
    for (const pack of open) {
      const { objects, garbageObjects } = await weigh(input, pack.id, pinned);
      if (!pack.young && !pack.leased && garbageObjects === objects) {
        still.push(pack);
        continue;
      }
      for (const base of input.basesOf.get(pack.id)!) if (!input.reached.has(base)) pinned.add(base);
    }
    // One that was weighed before the last base was added may stay now.
    open = still;
  }
  return pinned;
}

/** Chunk packs that no chunked blob which stays uses. Garbage inside of others is not counted here. */
function judgeChunkPacks(input: SweepPlanInput, judged: readonly SweptPack[], pinned: OidMap): SweptPack[] {
  const actions = new Map(judged.map((pack) => [pack.packId, pack.action]));
  const used = new Set<number>();
  for (const { packId, oid, chunkPacks } of input.recipes) {
    const action = actions.get(packId);
    const stays = action === 'rewrite' ? input.reached.has(oid) || pinned.has(oid) : action !== 'drop';
    if (stays) for (const chunkPack of chunkPacks) used.add(chunkPack);
  }
  return input.packs
    .filter((pack) => pack.tier === 'chunks')
    .map((pack) => {
      const goes = !used.has(pack.id) && !pack.leased;
      const reason = used.has(pack.id) ? 'reached' : pack.leased ? 'leased' : 'garbage';
      return {
        packId: pack.id,
        tier: 'chunks',
        action: goes ? 'drop' : 'keep',
        reason,
        lengthBytes: pack.lengthBytes,
        garbageBytes: goes ? pack.lengthBytes : 0,
        objects: 0,
        garbageObjects: 0,
      };
    });
}
