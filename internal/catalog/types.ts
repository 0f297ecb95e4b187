import type { ObjectFormat } from '../object/mod.ts';
import type { ChunkedBlob } from './chunk-catalog.ts';

/** A repository as people manage it. */
export interface Repository {
  readonly id: number;
  readonly poolId: number;
  readonly owner: string;
  readonly name: string;
  readonly format: ObjectFormat;
  /** The branch that HEAD names, as a binary string; null while HEAD follows the first branch. */
  readonly head: string | null;
  readonly private: boolean;
  readonly createdAt: Date;
}

/** One ref: its name as a binary string (one character a byte), raw oids. */
export interface Ref {
  readonly name: string;
  readonly oid: Buffer;
  /** What an annotated tag finally names, else null. */
  readonly peeled: Buffer | null;
  /** Number of the push that created it: the oldest branch is the smallest. */
  readonly createdPush: number;
}

/** What one statement tells of a repository, in one snapshot. */
export interface RepositoryState {
  readonly id: number;
  readonly poolId: number;
  readonly format: ObjectFormat;
  readonly head: string | null;
  readonly private: boolean;
  /** PostgreSQL's snapshot: given back at the next request, it makes that one an increment. */
  readonly snapshot: string;
  /** `full`: all refs. Else the refs that have changed; one with `oid` null is gone. */
  readonly full: boolean;
  readonly refs: readonly (Ref | { readonly name: string; readonly oid: null })[];
  /** Packs that have become visible since, and packs whose place others have taken; empty when `full`. */
  readonly newPacks: readonly number[];
  readonly removedPacks: readonly number[];
  /** Moves when something of the pool was condemned: what was proven before must be proven again. */
  readonly sweepEpoch: number;
}

/** What is known of a stored pack, wherever it is. */
export interface PackRecord {
  readonly lengthBytes: number;
  /** With chunked blobs, which are no entries of the stored pack. */
  readonly objectCount: number;
  /** The stored pack's trailer. */
  readonly checksum: Buffer;
  /** Every object is reached from `tips`. */
  readonly allReached: boolean;
  /** Links to trees and blobs outside the pack, and delta bases outside, are reached from parents of its commits. */
  readonly based: boolean;
  /** It may hold objects that other packs of its pool hold too. */
  readonly hasDuplicates: boolean;
  /** Raw oids of commits and tags of the pack, one after the other. */
  readonly tips: Buffer;
}

/** One pack that readers use: live, or superseded a short while ago. */
export interface Pack extends PackRecord {
  readonly id: number;
  readonly tier: 'tail' | 'store';
  /** Of a store pack: the bucket object that holds it, from extentOffset on. */
  readonly crateKey: string | null;
  readonly extentOffset: number;
  readonly chunkedCount: number;
  /** Deltas have been searched among all its objects. */
  readonly searched: boolean;
}

/** A pack as far as reading its index goes. */
export type IndexedPack = Pick<Pack, 'id' | 'objectCount'>;

/** About a thousand objects of one pack, ascending by oid, as parallel arrays. */
export interface ObjectBlock {
  readonly oids: Buffer;
  readonly kinds: Uint8Array;
  readonly sizes: Float64Array;
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
}

/** One ref command to publish. A null `oldOid` is the zero oid; with a null `newOid` too it deletes whatever is there. */
export interface RefCommand {
  readonly name: string;
  readonly oldOid: Buffer | null;
  readonly newOid: Buffer | null;
  readonly peeled: Buffer | null;
}

export type RefStatus = 'ok' | 'stale' | 'exists' | 'conflict';

/** A verified pack to publish with a push. */
export interface NewPack extends PackRecord {
  readonly id: number;
  readonly place:
    | { readonly kind: 'tail'; readonly bytes: Buffer }
    | { readonly kind: 'store'; readonly lease: string; readonly crateKey: string };
  readonly chunkedCount: number;
  /** The pack of its new chunks: an intent under the same lease. */
  readonly chunkPackId: number | null;
  /** Recipes of its chunked blobs; chunks of pack 0 are in the pack of new chunks. None when undefined. */
  readonly chunked?: readonly ChunkedBlob[];
  readonly blocks: readonly ObjectBlock[];
  readonly graph: readonly Buffer[];
}

export interface Push {
  readonly repositoryId: number;
  readonly poolId: number;
  readonly atomic: boolean;
  readonly commands: readonly RefCommand[];
  /** A branch that HEAD is to name for good, when it names none yet. */
  readonly head: string | null;
  readonly actor: string;
  readonly requestId: string;
  readonly options: readonly string[];
  readonly pack: NewPack | null;
  /** The pool's epoch when the push's proofs were made; null: they rest on nothing that could be condemned. */
  readonly sweepEpoch: number | null;
}
