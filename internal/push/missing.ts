import type { IncomingReader } from '../ingest/mod.ts';
import { KIND_COMMIT, KIND_TAG, KIND_TREE, type ObjectFormat, parseCommit, parseTag, treeEntries } from '../object/mod.ts';
import { kindOfMode } from '../reach/mod.ts';

/**
 * Whether an incoming tip reaches one of the missing links: a walk through the objects of the pack. Done only when something is missing,
 * to tell the refs that must be refused from those that may stay.
 */
export async function reachesMissing(
  tip: string,
  reader: IncomingReader,
  missing: ReadonlySet<string>,
  format: ObjectFormat,
  visited: Map<string, boolean>,
): Promise<boolean> {
  const stack = [tip];
  const seen = new Set<string>();
  while (stack.length > 0) {
    const hex = stack.pop()!;
    if (missing.has(hex)) return true;
    if (seen.has(hex)) continue;
    seen.add(hex);
    if (visited.get(hex) === false) continue;
    const object = await reader.read(Buffer.from(hex, 'hex'));
    if (object === null) continue;
    for (const link of linksOf(object.kind, object.data, format)) stack.push(link);
  }
  for (const hex of seen) visited.set(hex, false);
  return false;
}

function* linksOf(kind: number, data: Buffer, format: ObjectFormat): Generator<string> {
  if (kind === KIND_COMMIT) {
    const commit = parseCommit(data, format);
    yield commit.tree.toString('hex');
    for (const parent of commit.parents) yield parent.toString('hex');
  } else if (kind === KIND_TAG) {
    yield parseTag(data, format).object.toString('hex');
  } else if (kind === KIND_TREE) {
    for (const entry of treeEntries(data, format)) if (kindOfMode(entry.mode) !== 0) yield entry.oid.toString('hex');
  }
}
