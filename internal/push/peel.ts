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

/** For each oid in hex: what it finally names when it is a tag, else null. */
export async function peelTips(view: RepositoryView, oids: readonly string[], tags: PackTags | null): Promise<(Buffer | null)[]> {
  return oids.map((oid) => {
    if (isZero(oid)) return null;
    let hex = oid;
    for (let target = tags?.target(hex); target !== undefined; target = tags?.target(hex)) {
      hex = target.hex;
      if (target.kind !== KIND_TAG) return Buffer.from(hex, 'hex');
    }
    const node = view.pool.graph.findHex(hex);
    if (node < 0 || !view.pool.graph.isTag(node)) return hex === oid ? null : Buffer.from(hex, 'hex');
    return view.pool.graph.peel(node)?.oid ?? null;
  });
}
