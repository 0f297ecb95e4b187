import type { Pack } from '../catalog/mod.ts';
import { KIND_BLOB, KIND_COMMIT, KIND_TREE, OidMap } from '../object/mod.ts';
import { type CommitGraph, type CommitRange, type RepositoryView, tipsWithin } from '../reach/mod.ts';
import type { ObjectFilter } from './filter.ts';
import { oidsAt, type SelectedPart, selectPart } from './select-part.ts';
import { walkCommits, walkObject } from './walk.ts';

/** What a fetch asks for, as nodes and oids that were proven. */
export interface SelectInput {
  readonly view: RepositoryView;
  readonly range: CommitRange;
  /** Wanted commits and tags, as nodes. */
  readonly wanted: readonly number[];
  /** Tags that `include-tag` may add. */
  readonly autoTags: readonly number[];
  /** Trees and blobs wanted by oid. */
  readonly objects: readonly Buffer[];
  readonly filter: ObjectFilter;
  /** The history is cut somewhere: the client may lack what its commits have, and no pack is taken whole. */
  readonly isShallow: boolean;
  /** Whether the client has objects that it said nothing about in detail: it named commits it has. */
  readonly clientHas: boolean;
  /** Fewer commits are walked. */
  readonly bitmapCommitsMin: number;
  readonly signal: AbortSignal;
}

/** The objects of an answer, before it is known how they are written. */
export interface Selection {
  /** Packs of which every object is sent that passes the filter, but for the tags in `leftOut`. */
  readonly whole: readonly Pack[];
  readonly leftOut: OidMap;
  /** Objects of one more pack, all of which pass the filter. */
  readonly part: SelectedPart | null;
  /** Objects chosen one by one, but for those in `dropped`. */
  readonly chosen: OidMap;
  readonly dropped: OidMap;
  /** Objects that were asked for by name: no filter keeps them out. */
  readonly explicit: OidMap;
  /** Objects that the client is known to have: bases for thin deltas. */
  readonly had: OidMap;
}

/**
 * Chooses what to send. A pack whose every commit is to be sent, and all of whose objects hang on such commits, is taken whole without a look
 * at a single tree; only what comes from other packs is walked.
 */
export async function selectObjects(input: SelectInput): Promise<Selection> {
  const { view, range, filter } = input;
  const { graph } = view.pool;
  const width = graph.oidBytes;
  const selection = {
    whole: [] as Pack[],
    leftOut: new OidMap(width),
    part: null as SelectedPart | null,
    chosen: new OidMap(width),
    dropped: new OidMap(width),
    explicit: new OidMap(width),
    had: new OidMap(width),
  };
  const wantedTags = new Set<number>();
  for (const node of input.wanted) addTagChain(graph, node, wantedTags);
  let walked: readonly number[] = range.commits;
  if (!input.isShallow && filter.byTable) {
    const { whole, rest } = wholePacks(input, wantedTags);
    selection.whole.push(...whole);
    walked = await takePart(input, rest, selection);
  }

  for (const node of input.wanted) if (range.isSent.has(node)) selection.explicit.add(graph.oid(node));
  for (const node of wantedTags) selection.explicit.add(graph.oid(node));
  if (filter.passes(KIND_COMMIT, 0)) for (const node of walked) selection.chosen.add(graph.oid(node));
  await walkCommits(view, walked, input, selection);
  for (const node of wantedTags) {
    const kind = graph.targetKind(node);
    const target = Buffer.from(graph.target(node));
    if (kind === KIND_COMMIT && range.isSent.has(graph.find(target))) selection.explicit.add(target);
    if (kind !== KIND_TREE && kind !== KIND_BLOB) continue;
    selection.explicit.add(target);
    await walkObject(view, target, filter, selection);
  }
  for (const oid of input.objects) {
    selection.explicit.add(oid);
    await walkObject(view, oid, filter, selection);
  }
  // A pack that goes whole gives its commits and tags by itself: nobody need look for them.
  const wholeIds = new Set(selection.whole.map((pack) => pack.id));
  const comesAnyway = (node: number): boolean => node >= 0 && wholeIds.has(graph.packOf(node));
  for (let i = 0; i < selection.explicit.size; i++) {
    const oid = selection.explicit.oid(i);
    if (!comesAnyway(graph.find(oid))) selection.chosen.add(oid);
  }
  const sentTags = new Set(wantedTags);
  await addAutoTags(input, selection, sentTags);
  leaveOutTags(view, selection, sentTags);
  for (const node of sentTags) {
    selection.explicit.add(graph.oid(node));
    if (!comesAnyway(node)) selection.chosen.add(graph.oid(node));
  }
  return selection;
}

/** Takes what bitmaps tell of; the commits that are left are to be walked. */
async function takePart(
  input: SelectInput,
  commits: readonly number[],
  selection: { part: SelectedPart | null; chosen: OidMap; had: OidMap },
): Promise<readonly number[]> {
  const { view } = input;
  const part = await selectPart(input, commits);
  if (part === null) return commits;
  const { reach, set, had } = part;
  const width = view.pool.graph.oidBytes;
  // In a shared pool the copies of a pack that is not all this repository's are the last choice: see layout.
  if ((await view.pool.isShared()) && !view.packReached(reach.pack)) addAll(selection.chosen, oidsAt(reach, set, width));
  else selection.part = part;
  // New versions of large blobs are deltas of those that the client has.
  addAll(selection.had, oidsAt(reach, had, width, reach.entryCount));
  return commits.filter((node) => reach.positionOfNode(node) < 0);
}

