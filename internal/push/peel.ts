import { KIND_TAG, type ObjectFormat, readGraphRecords } from '../object/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';
import { isZero } from './judge-commands.ts';

/** The commits and tags of an incoming pack, for peeling its tags before the graph has them. */
export class PackTags {
  readonly #nodes = new Set<string>();
  readonly #targets = new Map<string, { kind: number; hex: string }>();

  constructor(graph: readonly Buffer[], format: ObjectFormat) {
    const width = format === 'sha1' ? 20 : 32;
    for (const records of graph) {
      readGraphRecords(records, format, {
        commit: (bytes, oidAt) => void this.#nodes.add(bytes.toString('hex', oidAt, oidAt + width)),
        tag: (bytes, oidAt, kind, targetAt) => {
          const hex = bytes.toString('hex', oidAt, oidAt + width);
          this.#nodes.add(hex);
          this.#targets.set(hex, { kind, hex: bytes.toString('hex', targetAt, targetAt + width) });
        },
      });
    }
  }

  /** Whether the oid is a commit or tag of the pack. */
  isNode(hex: string): boolean {
    return this.#nodes.has(hex);
  }

  target(hex: string): { kind: number; hex: string } | undefined {
    return this.#targets.get(hex);
  }
}

/** For each oid in hex: what it finally names when it is a tag, else null. Many may name one long chain of tags: it is followed once. */
export async function peelTips(view: RepositoryView, oids: readonly string[], tags: PackTags | null): Promise<(Buffer | null)[]> {
  const { graph } = view.pool;
  const known = new Map<string, Buffer | null>();
  /** What an oid names that is no tag of the pack; `isNamed`: by one that is. */
  const outside = (hex: string, isNamed: boolean): Buffer | null => {
    const node = graph.findHex(hex);
    if (node >= 0 && graph.isTag(node)) return graph.peel(node)?.oid ?? null;
    return isNamed ? Buffer.from(hex, 'hex') : null;
  };
  return oids.map((oid) => {
    if (isZero(oid)) return null;
    const path: string[] = [];
    let hex = oid;
    let isTag = true;
    while (isTag && !known.has(hex)) {
      const target = tags?.target(hex);
      if (target === undefined) break;
      path.push(hex);
      hex = target.hex;
      isTag = target.kind === KIND_TAG;
    }
    const end = !isTag ? Buffer.from(hex, 'hex') : (known.get(hex) ?? outside(hex, path.length > 0));
    for (const tag of path) known.set(tag, end);
    return end;
  });
}
