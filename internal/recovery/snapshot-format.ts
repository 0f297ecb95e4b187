import { createHash } from 'node:crypto';
import { pipeline, Readable, type Transform } from 'node:stream';
import { constants, createGunzip, createGzip, gunzipSync } from 'node:zlib';
import { codeOf, messageOf, PackhouseError } from '../base/mod.ts';
import type { CatalogSection } from '../catalog/mod.ts';
import type { PackStore } from '../packstore/mod.ts';

/** Where snapshots lie in a store. */
export const SNAPSHOTS = 'snapshots/';

/** The first line of a snapshot. */
export interface SnapshotHead {
  readonly version: 1;
  readonly chain: string;
  readonly ordinal: number;
  /** The one whose changes it tells; null: it tells all. */
  readonly previous: { readonly key: string; readonly sha256: string } | null;
  readonly takenAt: string;
  /** The last push that it has seen. */
  readonly push: number;
  readonly sequences: Readonly<Record<string, number>>;
}

/** A part of a snapshot while it is read. `rows` are whole lines of COPY's text format, those of the section named before. */
export type SnapshotPart =
  | { readonly kind: 'head'; readonly head: SnapshotHead }
  | { readonly kind: 'section'; readonly table: string; readonly columns: readonly string[] }
  | { readonly kind: 'rows'; readonly bytes: Buffer }
  | { readonly kind: 'section-end' }
  | { readonly kind: 'end'; readonly sha256: string };

