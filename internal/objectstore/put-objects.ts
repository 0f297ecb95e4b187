import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createDeflate, deflateSync } from 'node:zlib';
import { PackhouseError } from '../base/mod.ts';
import {
  KIND_BLOB,
  KIND_TAG,
  KIND_TREE,
  kindName,
  kindNumber,
  MODE_FILE,
  MODE_TREE,
  type ObjectFormat,
  type ObjectKind,
  oidLength,
  zeroOid,
} from '../object/mod.ts';
import { encodeEntryHeader, encodePackHeader } from '../packformat/mod.ts';
import { encodePkt, FLUSH, PktReader } from '../pktline/mod.ts';

/** Refs of roots: no client sees or pushes them. */
export const OBJECT_REFS = 'refs/packhouse/objects/';

/** An object to be stored. Of a stream the size must be known; it is held in a temporary file until the put is over. */
export interface ObjectToPut {
  readonly kind: ObjectKind;
  readonly data: Buffer | { readonly sizeBytes: number; readonly chunks: AsyncIterable<Buffer> };
}

export interface PutResult {
  /** Raw oids in the order of the objects. */
  readonly oids: readonly Buffer[];
  /** Names of the refs that keep them: `release` takes these. */
  readonly roots: readonly string[];
}

interface Entry {
  readonly kind: number;
  readonly oid: Buffer;
  readonly sizeBytes: number;
  /** Bytes, or the file that has them. */
  readonly source: Buffer | string;
}

/** A batch that is ready to be pushed, and its temporary files until `dispose`. */
export interface Batch extends PutResult {
  /** The body of a request to git-receive-pack that creates these roots. */
  request(roots: readonly string[]): AsyncGenerator<Buffer>;
  dispose(): Promise<void>;
}

/** Names the objects and makes their root. @throws PackhouseError `object-size` when a stream is not as long as it said */
export async function makeBatch(objects: readonly ObjectToPut[], format: ObjectFormat, spoolParent = tmpdir()): Promise<Batch> {
  const spool = new Spool(spoolParent);
  try {
    const entries = new Map<string, Entry>();
    const oids: Buffer[] = [];
    for (const object of objects) {
      const entry = await toEntry(object, format, spool);
      entries.set(entry.oid.toString('hex'), entry);
      oids.push(entry.oid);
    }
    const roots = [...addRoots(entries, format)];
    return {
      oids,
      roots: roots.map((hex) => OBJECT_REFS + hex),
      request: (names) => requestOf(names, [...entries.values()], format),
      dispose: () => spool.dispose(),
    };
  } catch (error) {
    await spool.dispose();
    throw error;
  }
}

/** Temporary files of one batch. */
class Spool {
  readonly #parent: string;
  #folder: string | null = null;
  #files = 0;

  constructor(parent: string) {
    this.#parent = parent;
  }

  async path(): Promise<string> {
    this.#folder ??= await mkdtemp(join(this.#parent, `packhouse-spool-${process.pid}-`));
    return join(this.#folder, `object-${this.#files++}`);
  }

  async dispose(): Promise<void> {
    if (this.#folder !== null) await rm(this.#folder, { recursive: true, force: true });
  }
}

function nameOf(kind: ObjectKind, data: Buffer, format: ObjectFormat): Buffer {
  return createHash(format).update(`${kind} ${data.length}\0`).update(data).digest();
}

async function toEntry({ kind, data }: ObjectToPut, format: ObjectFormat, spool: Spool): Promise<Entry> {
  if (Buffer.isBuffer(data)) {
    return { kind: kindNumber(kind), oid: nameOf(kind, data, format), sizeBytes: data.length, source: data };
  }
  const { sizeBytes, chunks } = data;
  const hash = createHash(format).update(`${kind} ${sizeBytes}\0`);
  const path = await spool.path();
  let got = 0;
  async function* hashed(): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      got += chunk.length;
      if (got > sizeBytes) throw wrongSize(got, sizeBytes);
      hash.update(chunk);
      yield chunk;
    }
  }
  await pipeline(Readable.from(hashed(), { objectMode: true, highWaterMark: 2 }), createWriteStream(path, { mode: 0o600 }));
  if (got !== sizeBytes) throw wrongSize(got, sizeBytes);
  return { kind: kindNumber(kind), oid: hash.digest(), sizeBytes, source: path };
}

