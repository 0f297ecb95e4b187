import { KIND_BLOB, KIND_TREE, kindOfMode, type OidMap, TreeCursor } from '../object/mod.ts';
import { breath } from '../packread/mod.ts';
import { type CommitRange, diffTree, listTree, type RepositoryView } from '../reach/mod.ts';
import type { ObjectFilter } from './filter.ts';

export interface WalkInput {
  readonly range: CommitRange;
  readonly filter: ObjectFilter;
  readonly isShallow: boolean;
  readonly clientHas: boolean;
  readonly signal: AbortSignal;
}

export interface WalkTarget {
  readonly chosen: OidMap;
  /** Met on the way and kept out by the filter. */
  readonly dropped: OidMap;
  readonly had: OidMap;
}

function isNew(set: OidMap, data: Buffer, at: number): boolean {
  const before = set.size;
  set.add(data, at);
  return set.size > before;
}

/** Chooses the trees and blobs that come with some commits: each commit's tree is compared with its parents', oldest commits first. */
export async function walkCommits(
  view: RepositoryView,
  commits: readonly number[],
  input: WalkInput,
  target: WalkTarget,
): Promise<void> {
  const { filter } = input;
  if (!filter.passes(KIND_TREE, 0) && !filter.passes(KIND_BLOB, 0)) return;
  if (filter.depthMax !== Number.POSITIVE_INFINITY || filter.sparse.length > 0) {
    const frames = filter.sparse.map((patterns) => patterns.verdict('', true) ?? false);
    const walk = new PlacedWalk(view, filter, target);
    for (const node of commits) {
      input.signal.throwIfAborted();
      await walk.tree(Buffer.from(view.pool.graph.target(node)), 0, '', frames);
    }
    return;
  }
  const seen = target.chosen;
  const doubtful: Buffer[] = [];
  const { graph } = view.pool;
  const choose = (data: Buffer, at: number, kind: number): boolean => {
    // What the filter keeps out counts as seen all the same.
    if (!isNew(seen, data, at)) return false;
    if (!filter.passes(kind, sizeOf(view, data, at, filter))) doubtful.push(Buffer.from(data.subarray(at, at + graph.oidBytes)));
    return true;
  };
  for (let i = commits.length - 1; i >= 0; i--) {
    input.signal.throwIfAborted();
    const node = commits[i]!;
    const root = Buffer.from(graph.target(node));
    const olds = oldTrees(view, node, input);
    if (olds.some((old) => old.equals(root)) || !choose(root, 0, KIND_TREE)) continue;
    if (olds.length === 0) await listTree(view.pool, view.format, root, choose);
    else await compare(view, root, olds, input, target, choose);
  }
  await dropFiltered(view, doubtful, target, filter);
}

async function compare(
  view: RepositoryView,
  root: Buffer,
  olds: readonly Buffer[],
  input: WalkInput,
  target: WalkTarget,
  onNew: (data: Buffer, at: number, kind: number) => boolean,
): Promise<void> {
  // Thin bases are taken from trees that the client has for sure.
  const learns = input.clientHas && !input.isShallow;
  if (learns) for (const old of olds) target.had.add(old);
  await diffTree(root, olds, {
    source: view.pool,
    format: view.format,
    onNew,
    ...(learns ? { onOld: (data: Buffer, at: number) => void target.had.add(data, at) } : {}),
  });
}

/** Trees that the receiver has by the time this commit's tree is needed: of parents that are sent before it, or that the client has. */
function oldTrees(view: RepositoryView, node: number, input: WalkInput): Buffer[] {
  const { graph } = view.pool;
  const olds: Buffer[] = [];
  for (let i = 0; i < graph.parentCount(node); i++) {
    const parent = graph.parent(node, i);
    if (input.range.isSent.has(parent) || input.range.isHad.has(parent)) olds.push(Buffer.from(graph.target(parent)));
  }
  return olds;
}

/** Sizes matter to `blob:limit` only, and only where the index has them at hand; the rest is asked at the end. */
function sizeOf(view: RepositoryView, data: Buffer, at: number, filter: ObjectFilter): number {
  if (filter.passes(KIND_BLOB, 0) === filter.passes(KIND_BLOB, Number.MAX_SAFE_INTEGER)) return 0;
  return view.pool.index.peek(data, at)?.sizeBytes ?? Number.MAX_SAFE_INTEGER;
}

