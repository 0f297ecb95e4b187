/**
 * Inputs that are guided by what they reach, as AFL does it: one that takes a branch which none took before, or takes it so many times more
 * often (1, 2, 3, 4, 8, 16, 32, 128), joins a corpus, and most inputs are members of it to which more was done.
 */
import fc from 'fast-check';
import { seededRandom } from './history.ts';
import type { BranchLiteral } from './instrument.ts';
import { type Edit, Mutant, mutantsIn, withMutants } from './mutate.ts';

/** How often each branch was taken, as coverage-hook.ts counts it, and what is compared with in it. */
export interface BranchCounters {
  readonly counters: Uint8Array;
  used: number;
  readonly literals: BranchLiteral[];
}

declare global {
  /** Undefined when nothing is instrumented. */
  var packhouseBranches: BranchCounters | undefined;
}

/** What fast-check makes at a time: one by one takes it twice as long. */
const SAMPLES = 64;
/** One input in so many is a new one. */
const FRESH_EVERY = 3;
const CORPUS_MAX = 4000;
/** A longer one does not join: inputs would become ever longer, and slower. */
const MEMBER_BYTES_MAX = 32 << 10;

/** A bit for each number of times that is told apart. */
const BUCKETS = Uint8Array.from({ length: 256 }, (_, times) => {
  if (times < 4) return [0, 1, 2, 4][times]!;
  return 8 << [8, 16, 32, 128].filter((bound) => times >= bound).length;
});

interface Member<T> {
  readonly input: T;
  readonly sizeBytes: number;
}

export class Guide<T> {
  readonly #inputs: fc.Arbitrary<T>;
  readonly #branches: BranchCounters;
  readonly #corpusMax: number;
  /** The buckets that each counter was in. */
  readonly #seen: Uint8Array;
  readonly #corpus: Member<T>[] = [];
  readonly #random: (below: number) => number;
  #seed: number;
  #fresh: T[] = [];
  readonly #edits = new Map<fc.Arbitrary<Edit[]>, Edit[][]>();
  /** What the branches that were reached compare with. */
  readonly #tokens: Buffer[] = [];
  #tried = 0;
  #reached = 0;

  /** With `corpusMax` 0 every input is a new one: what is reached without guidance. */
  constructor(inputs: fc.Arbitrary<T>, branches: BranchCounters, seed: number, corpusMax = CORPUS_MAX) {
    this.#inputs = inputs;
    this.#branches = branches;
    this.#corpusMax = corpusMax;
    this.#seen = new Uint8Array(branches.counters.length);
    this.#random = seededRandom(seed);
    this.#seed = seed;
  }

  /** The next input to try; the counters stand at 0. */
  next(): T {
    this.#tried++;
    const input = this.#corpus.length === 0 || this.#random(FRESH_EVERY) === 0 ? this.#sample() : this.#descendant();
    const { counters, used } = this.#branches;
    counters.fill(0, 0, used);
    return input;
  }

  /** After an input was tried: looks at what it reached. */
  judge(input: T): void {
    if (!this.#reachedMore() || this.#corpusMax === 0) return;
    const sizeBytes = mutantsIn(input).reduce((sum, { bytes }) => sum + bytes.length, 0);
    if (sizeBytes === 0 || sizeBytes > MEMBER_BYTES_MAX) return;
    const index = this.#corpus.length < this.#corpusMax ? this.#corpus.length : this.#random(this.#corpusMax);
    this.#corpus[index] = { input, sizeBytes };
  }

  toString(): string {
    return `${this.#tried} inputs, ${this.#reached} of ${this.#branches.used} branches, corpus of ${this.#corpus.length}`;
  }

  #sample(): T {
    if (this.#fresh.length === 0) this.#fresh = fc.sample(this.#inputs, { seed: this.#seed++, numRuns: SAMPLES }).reverse();
    return this.#fresh.pop()!;
  }

  /** A member with one of its mutants changed. Now and then the rest, such as where it is cut, is that of a new input. */
  #descendant(): T {
    const [index, member] = this.#choose();
    const parents = mutantsIn(member.input);
    const changed = this.#random(parents.length);
    const frame = this.#random(4) === 0 ? this.#sample() : member.input;
    const input = mutantsIn(frame).length === parents.length ? frame : member.input;
    let at = 0;
    return withMutants(input, () => {
      const one = parents[at]!;
      return at++ === changed ? this.#changed(one, index) : one;
    }) as T;
  }

