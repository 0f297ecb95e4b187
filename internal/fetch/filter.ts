import { KIND_BLOB, KIND_TREE, kindNumber, kindOfMode, treeEntries } from '../object/mod.ts';
import type { FilterSpec } from '../protocol/mod.ts';
import { proveReached, type RepositoryView } from '../reach/mod.ts';
import { FetchRefusal } from './negotiate.ts';
import { refsNamed } from './short-names.ts';
import { SparsePatterns } from './sparse-patterns.ts';

/**
 * A filter of objects that are not asked for by name. `byTable` filters need an object's kind and size alone; the others depend on where in
 * a tree an object stands and are answered during a walk.
 */
export interface ObjectFilter {
  /** Whether kind and size decide. */
  readonly byTable: boolean;
  /** Largest depth at which trees and blobs pass (the root tree has depth 0); infinite when depth does not matter. */
  readonly depthMax: number;
  /** Whether an object of that kind and size may pass. */
  passes(kind: number, sizeBytes: number): boolean;
  /** Patterns that a blob's path must pass, all of them; none when paths do not matter. */
  readonly sparse: readonly SparsePatterns[];
}

export const NO_FILTER: ObjectFilter = {
  byTable: true,
  depthMax: Number.POSITIVE_INFINITY,
  passes: () => true,
  sparse: [],
};

const SPARSE_BYTES_MAX = 1 << 20;

/** @throws FetchRefusal when a sparse specification cannot be read */
export async function compileFilter(view: RepositoryView, spec: FilterSpec | null): Promise<ObjectFilter> {
  if (spec === null) return NO_FILTER;
  switch (spec.kind) {
    case 'blob:none':
      return { ...NO_FILTER, passes: (kind) => kind !== KIND_BLOB };
    case 'blob:limit':
      return { ...NO_FILTER, passes: (kind, size) => kind !== KIND_BLOB || size < spec.limitBytes };
    case 'object:type':
      return { ...NO_FILTER, passes: (kind) => kind === kindNumber(spec.type) };
    case 'tree':
      if (spec.depth === 0) return { ...NO_FILTER, passes: (kind) => kind !== KIND_BLOB && kind !== KIND_TREE };
      return { ...NO_FILTER, byTable: false, depthMax: spec.depth - 1 };
    case 'sparse:oid':
      return { ...NO_FILTER, byTable: false, sparse: [await sparsePatterns(view, spec.blob)] };
    case 'combine':
      return combine(await compileEach(view, spec.filters));
  }
}

/** One after the other: there may be a thousand, and each may prove and read. */
async function compileEach(view: RepositoryView, specs: readonly FilterSpec[]): Promise<ObjectFilter[]> {
  const filters: ObjectFilter[] = [];
  for (const spec of specs) filters.push(await compileFilter(view, spec));
  return filters;
}

function combine(filters: readonly ObjectFilter[]): ObjectFilter {
  return {
    byTable: filters.every((filter) => filter.byTable),
    depthMax: Math.min(...filters.map((filter) => filter.depthMax)),
    passes: (kind, size) => filters.every((filter) => filter.passes(kind, size)),
    sparse: filters.flatMap((filter) => filter.sparse),
  };
}

/** The patterns of a sparse specification, a blob by its oid or by `revision:path`. */
async function sparsePatterns(view: RepositoryView, expression: string): Promise<SparsePatterns> {
  const oid = await resolveBlob(view, expression);
  const [location] = oid === null ? [null] : await view.pool.index.find(oid);
  if (!location || location.kind !== KIND_BLOB || location.sizeBytes > SPARSE_BYTES_MAX) {
    throw new FetchRefusal(`upload-pack: unable to access sparse blob in '${expression}'`);
  }
  return new SparsePatterns((await view.pool.reader.read(location)).data.toString('latin1'));
}

async function resolveBlob(view: RepositoryView, expression: string): Promise<Buffer | null> {
  const colon = expression.indexOf(':');
  const start = await resolveRevision(view, colon < 0 ? expression : expression.slice(0, colon));
  if (start === null || colon < 0) return start;
  const root = await treeOf(view, start);
  if (root === null) return null;
  let at = root;
  const parts = expression.slice(colon + 1).split('/');
  for (const [i, part] of parts.entries()) {
    const tree = await view.pool.read(at);
    if (tree?.kind !== KIND_TREE) return null;
    const entry = [...treeEntries(tree.data, view.format)].find(({ name: entryName }) => entryName.toString('latin1') === part);
    // A submodule's entry may name any oid, also one that only another fork has.
    if (entry === undefined || kindOfMode(entry.mode) !== (i === parts.length - 1 ? KIND_BLOB : KIND_TREE)) return null;
    at = Buffer.from(entry.oid);
  }
  return at;
}

/** The tree that a commit has or a tree is, null for anything else. */
async function treeOf(view: RepositoryView, oid: Buffer): Promise<Buffer | null> {
  const { graph, index } = view.pool;
  const node = graph.find(oid);
  if (node >= 0) return graph.isCommit(node) ? Buffer.from(graph.target(node)) : null;
  const [location] = await index.find(oid);
  return location?.kind === KIND_TREE ? oid : null;
}

/** An object of the repository by its oid, or what a ref leads to. */
async function resolveRevision(view: RepositoryView, revision: string): Promise<Buffer | null> {
  const { graph } = view.pool;
  if (new RegExp(`^[0-9a-f]{${graph.oidBytes * 2}}$`, 'i').test(revision)) {
    const oid = Buffer.from(revision, 'hex');
    if ((await proveReached(view, oid))[0] === 0) return null;
    const node = graph.find(oid);
    return node < 0 ? oid : (graph.peel(node)?.oid ?? oid);
  }
  const [ref] = refsNamed(view, revision);
  return ref === undefined ? null : (ref.peeled ?? ref.oid);
}
