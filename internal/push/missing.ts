import type { IncomingReader, VerifiedPack } from '../ingest/mod.ts';
import {
  KIND_BLOB,
  KIND_COMMIT,
  KIND_TAG,
  KIND_TREE,
  kindNumber,
  kindOfMode,
  parseCommit,
  parseTag,
  treeEntries,
} from '../object/mod.ts';
import { linkKey } from '../reach/mod.ts';

interface Link {
  readonly hex: string;
  readonly kind: number;
}

interface Frame {
  readonly hex: string;
  readonly links: readonly Link[];
  next: number;
}

/**
 * Tells which objects of a pack reach a link that is missing: a walk through the pack's commits, trees and tags, each read once for
 * all tips. Done only when something is missing, to tell the refs that must be refused from those that may stay.
 */
export class IncompleteObjects {
  readonly #pack: VerifiedPack;
  readonly #reader: IncomingReader;
  /** Keys of the links that lead nowhere (`linkKey`). */
  readonly #missing: ReadonlySet<string>;
  /** Commits in hex whose parents do not count: a shallow client says that its history ends there. */
  readonly #cut: ReadonlySet<string>;
  readonly #known = new Map<string, boolean>();

  constructor(pack: VerifiedPack, reader: IncomingReader, missing: ReadonlySet<string>, cut: ReadonlySet<string> = new Set()) {
    this.#pack = pack;
    this.#reader = reader;
    this.#missing = missing;
    this.#cut = cut;
  }

  /** Whether the object, which is of the pack, reaches a missing link. Of an object outside the pack this says false. */
  async has(tip: string): Promise<boolean> {
    const known = this.#known.get(tip);
    if (known !== undefined) return known;
    const entered = new Set<string>();
    const stack: Frame[] = [];
    const enter = async (hex: string): Promise<void> => {
      entered.add(hex);
      stack.push({ hex, links: await this.#links(hex), next: 0 });
    };
    await enter(tip);
    while (stack.length > 0) {
      const frame = stack[stack.length - 1]!;
      const link = frame.links[frame.next++];
      if (link === undefined) {
        this.#known.set(frame.hex, false);
        stack.pop();
      } else if (this.#missing.has(linkKey(link.kind, link.hex)) || this.#known.get(link.hex) === true) {
        for (const { hex } of stack) this.#known.set(hex, true);
        return true;
      } else if (link.kind !== KIND_BLOB && !this.#known.has(link.hex) && !entered.has(link.hex)) {
        await enter(link.hex);
      }
    }
    return false;
  }

  async #links(hex: string): Promise<readonly Link[]> {
    const oid = Buffer.from(hex, 'hex');
    const row = this.#reader.row(oid);
    if (row < 0 || this.#pack.kinds[row] === KIND_BLOB) return [];
    const object = await this.#reader.read(oid);
    return object === null ? [] : [...this.#linksOf(hex, object.kind, object.data)];
  }

  *#linksOf(hex: string, kind: number, data: Buffer): Generator<Link> {
    const { format } = this.#pack;
    if (kind === KIND_COMMIT) {
      const commit = parseCommit(data, format);
      yield { hex: commit.tree.toString('hex'), kind: KIND_TREE };
      if (!this.#cut.has(hex)) for (const parent of commit.parents) yield { hex: parent.toString('hex'), kind: KIND_COMMIT };
    } else if (kind === KIND_TAG) {
      const tag = parseTag(data, format);
      yield { hex: tag.object.toString('hex'), kind: kindNumber(tag.kind) };
    } else {
      for (const entry of treeEntries(data, format)) {
        const asked = kindOfMode(entry.mode);
        if (asked !== 0) yield { hex: entry.oid.toString('hex'), kind: asked };
      }
    }
  }
}
