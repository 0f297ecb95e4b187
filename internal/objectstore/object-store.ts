import { createInflate } from 'node:zlib';
import { PackhouseError } from '../base/mod.ts';
import { kindName, type ObjectKind } from '../object/mod.ts';
import { ENTRY_HEADER_BYTES_MAX, emptyEntryHeader, readEntryHeader } from '../packformat/mod.ts';
import { isChunked, type Location } from '../packread/mod.ts';
import type { PoolView, Repositories, RepositoryView } from '../reach/mod.ts';
import { makeBatch, OBJECT_REFS, type ObjectToPut, type PutResult, refusalIn, releaseRequest } from './put-objects.ts';

/** Whose pool is asked, and who keeps what is put. */
export interface Scope {
  readonly owner: string;
  readonly name: string;
}

export interface StoredObject {
  readonly kind: ObjectKind;
  readonly data: Buffer;
}

/** An object whose bytes are read as they are asked for. */
export interface ObjectStream {
  readonly kind: ObjectKind;
  readonly sizeBytes: number;
  readonly chunks: AsyncIterable<Buffer>;
}

export interface ObjectStoreParts {
  readonly repositories: Repositories;
  /** Takes the body of a request to git-receive-pack of the scope, for which `refs/packhouse` is not hidden; the report, without a sideband. */
  readonly push: (scope: Scope, body: AsyncIterable<Buffer>) => Promise<Buffer>;
  readonly spoolFolder?: string;
}

/** Entries above this size are inflated as they are read. */
const STREAMED_BYTES_MIN = 4 << 20;
const PIECE_BYTES = 4 << 20;

/**
 * The object API (see mod.ts). Each call sees everything that was acknowledged before it, whichever process took it, at the cost of one
 * statement; a batch is one call.
 * @throws PackhouseError `repository-not-found` from every method
 */
export class ObjectStore {
  readonly #parts: ObjectStoreParts;

  constructor(parts: ObjectStoreParts) {
    this.#parts = parts;
  }

  /** Stores one object. @throws as `putMany` */
  async put(scope: Scope, object: ObjectToPut): Promise<Buffer> {
    return (await this.putMany(scope, [object])).oids[0]!;
  }

