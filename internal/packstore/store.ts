import type { Readable } from 'node:stream';

/** What `list` and `head` tell of one object. */
export interface StoredObject {
  readonly key: string;
  readonly lengthBytes: number;
  readonly modifiedAt: Date;
}

export interface PutOptions {
  readonly signal?: AbortSignal;
}

export interface GetOptions {
  /** First byte wanted. */
  readonly offset: number;
  /** Bytes wanted; the whole range must exist. At most `RANGE_BYTES_MAX`. */
  readonly lengthBytes: number;
  readonly signal?: AbortSignal;
  /**
   * Set when the bytes go on to clients and are not kept for longer than moments, so that a damaged one harms the answers of that moment only,
   * which the clients refuse. They may be put into memory from here, any part of it; of several tries each asks for its own.
   */
  readonly passedOn?: Allocate;
}

/** Memory of so many bytes, with whatever in it. */
export type Allocate = (lengthBytes: number) => Buffer;

/** What a put accepts. A chunk stays as it is until the next one is asked for; then its memory may be used again. */
export type PutSource = Uint8Array | AsyncIterable<Uint8Array> | Readable;

/** The longest range of one `get`: it is answered in one buffer. */
export const RANGE_BYTES_MAX = 2 ** 30;

/**
 * An object store that holds crates and their sidecars: immutable objects under keys that are never reused.
 *
 * Rules every implementation keeps (the conformance suite holds them to these):
 * - `put` is all or nothing: the object is visible, whole and durable when it resolves, and absent when it rejects (a leftover of a
 *   lost answer may remain: the caller's intent row names it, the reaper deletes it). Putting the same key twice with the same
 *   bytes is allowed, so a caller may retry. A failed multipart upload is aborted. A source whose reading has begun is read to its end or
 *   closed.
 * - `get` returns exactly the bytes asked for or rejects with code `store-missing` or `store-short`; it is retried inside on faults
 *   of the network. The buffer is the caller's own: it fills its ArrayBuffer (unless `passedOn`), so it may be transferred to a worker.
 * - `head` and `get` call an object missing only when the store itself is there: a vanished root or bucket is an error, because
 *   maintenance must be able to believe "missing".
 * - `delete` is idempotent: deleting what is absent resolves.
 * - `list` yields keys in ascending byte order and may lag behind a concurrent put or delete. Objects whose names are no
 *   keys of ours are passed over.
 * - Keys: segments `[a-z0-9][a-z0-9.-]*` of at most 200 bytes joined by `/`, without `..`, at most 512 bytes; anything else is
 *   refused with `store-bad-key` before it reaches a disk. No key is a folder of another.
 * - Nothing depends on conditional requests (Ceph RGW ignores most of them).
 * - An aborted operation rejects with its signal's reason. Every other failure is a PackhouseError: `store-missing`, `store-short`,
 *   `store-bad-key`, `store-bad-range`, `store-bad-source`, `store-too-large`, `store-unavailable` (tries are used up, or the
 *   disk failed: it may work later), `store-refused` (the store answered no: trying again will not help),
 *   `store-damaged` (what is read is not what was put: only with checksums), or an error of the put's own source, passed through as it is.
 */
export interface PackStore {
  readonly kind: 'fs' | 's3' | 'memory' | 'faulty';
  /** Stores the bytes of `source` and resolves with how many there were. */
  put(key: string, source: PutSource, options?: PutOptions): Promise<number>;
  get(key: string, options: GetOptions): Promise<Buffer>;
  head(key: string): Promise<StoredObject | null>;
  /**
   * A URL by which whoever has it reads the whole object until `lifeSeconds` are over, without asking us; undefined where the store has no such
   * thing. Says nothing about whether the object is there.
   */
  readonly presignGet?: ((key: string, lifeSeconds: number) => Promise<string>) | undefined;
  delete(key: string): Promise<void>;
  /** The objects whose keys start with `prefix` (any beginning of a key, or empty). */
  list(prefix: string): AsyncIterable<StoredObject>;
  /**
   * Removes what unfinished puts of dead processes left behind (temporary files, open multipart uploads; no key shows them), if they
   * were last touched more than `olderThanSeconds` ago, by the store's clock. Resolves with how many there were.
   */
  removeUnfinished(olderThanSeconds: number): Promise<number>;
  /** Rejects when the store cannot be used now: what `/readyz` asks. */
  check(): Promise<void>;
  close(): Promise<void>;
}
