import { PackhouseError } from '../base/mod.ts';
import { KIND_COMMIT, KIND_TAG, type ObjectFormat, oidLength, readGraphRecords } from '../object/mod.ts';

/** Graph records by oid in hex. Unlike the reader of the server, which trusts the catalog, this one refuses what is no record. */
export function parseGraph(blocks: readonly Buffer[], format: ObjectFormat): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  for (const block of blocks) for (const [oid, record] of parseBlock(block, format)) records.set(oid, record);
  return records;
}

function parseBlock(block: Buffer, format: ObjectFormat): [string, Buffer][] {
  const width = oidLength(format);
  const found: [string, Buffer][] = [];
  let end = 0;
  const take = (at: number, lengthBytes: number, expected: number): void => {
    const sound = at === end && block[at] === expected && at + lengthBytes <= block.length;
    if (!sound) throw new PackhouseError('graph-records', `graph records cannot be read at byte ${end} of ${block.length}`);
    end = at + lengthBytes;
    found.push([block.toString('hex', at + 1, at + 1 + width), block.subarray(at, end)]);
  };
  try {
    readGraphRecords(block, format, {
      commit: (_bytes, oidAt, _treeAt, _time, _parentsAt, count) => take(oidAt - 1, 9 + 2 * width + count * width, KIND_COMMIT),
      tag: (_bytes, oidAt) => take(oidAt - 1, 2 + 2 * width, KIND_TAG),
    });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new PackhouseError('graph-records', `graph records are cut at byte ${end} of ${block.length}`, {}, { cause: error });
  }
  return found;
}

/** Oids, in hex, of the parents that a commit's record names; none of a tag's. */
export function parentsOf(record: Buffer, format: ObjectFormat): string[] {
  const parents: string[] = [];
  const width = oidLength(format);
  readGraphRecords(record, format, {
    commit(bytes, _oidAt, _treeAt, _time, parentsAt, count) {
      for (let i = 0; i < count; i++) parents.push(bytes.toString('hex', parentsAt + i * width, parentsAt + (i + 1) * width));
    },
    tag() {},
  });
  return parents;
}