function wrongSize(got: number, sizeBytes: number): PackhouseError {
  return new PackhouseError('object-size', `a stream of ${got} bytes or more was to have ${sizeBytes}`, { got, sizeBytes });
}

/** Adds the objects that the batch hangs on; oids in hex of the refs to be made. */
function* addRoots(entries: Map<string, Entry>, format: ObjectFormat): Generator<string> {
  const lines: Buffer[] = [];
  // Names of one length that do not begin each other: files and folders sort alike.
  for (const [hex, { kind, oid }] of [...entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (kind !== KIND_BLOB && kind !== KIND_TREE) yield hex;
    else lines.push(Buffer.from(`${(kind === KIND_TREE ? MODE_TREE : MODE_FILE).toString(8)} ${hex}\0`), oid);
  }
  if (lines.length === 0) return;
  const add = (kind: number, data: Buffer): Buffer => {
    const oid = nameOf(kindName(kind), data, format);
    entries.set(oid.toString('hex'), { kind, oid, sizeBytes: data.length, source: data });
    return oid;
  };
  const tree = add(KIND_TREE, Buffer.concat(lines)).toString('hex');
  const tagger = 'tagger Packhouse <packhouse@localhost> 0 +0000';
  yield add(KIND_TAG, Buffer.from(`object ${tree}\ntype tree\ntag packhouse/objects\n${tagger}\n\n`)).toString('hex');
}

async function* requestOf(roots: readonly string[], entries: readonly Entry[], format: ObjectFormat): AsyncGenerator<Buffer> {
  for (const [i, name] of roots.entries()) {
    const oid = name.slice(name.lastIndexOf('/') + 1);
    yield encodePkt(`${zeroOid(format)} ${oid} ${name}${i === 0 ? `\0report-status atomic object-format=${format}` : ''}`);
  }
  yield FLUSH;
  const hash = createHash(format);
  for await (const piece of packBody(entries)) {
    hash.update(piece);
    yield piece;
  }
  yield hash.digest();
}

async function* packBody(entries: readonly Entry[]): AsyncGenerator<Buffer> {
  yield encodePackHeader(entries.length);
  for (const { kind, sizeBytes, source } of entries) {
    yield encodeEntryHeader(kind, sizeBytes);
    if (Buffer.isBuffer(source)) yield deflateSync(source);
    else yield* createReadStream(source, { highWaterMark: 1 << 20 }).pipe(createDeflate()) as AsyncIterable<Buffer>;
  }
}

/** What receive-pack's report refuses, null when nothing. */
export function refusalIn(report: Buffer): string | null {
  const reader = new PktReader(report);
  const refused: string[] = [];
  let lines = 0;
  for (let packet = reader.next(); packet !== null; packet = reader.next()) {
    if (packet.kind !== 'data') continue;
    lines++;
    const line = packet.data.toString('latin1').trimEnd();
    if (!/^(ok |unpack ok$)/.test(line)) refused.push(line);
  }
  if (lines === 0) return 'no report';
  return refused.length === 0 ? null : refused.join('; ');
}

/** The request that deletes roots. */
export async function* releaseRequest(
  roots: readonly { readonly name: string; readonly oid: Buffer }[],
  format: ObjectFormat,
): AsyncGenerator<Buffer> {
  for (const [i, { name, oid }] of roots.entries()) {
    const capabilities = `\0report-status delete-refs object-format=${format}`;
    yield encodePkt(`${oid.toString('hex')} ${'0'.repeat(oidLength(format) * 2)} ${name}${i === 0 ? capabilities : ''}`);
  }
  yield FLUSH;
}
