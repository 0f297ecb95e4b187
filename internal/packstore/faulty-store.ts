import { setTimeout as sleep } from 'node:timers/promises';
import { PackhouseError } from '../base/mod.ts';
import type { StoreOperation } from './faults.ts';
import type { GetOptions, PackStore, PutOptions, PutSource, StoredObject } from './store.ts';

/**
 * What goes wrong with one call:
 * - `fail`: it rejects and nothing has reached the store;
 * - `lost-answer`: it is done, and rejects;
 * - `break-source`: a put rejects after the source has given `afterBytes`, as when the client's connection is cut;
 * - `truncate`: a get gives the first `lengthBytes` only, against the promise of the interface;
 * - `flip`: one bit of what a get gives is turned, at `bit` (counted from the first byte's lowest) or anywhere;
 * - `delay`: it is done later.
 */
export type Fault =
  | { readonly kind: 'fail' }
  | { readonly kind: 'lost-answer' }
  | { readonly kind: 'break-source'; readonly afterBytes: number }
  | { readonly kind: 'truncate'; readonly lengthBytes: number }
  | { readonly kind: 'flip'; readonly bit?: number }
  | { readonly kind: 'delay'; readonly milliseconds: number };

/** Which calls a rule means, among those of its operation and keys: the n-th (from 1), all, or each with a probability. */
export type Occurrence =
  | { readonly kind: 'nth'; readonly n: number }
  | { readonly kind: 'always' }
  | { readonly kind: 'random'; readonly probability: number };

export interface FaultRule {
  readonly operation: StoreOperation | 'any';
  /** Only keys (for list: prefixes) that match; all when absent. */
  readonly keys?: RegExp;
  readonly when: Occurrence;
  readonly fault: Fault;
}

export interface InjectedFault {
  readonly operation: StoreOperation;
  readonly key: string;
  readonly fault: Fault;
}

export interface FaultyStore extends PackStore {
  /** Replaces the plan; counting of n-th calls starts again. */
  setRules(rules: readonly FaultRule[]): void;
  /** Everything that was made to go wrong so far, in order: a test asserts that its faults happened. */
  readonly injected: readonly InjectedFault[];
}

export interface FaultyStoreOptions {
  readonly rules?: readonly FaultRule[];
  /** Seed of the random rules and bits: the same seed and calls give the same faults. */
  readonly seed?: number;
}

/** Mulberry32: small, seeded, good enough to choose faults. */
function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A fault that cannot happen to an operation is no match, so that `injected` tells only what happened. */
function canHappen(fault: Fault, operation: StoreOperation): boolean {
  if (fault.kind === 'truncate' || fault.kind === 'flip') return operation === 'get';
  return fault.kind !== 'break-source' || operation === 'put';
}

function injectedError(operation: StoreOperation, key: string, fault: Fault): PackhouseError {
  const data = { operation, key, attempts: 1, fault: fault.kind, injected: true };
  return new PackhouseError('store-unavailable', `store ${operation} of ${key} failed: injected ${fault.kind}`, data);
}

async function* broken(source: PutSource, afterBytes: number, error: () => Error): AsyncGenerator<Uint8Array> {
  let left = afterBytes;
  for await (const chunk of source instanceof Uint8Array ? [source] : source) {
    if (chunk.length >= left) {
      yield chunk.subarray(0, left);
      throw error();
    }
    left -= chunk.length;
    yield chunk;
  }
  throw error();
}

/**
 * A store that goes wrong by plan, over one that does not: for the tests of whatever must survive it. The first rule that means a
 * call decides; every rule counts every call it could mean.
 */
class FaultInjector implements FaultyStore {
  readonly kind = 'faulty';
  readonly injected: InjectedFault[] = [];
  readonly #inner: PackStore;
  readonly #random: () => number;
  #rules: { readonly rule: FaultRule; calls: number }[] = [];