  /**
   * Stores a batch, whole or not at all; it is durable and seen by everyone when this returns. Putting the same batch again changes nothing.
   * Many small objects belong in one batch: each has a ref, a pack and a transaction.
   * @throws PackhouseError `put-refused` with the reason: a malformed object, a link to something that the repository does not reach
   */
  async putMany(scope: Scope, objects: readonly ObjectToPut[]): Promise<PutResult> {
    const view = await this.#open(scope);
    if (objects.length === 0) return { oids: [], roots: [] };
    const batch = await makeBatch(objects, view.format, this.#parts.spoolFolder);
    try {
      const { oids, roots } = batch;
      const absent = roots.filter((name) => !view.refs.has(name));
      if (absent.length > 0) {
        const refusal = refusalIn(await this.#parts.push(scope, batch.request(absent)));
        if (refusal !== null && !(await this.#hasAll(scope, roots))) throw new PackhouseError('put-refused', refusal);
      }
      return { oids, roots };
    } finally {
      await batch.dispose();
    }
  }

  /** Another process may have put the same batch meanwhile. */
  async #hasAll(scope: Scope, roots: readonly string[]): Promise<boolean> {
    const view = await this.#open(scope);
    return roots.every((name) => view.refs.has(name));
  }

  /** Lets go of batches: what nothing else reaches is swept in time. Roots that are not there are passed over. */
  async release(scope: Scope, roots: readonly string[]): Promise<void> {
    const view = await this.#open(scope);
    const there = roots.flatMap((name) => (name.startsWith(OBJECT_REFS) ? (view.refs.get(name) ?? []) : []));
    if (there.length === 0) return;
    const refusal = refusalIn(await this.#parts.push(scope, releaseRequest(there, view.format)));
    if (refusal !== null) throw new PackhouseError('put-refused', refusal);
  }

  /** For each raw oid, one after the other, 1 or 0. One call for as many as one likes: answered from the index, no object is read. */
  async exists(scope: Scope, oids: Buffer): Promise<Uint8Array> {
    return (await this.#open(scope)).pool.index.has(oids);
  }

  /** Kind and size of each raw oid, null where there is none. */
  async stat(scope: Scope, oids: Buffer): Promise<({ readonly kind: ObjectKind; readonly sizeBytes: number } | null)[]> {
    const locations = await (await this.#open(scope)).pool.index.find(oids);
    return locations.map((location) => location && { kind: kindName(location.kind), sizeBytes: location.sizeBytes });
  }

  /** An object whole, null when there is none. @throws PackhouseError `object-too-large` for one that must be streamed */
  async get(scope: Scope, oid: Buffer, signal?: AbortSignal): Promise<StoredObject | null> {
    const object = await (await this.#open(scope)).pool.read(oid, signal);
    return object && { kind: kindName(object.kind), data: object.data };
  }

  /** An object in pieces. Chunked blobs and large entries that are no deltas are read as the pieces are taken. */
  async getStream(scope: Scope, oid: Buffer, signal?: AbortSignal): Promise<ObjectStream | null> {
    return this.getRange(scope, oid, 0, Number.POSITIVE_INFINITY, signal);
  }

  /**
   * The bytes [`from`, `to`) of an object, as far as it goes; `sizeBytes` is the whole object's. Of a chunked blob only the chunks are read
   * that these bytes lie in; anything else is read up to them.
   */
  async getRange(scope: Scope, oid: Buffer, from: number, to: number, signal?: AbortSignal): Promise<ObjectStream | null> {
    const { pool } = await this.#open(scope);
    const [location] = await pool.index.find(oid);
    if (!location) return null;
    const { sizeBytes } = location;
    const chunks = rangeOf(pool, location, Math.max(0, from), Math.min(to, sizeBytes), signal);
    return { kind: kindName(location.kind), sizeBytes, chunks };
  }

  async #open({ owner, name }: Scope): Promise<RepositoryView> {
    const view = await this.#parts.repositories.open(owner, name);
    if (view === null) throw new PackhouseError('repository-not-found', `no repository ${owner}/${name}`);
    return view;
  }
}

async function* rangeOf(
  pool: PoolView,
  location: Location,
  from: number,
  to: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  if (from >= to) return;
  if (isChunked(location)) {
    const { chunked } = pool.reader;
    yield* chunked.range(await chunked.recipe(location), from, to, signal);
    return;
  }
  const body = location.sizeBytes < STREAMED_BYTES_MIN ? null : await streamAt(pool, location, signal);
  if (body === null) {
    yield (await pool.reader.read(location, signal)).data.subarray(from, to);
    return;
  }
  let at = 0;
  for await (const piece of body) {
    const part = piece.subarray(Math.max(0, from - at), Math.max(0, to - at));
    if (part.length > 0) yield part;
    at += piece.length;
    if (at >= to) return;
  }
}

/** The bytes of an entry that is no delta; null for a delta. */
async function streamAt(
  pool: PoolView,
  location: Location,
  signal: AbortSignal | undefined,
): Promise<AsyncIterable<Buffer> | null> {
  const { pack, offset, lengthBytes } = location;
  const header = emptyEntryHeader();
  const head = await pool.bytes.read(pool.poolId, pack, offset, Math.min(lengthBytes, ENTRY_HEADER_BYTES_MAX), signal);
  if (!readEntryHeader(head, 0, head.length, pool.graph.oidBytes, header) || header.type > 4) return null;
  const inflate = createInflate();
  const first = offset + header.headerBytes;
  const end = offset + lengthBytes;
  async function feed(): Promise<void> {
    for (let at = first; at < end; at += PIECE_BYTES) {
      const bytes = await pool.bytes.read(pool.poolId, pack, at, Math.min(PIECE_BYTES, end - at), signal);
      if (inflate.destroyed) return;
      if (!inflate.write(bytes)) await new Promise<void>((resolve) => inflate.once('drain', resolve).once('close', resolve));
    }
    inflate.end();
  }
  feed().catch((error: Error) => inflate.destroy(error));
  return inflate as AsyncIterable<Buffer>;
}
