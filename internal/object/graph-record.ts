import { KIND_COMMIT, KIND_TAG, type ObjectFormat, oidLength } from './oid.ts';

/**
 * Graph records: the links of commits and tags, one after the other, as `graph_blocks.records` keeps them.
 *
 *   commit   01, oid, tree oid, committer time (6 bytes, seconds, big-endian), number of parents (2 bytes), parent oids
 *   tag      04, oid, kind of what it names (1 byte), oid of what it names
 */
export interface CommitRecord {
  readonly tree: Buffer;
  readonly parents: readonly Buffer[];
  readonly committerTimeSeconds: number;
}

const TIME_MAX = 2 ** 48 - 1;

export function encodeCommitRecord(oid: Buffer, commit: CommitRecord): Buffer {
  const width = oid.length;
  const record = Buffer.allocUnsafe(1 + 2 * width + 8 + commit.parents.length * width);
  record[0] = KIND_COMMIT;
  oid.copy(record, 1);
  commit.tree.copy(record, 1 + width);
  record.writeUIntBE(Math.max(0, Math.min(TIME_MAX, Math.floor(commit.committerTimeSeconds) || 0)), 1 + 2 * width, 6);
  record.writeUInt16BE(commit.parents.length, 7 + 2 * width);
  for (const [i, parent] of commit.parents.entries()) parent.copy(record, 9 + (2 + i) * width);
  return record;
}

export function encodeTagRecord(oid: Buffer, target: Buffer, targetKind: number): Buffer {
  const record = Buffer.allocUnsafe(2 + 2 * oid.length);
  record[0] = KIND_TAG;
  oid.copy(record, 1);
  record[1 + oid.length] = targetKind;
  target.copy(record, 2 + oid.length);
  return record;
}

export interface GraphVisitor {
  /** Parents are `parentCount` raw oids at `records[parentsAt]`. */
  commit(records: Buffer, oidAt: number, treeAt: number, timeSeconds: number, parentsAt: number, parentCount: number): void;
  tag(records: Buffer, oidAt: number, targetKind: number, targetAt: number): void;
}

/** Walks a block of graph records. */
export function readGraphRecords(records: Buffer, format: ObjectFormat, visitor: GraphVisitor): void {
  const width = oidLength(format);
  let at = 0;
  while (at < records.length) {
    if (records[at] === KIND_COMMIT) {
      const parentCount = records.readUInt16BE(at + 7 + 2 * width);
      const parentsAt = at + 9 + 2 * width;
      visitor.commit(records, at + 1, at + 1 + width, records.readUIntBE(at + 1 + 2 * width, 6), parentsAt, parentCount);
      at = parentsAt + parentCount * width;
    } else {
      visitor.tag(records, at + 1, records[at + 1 + width]!, at + 2 + width);
      at += 2 + 2 * width;
    }
  }
}
