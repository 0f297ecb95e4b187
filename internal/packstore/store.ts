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
  /** Bytes wanted; the whole range must exist. */
  readonly lengthBytes: number;
  readonly signal?: AbortSignal;
}

/**
 * An object store that holds crates and their sidecars: immutable objects under keys that are never reused.
 *
 * Rules every implementation keeps (the conformance suite holds them to these):
 * - `put` is all or nothing: the object is visible, whole and durable when it resolves, and absent when it rejects (a leftover of a
 *   lost answer may remain: the caller's intent row names it, the reaper deletes it). Putting the same key twice with the same
 *   bytes is allowed, so a caller may retry. A failed multipart upload is aborted.
 * - `get` returns exactly the bytes asked for or rejects with code `store-missing` or `store-short`; it is retried inside on faults
 *   of the network.
 * - `delete` is idempotent: deleting what is absent resolves.
 * - `list` yields keys in ascending byte order and may lag behind a concurrent put or delete.
 * - Keys are `[a-z0-9][a-z0-9./-]*`, without `..`, at most 512 bytes; anything else is refused before it reaches a disk.
 * - Nothing depends on conditional requests (Ceph RGW ignores most of them).
 */
export interface PackStore {
  readonly kind: 'fs' | 's3' | 'memory' | 'faulty';
  /** Stores the bytes of `source` and resolves with how many there were. */
  put(key: string, source: Uint8Array | AsyncIterable<Uint8Array> | Readable, options?: PutOptions): Promise<number>;
  get(key: string, options: GetOptions): Promise<Buffer>;
  head(key: string): Promise<StoredObject | null>;
  delete(key: string): Promise<void>;
  list(prefix: string): AsyncIterable<StoredObject>;
  /** Rejects when the store cannot be used now: what `/readyz` asks. */
  check(): Promise<void>;
  close(): Promise<void>;
}