const HEAD = '-- packhouse snapshot ';
const END = '-- end ';
const SECTION = /^copy ([a-z_]+) \(([a-z0-9_", ]*)\) from stdin;$/;
const SECTION_END = Buffer.from('\\.\n');
const READ_BYTES = 4 << 20;
/** Enough of a snapshot to have its first line. */
const HEAD_BYTES_MAX = 64 << 10;

/** The text of a snapshot; `onDigest` is told the SHA-256 of all before its last line. */
async function* snapshotText(
  head: SnapshotHead,
  sections: readonly CatalogSection[],
  onDigest: (sha256: Buffer) => void,
): AsyncGenerator<Buffer> {
  const hash = createHash('sha256');
  const counted = (bytes: Buffer): Buffer => {
    hash.update(bytes);
    return bytes;
  };
  yield counted(Buffer.from(`${HEAD}${JSON.stringify(head)}\n`));
  for (const { table, columns, rows } of sections) {
    yield counted(Buffer.from(`copy ${table} (${columns.map((name) => `"${name}"`).join(', ')}) from stdin;\n`));
    for await (const bytes of rows() as AsyncIterable<Buffer>) yield counted(bytes);
    yield counted(SECTION_END);
  }
  const digest = hash.digest();
  onDigest(digest);
  yield Buffer.from(`${END}${JSON.stringify({ sha256: digest.toString('hex') })}\n`);
}

/** Stores a snapshot; its stored length and the SHA-256 of its text. */
export async function putSnapshot(
  store: PackStore,
  key: string,
  head: SnapshotHead,
  sections: readonly CatalogSection[],
  signal?: AbortSignal,
): Promise<{ storedBytes: number; sha256: Buffer }> {
  let sha256: Buffer = Buffer.alloc(0);
  const text = snapshotText(head, sections, (digest) => {
    sha256 = digest;
  });
  const source = piped(text, createGzip({ level: 3, chunkSize: 256 << 10 }));
  const storedBytes = await store.put(key, source, signal === undefined ? {} : { signal });
  return { storedBytes, sha256 };
}

/**
 * Reads a snapshot part by part; rows come in pieces of bounded size, save that no line is cut. Whoever has read it to its end knows that
 * it is whole and what was written.
 * @throws PackhouseError `snapshot-bad`
 */
export async function* readSnapshot(store: PackStore, key: string): AsyncGenerator<SnapshotPart> {
  const hash = createHash('sha256');
  let held: Buffer = Buffer.alloc(0);
  let inRows = false;
  let ended = false;
  const take = (length: number): Buffer => {
    const bytes = held.subarray(0, length);
    held = held.subarray(length);
    return bytes;
  };
  try {
    for await (const piece of piped(objectBytes(store, key), createGunzip({ chunkSize: 256 << 10 }))) {
      held = held.length === 0 ? piece : Buffer.concat([held, piece]);
      while (held.length > 0) {
        if (ended) throw bad(key, 'something follows its end');
        if (inRows) {
          const length = rowsLength(held);
          if (length > 0) {
            const bytes = take(length);
            hash.update(bytes);
            yield { kind: 'rows', bytes };
          }
          if (!held.subarray(0, SECTION_END.length).equals(SECTION_END)) break;
          hash.update(take(SECTION_END.length));
          inRows = false;
          yield { kind: 'section-end' };
          continue;
        }
        const lineEnd = held.indexOf(10);
        if (lineEnd < 0) break;
        const line = take(lineEnd + 1);
        const part = partOf(line.toString('utf8', 0, lineEnd), key);
        if (part.kind === 'end') {
          if (part.sha256 !== hash.digest('hex')) throw bad(key, 'its checksum differs');
          ended = true;
        } else {
          hash.update(line);
        }
        inRows = part.kind === 'section';
        yield part;
      }
    }
  } catch (error) {
    if (!codeOf(error)?.startsWith('Z_')) throw error;
    throw bad(key, messageOf(error));
  }
  if (!ended) throw bad(key, 'its end is missing');
}

/** Reads a snapshot to its end; the checksum of its text. @throws PackhouseError `snapshot-bad` */
export async function textSum(store: PackStore, key: string): Promise<string> {
  let sha256 = '';
  for await (const part of readSnapshot(store, key)) if (part.kind === 'end') sha256 = part.sha256;
  return sha256;
}

/** The first line of a snapshot, without reading the rest; null when there is no such thing. */
export async function readHead(store: PackStore, key: string, lengthBytes: number): Promise<SnapshotHead | null> {
  const first = await store.get(key, { offset: 0, lengthBytes: Math.min(lengthBytes, HEAD_BYTES_MAX) });
  try {
    const text = gunzipSync(first, { finishFlush: constants.Z_SYNC_FLUSH });
    const line = text.indexOf(10);
    const part = partOf(text.toString('utf8', 0, Math.max(0, line)), key);
    return part.kind === 'head' ? part.head : null;
  } catch {
    return null;
  }
}

/** Whole lines at the start of `held` that are rows: up to the section's end, or as far as lines are whole. */
function rowsLength(held: Buffer): number {
  if (held.subarray(0, SECTION_END.length).equals(SECTION_END)) return 0;
  const end = held.indexOf('\n\\.\n');
  return end >= 0 ? end + 1 : held.lastIndexOf(10) + 1;
}

function partOf(line: string, key: string): SnapshotPart {
  try {
    if (line.startsWith(HEAD)) {
      const head = JSON.parse(line.slice(HEAD.length)) as SnapshotHead;
      if (head.version === 1) return { kind: 'head', head };
    } else if (line.startsWith(END)) {
      return { kind: 'end', sha256: (JSON.parse(line.slice(END.length)) as { sha256: string }).sha256 };
    }
  } catch {
    // told below
  }
  const section = SECTION.exec(line);
  if (section === null) throw bad(key, `it cannot be read: ${JSON.stringify(line.slice(0, 80))}`);
  return { kind: 'section', table: section[1]!, columns: section[2]!.split(', ').map((name) => name.replaceAll('"', '')) };
}

export function bad(key: string, why: string): PackhouseError {
  return new PackhouseError('snapshot-bad', `${key}: ${why}`, { key });
}

async function* objectBytes(store: PackStore, key: string): AsyncGenerator<Buffer> {
  const found = await store.head(key);
  if (found === null) throw bad(key, 'it is not in the store');
  for (let at = 0; at < found.lengthBytes; at += READ_BYTES) {
    yield await store.get(key, { offset: at, lengthBytes: Math.min(READ_BYTES, found.lengthBytes - at) });
  }
}

/** A source through a transform of zlib's; an error of either ends both. */
function piped(source: AsyncIterable<Buffer>, transform: Transform): AsyncIterable<Buffer> {
  return pipeline(Readable.from(source, { objectMode: false }), transform, () => undefined);
}