  constructor(inner: PackStore, options: FaultyStoreOptions) {
    this.#inner = inner;
    this.#random = createRandom(options.seed ?? 1);
    this.setRules(options.rules ?? []);
  }

  setRules(rules: readonly FaultRule[]): void {
    this.#rules = rules.map((rule) => ({ rule, calls: 0 }));
  }

  async put(key: string, source: PutSource, options?: PutOptions): Promise<number> {
    return await this.#call('put', key, options?.signal, (fault) => {
      if (fault?.kind !== 'break-source') return this.#inner.put(key, source, options);
      return this.#inner.put(
        key,
        broken(source, fault.afterBytes, () => injectedError('put', key, fault)),
        options,
      );
    });
  }

  async get(key: string, options: GetOptions): Promise<Buffer> {
    return await this.#call('get', key, options.signal, async (fault) => {
      const bytes = await this.#inner.get(key, options);
      if (fault?.kind === 'truncate') return bytes.subarray(0, fault.lengthBytes);
      if (fault?.kind === 'flip' && bytes.length > 0) {
        const bit = (fault.bit ?? Math.floor(this.#random() * bytes.length * 8)) % (bytes.length * 8);
        const at = Math.floor(bit / 8);
        bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << (bit % 8)), at);
      }
      return bytes;
    });
  }

  async head(key: string): Promise<StoredObject | null> {
    return await this.#call('head', key, undefined, () => this.#inner.head(key));
  }

  async delete(key: string): Promise<void> {
    await this.#call('delete', key, undefined, () => this.#inner.delete(key));
  }

  async *list(prefix: string): AsyncGenerator<StoredObject> {
    const fault = await this.#before('list', prefix, undefined);
    yield* this.#inner.list(prefix);
    if (fault?.kind === 'lost-answer') throw injectedError('list', prefix, fault);
  }

  async removeUnfinished(olderThanSeconds: number): Promise<number> {
    return await this.#call('remove-unfinished', '', undefined, () => this.#inner.removeUnfinished(olderThanSeconds));
  }

  async check(): Promise<void> {
    await this.#call('check', '', undefined, () => this.#inner.check());
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  #faultFor(operation: StoreOperation, key: string): Fault | undefined {
    let chosen: Fault | undefined;
    for (const counted of this.#rules) {
      const { rule } = counted;
      if (rule.operation !== 'any' && rule.operation !== operation) continue;
      if (rule.keys !== undefined && key.search(rule.keys) < 0) continue;
      if (!canHappen(rule.fault, operation)) continue;
      counted.calls += 1;
      if (chosen === undefined && this.#happens(rule.when, counted.calls)) chosen = rule.fault;
    }
    return chosen;
  }

  #happens(when: Occurrence, calls: number): boolean {
    if (when.kind === 'nth') return calls === when.n;
    return when.kind === 'always' || this.#random() < when.probability;
  }

  async #before(operation: StoreOperation, key: string, signal: AbortSignal | undefined): Promise<Fault | undefined> {
    const fault = this.#faultFor(operation, key);
    if (fault === undefined) return undefined;
    this.injected.push({ operation, key, fault });
    if (fault.kind === 'fail') throw injectedError(operation, key, fault);
    if (fault.kind === 'delay') {
      await sleep(fault.milliseconds, undefined, signal === undefined ? {} : { signal }).catch(() => {});
      signal?.throwIfAborted();
    }
    return fault;
  }

  async #call<T>(
    operation: StoreOperation,
    key: string,
    signal: AbortSignal | undefined,
    work: (fault: Fault | undefined) => Promise<T>,
  ): Promise<T> {
    const fault = await this.#before(operation, key, signal);
    const result = await work(fault);
    if (fault?.kind === 'lost-answer') throw injectedError(operation, key, fault);
    return result;
  }
}

export function createFaultyStore(inner: PackStore, options: FaultyStoreOptions = {}): FaultyStore {
  return new FaultInjector(inner, options);
}
