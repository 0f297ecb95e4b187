import type { ObjectFormat } from '../object/mod.ts';
import { checkLimit, ProtocolError, shown } from './errors.ts';
import { parseFilterSpec } from './filter-spec.ts';
import { after, parseOid } from './lines.ts';
import { type DeepenRequest, type FilterSpec, INFINITE_DEPTH, type ProtocolLimits } from './types.ts';

export type FetchLimits = Pick<
  ProtocolLimits,
  'wantsMax' | 'havesMax' | 'shallowsMax' | 'deepenNotMax' | 'filterBytesMax' | 'filterDepthMax'
>;

/** Gathers the lines that fetch requests of all protocol versions share. Each `take…` says whether the line was its own. */
export class FetchArgs {
  readonly wants = new Set<string>();
  readonly haves: string[] = [];
  readonly shallow = new Set<string>();
  filter: FilterSpec | null = null;
  deepenRelative = false;
  readonly #format: ObjectFormat;
  readonly #limits: FetchLimits;
  readonly #deepenNot = new Set<string>();
  #depth = 0;
  #since: number | null = null;

  constructor(format: ObjectFormat, limits: FetchLimits) {
    this.#format = format;
    this.#limits = limits;
  }

  /** An oid, or null when `text` is none; the caller words the refusal. */
  oid(text: string): string | null {
    return parseOid(text, this.#format);
  }

  addWant(oid: string): void {
    this.wants.add(oid);
    checkLimit('wants', this.wants.size, this.#limits.wantsMax);
  }

  takeHave(line: string): boolean {
    const text = after(line, 'have ');
    if (text === null) return false;
    const oid = this.oid(text);
    if (oid === null) throw new ProtocolError('protocol', `git upload-pack: expected SHA1 object, got '${shown(text)}'`);
    checkLimit('haves', this.haves.length + 1, this.#limits.havesMax);
    this.haves.push(oid);
    return true;
  }

  /** `shallow`, `deepen`, `deepen-since`, `deepen-not`. */
  takeShallowLine(line: string): boolean {
    const space = line.indexOf(' ');
    const value = line.slice(space + 1);
    switch (space < 0 ? '' : line.slice(0, space)) {
      case 'shallow':
        this.#addShallow(line, value);
        return true;
      case 'deepen':
        if (!/^[1-9][0-9]*$/.test(value)) throw new ProtocolError('protocol', `Invalid deepen: ${shown(line)}`);
        this.#depth = Math.min(Number(value), INFINITE_DEPTH);
        return true;
      case 'deepen-since':
        this.#since = Number(value);
        if (!/^[0-9]+$/.test(value) || !Number.isSafeInteger(this.#since)) {
          throw new ProtocolError('protocol', `Invalid deepen-since: ${shown(line)}`);
        }
        return true;
      case 'deepen-not':
        this.#deepenNot.add(value);
        checkLimit('deepen-not lines', this.#deepenNot.size, this.#limits.deepenNotMax);
        return true;
      default:
        return false;
    }
  }

  setFilter(text: string): void {
    if (this.filter !== null) throw new ProtocolError('protocol', 'multiple filter-specs cannot be combined');
    this.filter = parseFilterSpec(text, this.#limits);
  }

  /** What was asked about depth. @throws ProtocolError when a depth comes with a date or an excluded ref. */
  deepen(): DeepenRequest {
    if (this.#depth > 0 && (this.#since !== null || this.#deepenNot.size > 0)) {
      const message = 'git upload-pack: deepen and deepen-since (or deepen-not) cannot be used together';
      throw new ProtocolError('protocol', message);
    }
    return { depth: this.#depth, relative: this.deepenRelative, since: this.#since, not: [...this.#deepenNot] };
  }

  #addShallow(line: string, text: string): void {
    const oid = this.oid(text);
    if (oid === null) throw new ProtocolError('protocol', `invalid shallow line: ${shown(line)}`);
    this.shallow.add(oid);
    checkLimit('shallow lines', this.shallow.size, this.#limits.shallowsMax);
  }
}
