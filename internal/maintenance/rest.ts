const REST_MS_MIN = 60_000;
const REST_MS_MAX = 3_600_000;

/**
 * Pools that could not be worked on, by kind of work: they are let be for a while, twice as long each time, so that one that is not sound costs
 * little, and nobody else waits for it. Of this process: another one tries for itself. Work that a person asks for does not look here.
 */
export class Rest {
  readonly #now: () => number;
  readonly #pools = new Map<string, { readonly ms: number; readonly until: number }>();
  readonly #others = new Map<string, ReadonlySet<number>>();

  /** `now`: milliseconds of a clock that does not jump. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  has(kind: string, poolId: number): boolean {
    if (this.#others.get(kind)?.has(poolId)) return true;
    return (this.#pools.get(`${kind} ${poolId}`)?.until ?? Number.NEGATIVE_INFINITY) > this.#now();
  }

  /** All that rest. */
  pools(kind: string): number[] {
    const ids = [...this.#pools.keys()].filter((key) => key.startsWith(`${kind} `)).map((key) => Number(key.slice(kind.length)));
    return ids.filter((poolId) => this.has(kind, poolId));
  }

  /** Pools that all processes are to let be for now, in the place of those told before. */
  setOthers(kind: string, poolIds: readonly number[]): void {
    this.#others.set(kind, new Set(poolIds));
  }

  failed(kind: string, poolId: number): void {
    const key = `${kind} ${poolId}`;
    const ms = Math.min((this.#pools.get(key)?.ms ?? REST_MS_MIN / 2) * 2, REST_MS_MAX);
    this.#pools.set(key, { ms, until: this.#now() + ms });
  }

  worked(kind: string, poolId: number): void {
    this.#pools.delete(`${kind} ${poolId}`);
  }
}