function addAll(into: OidMap, oids: OidMap): void {
  for (let i = 0; i < oids.size; i++) into.add(oids.oid(i));
}

/** Packs that are sent whole, and the commits whose trees must be walked all the same. */
function wholePacks(input: SelectInput, wantedTags: ReadonlySet<number>): { whole: Pack[]; rest: number[] } {
  const { view, range } = input;
  const { graph, index } = view.pool;
  const counts = new Map<number, number>();
  for (const node of range.commits) counts.set(graph.packOf(node), (counts.get(graph.packOf(node)) ?? 0) + 1);
  const whole: Pack[] = [];
  const wholeIds = new Set<number>();
  for (const [id, count] of counts) {
    const pack = index.packs.get(id);
    if (pack === undefined || !pack.allReached || count !== graph.commitsOf(id)) continue;
    if (!tipsAreSent(input, pack, wantedTags)) continue;
    whole.push(pack);
    wholeIds.add(id);
  }
  // What a pack links to outside itself comes with its commits' parents when it is based on them; else its commits are walked too. When every
  // pack there is goes whole, nothing can be missing.
  const everything = whole.length === index.packs.size;
  const rest = range.commits.filter((node) => {
    const id = graph.packOf(node);
    // A new version of a large blob is a delta of the one that the client has, which only a walk tells.
    const looksForBases = input.clientHas && (index.packs.get(id)?.chunkedCount ?? 0) > 0;
    return !wholeIds.has(id) || looksForBases || !(everything || index.packs.get(id)!.based);
  });
  whole.sort((a, b) => a.id - b.id);
  return { whole, rest };
}

/**
 * Whether all commits among a pack's tips are sent. A tag that is not wanted may stay behind when it leads to a commit: nothing but the tag
 * hangs on it alone then.
 */
function tipsAreSent(input: SelectInput, pack: Pack, wantedTags: ReadonlySet<number>): boolean {
  const { view, range } = input;
  const { graph } = view.pool;
  if (tipsWithin(view.pool, pack, range.isSent)) return true;
  const width = graph.oidBytes;
  if (pack.tips.length === 0) return false;
  for (let at = 0; at < pack.tips.length; at += width) {
    const node = graph.find(pack.tips, at);
    if (node < 0) return false;
    if (graph.isCommit(node)) {
      if (!range.isSent.has(node)) return false;
      continue;
    }
    if (wantedTags.has(node)) continue;
    const peeled = graph.peel(node);
    const commit = peeled === null || peeled.kind !== KIND_COMMIT ? -1 : graph.find(peeled.oid);
    if (commit < 0) return false;
    // A commit that the client has may stand in this pack a second time, with all that hangs on it.
    if (!range.isSent.has(commit) && (pack.hasDuplicates || !range.isHad.has(commit))) return false;
  }
  return true;
}

/** Adds a tag and the tags of tags below it. What is there was followed before: tags that lead to one chain cost its length once. */
export function addTagChain(graph: CommitGraph, node: number, into: Set<number>): void {
  for (let at = node; at >= 0 && graph.isTag(at) && !into.has(at); at = graph.find(graph.target(at))) into.add(at);
}

/** `include-tag`: annotated tags of objects that are sent. */
async function addAutoTags(input: SelectInput, selection: Selection, into: Set<number>): Promise<void> {
  const { view, range, filter } = input;
  const { graph, index } = view.pool;
  const { chosen, dropped, explicit, whole, part } = selection;
  const wholeIds = new Set(whole.map((pack) => pack.id));
  for (const node of input.autoTags) {
    const peeled = graph.peel(node);
    if (peeled === null) continue;
    let isSent =
      peeled.kind === KIND_COMMIT &&
      range.isSent.has(graph.find(peeled.oid)) &&
      (filter.passes(KIND_COMMIT, 0) || explicit.has(peeled.oid));
    if (peeled.kind === KIND_TREE || peeled.kind === KIND_BLOB) {
      isSent = explicit.has(peeled.oid) || (chosen.has(peeled.oid) && !dropped.has(peeled.oid));
      const [location] = isSent || whole.length === 0 ? [null] : await index.among(peeled.oid, (pack) => wholeIds.has(pack.id));
      if (location) isSent = filter.passes(location.kind, location.sizeBytes);
      const position = isSent || part === null ? -1 : part.reach.positionOf(peeled.oid, 0);
      if (position >= 0) isSent = part!.set.has(position);
    }
    if (isSent) addTagChain(graph, node, into);
  }
}

function leaveOutTags(
  view: RepositoryView,
  selection: { whole: readonly Pack[]; leftOut: OidMap },
  sent: ReadonlySet<number>,
): void {
  const { graph } = view.pool;
  if (selection.whole.length === 0) return;
  const whole = new Set(selection.whole.map((pack) => pack.id));
  for (let node = 0; node < graph.size; node++) {
    if (graph.isTag(node) && !sent.has(node) && whole.has(graph.packOf(node))) selection.leftOut.add(graph.oid(node));
  }
}
