import { badObject } from './errors.ts';
import { type ObjectFormat, oidLength } from './oid.ts';
import { identTimeSeconds, lineEnd, readHexOid, startsWith } from './scan.ts';

const LF = 0x0a;

/** What the commit graph needs of a commit. Oids are raw. */
export interface ParsedCommit {
  readonly tree: Buffer;
  readonly parents: readonly Buffer[];
  /** Seconds since 1970; 0 when the commit has no committer line with a readable time. */
  readonly committerTimeSeconds: number;
}

/**
 * Reads the links of a commit: one tree line, then its parent lines, one after the other (gitformat-commit). Lenient about all that follows,
 * as git's own reader is: whether the identities are in order is for `checkObject` to say.
 * @throws PackhouseError `bad-object` when the tree or a parent cannot be read.
 */
export function parseCommit(data: Buffer, format: ObjectFormat): ParsedCommit {
  const oidBytes = oidLength(format);
  const digits = oidBytes * 2;
  const tree = startsWith(data, 0, 'tree ') ? readHexOid(data, 5, oidBytes) : undefined;
  if (tree === undefined || data[5 + digits] !== LF) throw badObject('a commit starts with its tree line', 0);
  let at = 6 + digits;
  const parents: Buffer[] = [];
  while (startsWith(data, at, 'parent ')) {
    const parent = readHexOid(data, at + 7, oidBytes);
    if (parent === undefined || data[at + 7 + digits] !== LF) throw badObject('a parent line of a commit cannot be read', at);
    parents.push(parent);
    at += 8 + digits;
  }
  return { tree, parents, committerTimeSeconds: committerTimeSeconds(data, at) };
}

function committerTimeSeconds(data: Buffer, headerAt: number): number {
  let at = headerAt;
  while (at < data.length && data[at] !== LF) {
    const end = lineEnd(data, at);
    if (startsWith(data, at, 'committer ')) return identTimeSeconds(data, at + 10, end);
    at = end + 1;
  }
  return 0;
}