async function dropFiltered(
  view: RepositoryView,
  doubtful: readonly Buffer[],
  target: WalkTarget,
  filter: ObjectFilter,
): Promise<void> {
  if (doubtful.length === 0) return;
  const locations = await view.pool.index.find(Buffer.concat(doubtful));
  doubtful.forEach((oid, i) => {
    const location = locations[i];
    if (!location || !filter.passes(location.kind, location.sizeBytes)) target.dropped.add(oid);
  });
}

/** A walk in which it matters where an object stands: how deep, or under which path. */
class PlacedWalk {
  readonly #view: RepositoryView;
  readonly #filter: ObjectFilter;
  readonly #target: WalkTarget;
  /** The smallest depth, or the paths, at which a tree was entered before. */
  readonly #entered = new Map<string, number>();
  readonly #enteredPaths = new Set<string>();

  constructor(view: RepositoryView, filter: ObjectFilter, target: WalkTarget) {
    this.#view = view;
    this.#filter = filter;
    this.#target = target;
  }

  /** `frames`: what each list of patterns says of a path in this folder that none of its patterns matches. */
  async tree(oid: Buffer, depth: number, path: string, frames: readonly boolean[]): Promise<void> {
    const pause = breath();
    if (pause) await pause;
    const filter = this.#filter;
    if (depth > filter.depthMax || this.#wasEntered(oid, depth, path)) return;
    if (filter.passes(KIND_TREE, 0)) this.#target.chosen.add(oid);
    if (depth + 1 > filter.depthMax) return;
    const cursor = new TreeCursor(this.#view.format);
    cursor.reset(await this.#view.pool.tree(oid));
    const below: { oid: Buffer; path: string; frames: readonly boolean[] }[] = [];
    const blobs: Buffer[] = [];
    while (cursor.next()) {
      const turn = breath();
      if (turn) await turn;
      const kind = kindOfMode(cursor.mode);
      if (kind === 0) continue;
      const name = path + cursor.name().toString('latin1');
      const inside = filter.sparse.map((patterns, i) => patterns.verdict(name, kind === KIND_TREE) ?? frames[i]!);
      if (kind === KIND_TREE) below.push({ oid: Buffer.from(cursor.oid()), path: `${name}/`, frames: inside });
      else if (inside.every((passes) => passes)) blobs.push(Buffer.from(cursor.oid()));
    }
    await this.#takeBlobs(blobs);
    for (const child of below) await this.tree(child.oid, depth + 1, child.path, child.frames);
  }

  async #takeBlobs(blobs: readonly Buffer[]): Promise<void> {
    const locations = await this.#view.pool.index.find(Buffer.concat(blobs));
    blobs.forEach((oid, i) => {
      const location = locations[i];
      if (location && this.#filter.passes(KIND_BLOB, location.sizeBytes)) this.#target.chosen.add(oid);
    });
  }

  #wasEntered(oid: Buffer, depth: number, path: string): boolean {
    const hex = oid.toString('hex');
    if (this.#filter.sparse.length > 0) {
      const key = `${hex} ${path} ${depth}`;
      if (this.#enteredPaths.has(key)) return true;
      // Each is kept: a thousand million steps are 125 MB of them.
      this.#filter.sparse[0]!.spend(8 * key.length);
      this.#enteredPaths.add(key);
      return false;
    }
    const before = this.#entered.get(hex);
    if (before !== undefined && before <= depth) return true;
    this.#entered.set(hex, depth);
    return false;
  }
}

/** A tree or blob wanted by name, or named by a wanted tag: sent whatever the filter says; what it holds, as the filter says. */
export async function walkObject(view: RepositoryView, oid: Buffer, filter: ObjectFilter, target: WalkTarget): Promise<void> {
  const [location] = await view.pool.index.find(oid);
  if (!location) return;
  target.chosen.add(oid);
  if (location.kind !== KIND_TREE) return;
  // Depth is counted from what is not asked for by name, as git does: the tree's own entries have depth 0.
  await new PlacedWalk(view, filter, target).tree(
    oid,
    -1,
    '',
    filter.sparse.map(() => false),
  );
}
