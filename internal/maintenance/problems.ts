/** One thing that is not as it should be, and where. */
export interface Problem {
  /**
   * - `bytes`: a pack's bytes are absent or of another length
   * - `content`: they are not a sound pack
   * - `index`: object_blocks or the packs row say something else than the pack
   * - `idx`: the .idx beside a store pack is not what git would write
   * - `reach`: the .reach beside a store pack says something else than its commits and trees
   * - `chunks`: a chunked blob's recipe is absent or does not fit, or a chunk is not what it is said to be
   * - `graph`: graph_blocks say something else than the pack's commits and tags
   * - `fact`: all_reached, based or tips claim what is not so
   * - `ref`: a ref's value is not stored, or not what the ref may hold
   * - `link`: something that refs reach is not stored
   * - `orphan`: a row, or an object of the store, that belongs to nothing
   */
  readonly kind: 'bytes' | 'content' | 'index' | 'idx' | 'reach' | 'chunks' | 'graph' | 'fact' | 'ref' | 'link' | 'orphan';
  readonly message: string;
  readonly pool?: number;
  readonly pack?: number;
  /** First byte of the entry in the pack. */
  readonly offset?: number;
  /** In hex. */
  readonly oid?: string;
  readonly repository?: string;
}

/** One line for a person: where, then what. */
export function problemLine({ kind, message, pack, offset, oid, repository }: Problem): string {
  const where = [
    ...(repository === undefined ? [] : [repository]),
    ...(pack === undefined ? [] : [`pack ${pack}`]),
    ...(offset === undefined ? [] : [`offset ${offset}`]),
    ...(oid === undefined ? [] : [`oid ${oid}`]),
  ];
  return `${kind}: ${where.length === 0 ? '' : `${where.join(' ')}: `}${message}`;
}

/** So many problems of one kind are told of one pack; of the rest, how many they are. */
const TOLD_MAX = 20;

/** Gathers the problems of one pack, or of another thing that they have in common. */
export class ProblemList {
  readonly #report: (problem: Problem) => void;
  readonly #common: Partial<Problem>;
  readonly #counts = new Map<Problem['kind'], number>();

  constructor(report: (problem: Problem) => void, common: Partial<Problem>) {
    this.#report = report;
    this.#common = common;
  }

  add(kind: Problem['kind'], message: string, where: { readonly offset?: number; readonly oid?: string } = {}): void {
    const count = (this.#counts.get(kind) ?? 0) + 1;
    this.#counts.set(kind, count);
    if (count <= TOLD_MAX) this.#report({ ...this.#common, kind, message, ...where });
  }

  /** Tells how many were not told. */
  end(): void {
    for (const [kind, count] of this.#counts) {
      if (count > TOLD_MAX) this.#report({ ...this.#common, kind, message: `and ${count - TOLD_MAX} more like these` });
    }
  }
}
