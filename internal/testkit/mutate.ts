import fc from 'fast-check';

/** What is done to an input, and puts it right behind that. */
interface Mutator {
  readonly edits: fc.Arbitrary<Edit[]>;
  readonly finish: (bytes: Buffer) => Buffer;
}

/** A real input and what was done to it. Its text is what a failure prints. */
export class Mutant {
  readonly bytes: Buffer;
  /** Of the input that it was made from; more may be done to it with the same. */
  readonly mutator: Mutator;
  readonly #story: string;

  constructor(bytes: Buffer, mutator: Mutator, story: string) {
    this.bytes = bytes;
    this.mutator = mutator;
    this.#story = story;
  }

  static of(start: Buffer, edits: readonly Edit[], mutator: Mutator, from: string): Mutant {
    let bytes = start;
    for (const { apply } of edits) bytes = apply(bytes).subarray(0, MUTANT_BYTES_MAX);
    return new Mutant(mutator.finish(bytes), mutator, [from, ...edits.map(({ text }) => text)].join(', '));
  }

  [fc.toStringMethod](): string {
    const shown = this.bytes.subarray(0, 3000);
    const more = shown.length < this.bytes.length ? `…, ${this.bytes.length} bytes in all` : '';
    return `${this.#story}: base64 ${shown.toString('base64')}${more}`;
  }
}

export interface Edit {
  readonly text: string;
  readonly apply: (bytes: Buffer) => Buffer;
}

/** No mutant is longer. */
const MUTANT_BYTES_MAX = 1 << 20;

/** Where lengths, counts and offsets turn over. */
const BOUNDARIES: readonly bigint[] = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0xffffn,
  0x10000n,
  (1n << 24n) - 1n,
  (1n << 31n) - 1n,
  1n << 31n,
  (1n << 32n) - 1n,
  1n << 32n,
  (1n << 53n) - 1n,
  1n << 53n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 1n,
];
const HEX_LENGTHS = ['0000', '0001', '0002', '0003', '0004', '0005', 'fff0', 'fff1', 'ffff', 'FFF0', '-001', '0x10'];

/** A place in whatever the input is: near its beginning, near its end, or anywhere. */
const place = fc.oneof(fc.nat(60), fc.integer({ min: -60, max: -1 }), fc.nat());
const offset = (bytes: Buffer, at: number): number =>
  at < 0 ? Math.max(0, bytes.length + at) : at % Math.max(1, bytes.length + 1);

function replaced(bytes: Buffer, at: number, length: number, by: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), by, bytes.subarray(Math.min(bytes.length, at + length))]);
}

function edit<T>(
  name: string,
  parts: fc.Arbitrary<T>,
  apply: (bytes: Buffer, at: number, more: T) => Buffer,
): fc.Arbitrary<Edit> {
  return fc.tuple(place, parts).map(([at, more]) => ({
    text: `${name}@${at}(${typeof more === 'object' ? fc.stringify(more).slice(0, 60) : String(more)})`,
    apply: (bytes) => apply(bytes, offset(bytes, at), more),
  }));
}

/** A number as gitformat-pack writes sizes: seven bits a byte, the lowest first. */
function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    bytes.push(Number(rest & 127n) | (rest > 127n ? 0x80 : 0));
    if (rest <= 127n) return Buffer.from(bytes);
  }
}

const boundary = fc.constantFrom(...BOUNDARIES);
const run = fc.oneof(fc.nat(8), fc.nat(300));

/** What is done to an input once: bit flips, cuts, splices, repeated parts, lengths at their limits. `words` mean something to its grammar. */
function edits(corpus: readonly Buffer[], words: readonly (string | Buffer)[]): fc.Arbitrary<Edit> {
  return fc.oneof(
    edit('flip', fc.nat(7), (bytes, at, bit) => {
      const copy = Buffer.from(bytes);
      if (at < copy.length) copy[at]! ^= 1 << bit;
      return copy;
    }),
    edit('byte', fc.nat(255), (bytes, at, byte) => replaced(bytes, at, 1, Buffer.from([byte]))),
    edit('cut', fc.constant('end'), (bytes, at) => bytes.subarray(0, at)),
    edit('drop', run, (bytes, at, length) => replaced(bytes, at, length, Buffer.alloc(0))),
    edit('repeat', fc.tuple(run, fc.integer({ min: 1, max: 60 })), (bytes, at, [length, times]) =>
      replaced(bytes, at, 0, Buffer.concat(Array<Buffer>(times).fill(bytes.subarray(at, at + length)))),
    ),
    edit('splice', fc.tuple(fc.constantFrom(...corpus), place), (bytes, at, [other, from]) =>
      Buffer.concat([bytes.subarray(0, at), other.subarray(offset(other, from))]),
    ),
    edit('word', fc.tuple(fc.constantFrom('', ...words), fc.nat(4)), (bytes, at, [word, over]) =>
      replaced(bytes, at, over, typeof word === 'string' ? Buffer.from(word, 'latin1') : word),
    ),
    edit('number', fc.tuple(boundary, fc.constantFrom(1, 2, 4, 8), fc.boolean()), (bytes, at, [value, width, little]) => {
      const number = Buffer.alloc(8);
      number.writeBigUInt64BE(value);
      const low = number.subarray(8 - width);
      return replaced(bytes, at, width, little ? Buffer.from(low).reverse() : low);
    }),
    edit('varint', boundary, (bytes, at, value) => replaced(bytes, at, 1, varint(value))),
    edit('length', fc.constantFrom(...HEX_LENGTHS), (bytes, at, digits) => replaced(bytes, at, 4, Buffer.from(digits))),
    edit('digits', boundary, (bytes, at, value) => {
      // The next decimal number from here on.
      const found = /[0-9]+/.exec(bytes.toString('latin1', at));
      if (found === null) return bytes;
      return replaced(bytes, at + found.index, found[0].length, Buffer.from(String(value)));
    }),
  );
}

export interface MutantOptions {
  /** What means something to the grammar of the inputs. */
  readonly words?: readonly (string | Buffer)[];
  readonly editsMax?: number;
  /** Puts right what would hide the rest, such as a checksum. */
  readonly finish?: (bytes: Buffer) => Buffer;
}

/** An input of the corpus to which something was done, once or several times. */
export function mutants(
  corpus: readonly Buffer[],
  { words = [], editsMax = 6, finish = (bytes) => bytes }: MutantOptions = {},
): fc.Arbitrary<Mutant> {
  const mutator = { edits: fc.array(edits(corpus, words), { minLength: 1, maxLength: editsMax, size: 'max' }), finish };
  return fc
    .tuple(fc.nat(corpus.length - 1), mutator.edits)
    .map(([index, steps]) => Mutant.of(corpus[index]!, steps, mutator, `input ${index}`));
}

/** The mutants that an input is or consists of, and the input with others in their places. */
export function mutantsIn(input: unknown): Mutant[] {
  const found: Mutant[] = [];
  withMutants(input, (one) => {
    found.push(one);
    return one;
  });
  return found;
}

export function withMutants(input: unknown, change: (one: Mutant) => Mutant): unknown {
  if (input instanceof Mutant) return change(input);
  if (Array.isArray(input)) return input.map((part) => withMutants(part, change));
  if (typeof input !== 'object' || input === null || ArrayBuffer.isView(input)) return input;
  return Object.fromEntries(Object.entries(input).map(([name, part]) => [name, withMutants(part, change)]));
}
