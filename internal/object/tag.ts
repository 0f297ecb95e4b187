import { badObject } from './errors.ts';
import { type ObjectFormat, type ObjectKind, oidLength } from './oid.ts';
import { identTimeSeconds, lineEnd, readHexOid, startsWith } from './scan.ts';

const LF = 0x0a;

/** What an annotated tag says about itself. */
export interface ParsedTag {
  /** Raw oid of what it names. */
  readonly object: Buffer;
  readonly kind: ObjectKind;
  /** The tag's own name as a binary string, a char per byte. */
  readonly name: string;
  /** Seconds since 1970; absent in old tags that have no tagger line. */
  readonly taggerTimeSeconds?: number;
}

/**
 * Reads a tag: its object, type and tag lines in this order, then a tagger line if it has one (gitformat-tag).
 * @throws PackhouseError `bad-object` when one of the three cannot be read.
 */
export function parseTag(data: Buffer, format: ObjectFormat): ParsedTag {
  const oidBytes = oidLength(format);
  const object = startsWith(data, 0, 'object ') ? readHexOid(data, 7, oidBytes) : undefined;
  const typeAt = 8 + oidBytes * 2;
  if (object === undefined || data[typeAt - 1] !== LF) throw badObject('a tag starts with its object line', 0);
  const kind = readKind(data, typeAt);
  if (kind === undefined) throw badObject('the type line of a tag cannot be read', typeAt);
  const tagAt = typeAt + 6 + kind.length;
  const tagEnd = lineEnd(data, tagAt);
  if (!startsWith(data, tagAt, 'tag ') || tagEnd === data.length) throw badObject('the tag line of a tag cannot be read', tagAt);
  const name = data.toString('latin1', tagAt + 4, tagEnd);
  if (!startsWith(data, tagEnd + 1, 'tagger ')) return { object, kind, name };
  return { object, kind, name, taggerTimeSeconds: identTimeSeconds(data, tagEnd + 8, lineEnd(data, tagEnd + 1)) };
}

/** The kind of a `type` line that starts at `at`. */
export function readKind(data: Buffer, at: number): ObjectKind | undefined {
  if (startsWith(data, at, 'type commit\n')) return 'commit';
  if (startsWith(data, at, 'type tree\n')) return 'tree';
  if (startsWith(data, at, 'type blob\n')) return 'blob';
  if (startsWith(data, at, 'type tag\n')) return 'tag';
  return undefined;
}