  /** The shorter of two; of the newest more often, which others have not been made from yet. */
  #choose(): [index: number, member: Member<T>] {
    const length = this.#corpus.length;
    const [a, b] = [0, 0].map(() =>
      this.#random(3) === 0 ? length - 1 - this.#random(Math.min(length, 8)) : this.#random(length),
    );
    const index = this.#corpus[a!]!.sizeBytes <= this.#corpus[b!]!.sizeBytes ? a! : b!;
    return [index, this.#corpus[index]!];
  }

  #changed(one: Mutant, index: number): Mutant {
    let { bytes } = one;
    let from = `corpus ${index}`;
    if (this.#random(8) === 0) {
      const [other, { input }] = this.#choose();
      const tail = mutantsIn(input)[0]!.bytes;
      const [at, start] = [this.#random(bytes.length + 1), this.#random(tail.length + 1)];
      bytes = Buffer.concat([bytes.subarray(0, at), tail.subarray(start)]);
      from += ` to ${at}, corpus ${other} from ${start}`;
    }
    const edits = this.#random(2) === 0 ? this.#nextEdits(one.mutator.edits) : this.#smallEdits();
    return Mutant.of(bytes, edits, one.mutator, from);
  }

  #nextEdits(edits: fc.Arbitrary<Edit[]>): Edit[] {
    let waiting = this.#edits.get(edits);
    if (waiting === undefined || waiting.length === 0) {
      waiting = fc.sample(edits, { seed: this.#seed++, numRuns: SAMPLES });
      this.#edits.set(edits, waiting);
    }
    return waiting.pop()!;
  }

  /** Mostly one: what led to where the parent came should be left as it is. */
  #smallEdits(): Edit[] {
    const edits = [smallEdit(this.#random, this.#tokens)];
    while (this.#random(3) === 0) edits.push(smallEdit(this.#random, this.#tokens));
    return edits;
  }

  #addTokens(reached: ReadonlySet<number>): void {
    for (const { counter, value } of this.#branches.literals) if (reached.has(counter)) this.#tokens.push(...tokensOf(value));
  }

  #reachedMore(): boolean {
    const { counters, used } = this.#branches;
    const fours = new Uint32Array(counters.buffer, 0, (used + 3) >> 2);
    const seen = this.#seen;
    const reached = new Set<number>();
    let isMore = false;
    for (let four = 0; four < fours.length; four++) {
      if (fours[four] === 0) continue;
      for (let at = four * 4; at < four * 4 + 4; at++) {
        const bucket = BUCKETS[counters[at]!]!;
        const before = seen[at]!;
        if ((bucket & ~before) === 0) continue;
        if (before === 0) reached.add(at);
        seen[at] = before | bucket;
        isMore = true;
      }
    }
    this.#reached += reached.size;
    if (reached.size > 0) this.#addTokens(reached);
    return isMore;
  }
}

/** How a literal may stand in an input. */
function tokensOf(value: string | number): Buffer[] {
  if (typeof value === 'string') return [Buffer.from(value)];
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** 32) return [];
  if (value < 256) return [Buffer.of(value)];
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return [value < 65_536 ? bytes.subarray(2) : bytes];
}

/** One byte or token is set, put in, or taken away. */
function smallEdit(random: (below: number) => number, tokens: readonly Buffer[]): Edit {
  const [place, what, by] = [random(2 ** 32), random(8), random(256)];
  const token = tokens[random(tokens.length + 1)] ?? Buffer.of(by);
  const near = random(3) === 0 ? 64 : Number.POSITIVE_INFINITY;
  return {
    text: `small ${place} ${what} ${token.toString('hex')}`,
    apply(bytes) {
      const at = place % Math.min(near, bytes.length + 1);
      const put = (over: number, part: Uint8Array): Buffer =>
        Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(Math.min(bytes.length, at + over))]);
      if (what < 3) return put(token.length, token);
      if (what === 3) return put(0, token);
      if (what === 4) return put(1 + (by & 7), Buffer.alloc(0));
      if (what === 5) return put(0, bytes.subarray(at, at + 1 + (by & 15)));
      return put(1, Buffer.of(what === 6 ? (bytes[at] ?? 0) + (by % 17) - 8 : by));
    },
  };
}
