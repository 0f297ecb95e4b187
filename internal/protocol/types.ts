import type { ObjectFormat, ObjectKind } from '../object/mod.ts';

/**
 * Values of git's wire protocol. Oids are lower-case hex; ref names and other raw lines are binary strings, one char a byte.
 */

/** Bounds of one request; every parser takes them from its caller. */
export interface ProtocolLimits {
  /** Ref updates of one push. */
  readonly commandsMax: number;
  /** Bytes of the command section of a push, push options included. */
  readonly commandBytesMax: number;
  readonly refNameBytesMax: number;
  readonly pushOptionsMax: number;
  readonly wantsMax: number;
  readonly havesMax: number;
  readonly shallowsMax: number;
  /** `ref-prefix` lines of ls-refs; above it they are all ignored, as git does at 65536. */
  readonly refPrefixesMax: number;
  /** `oid` lines of object-info. */
  readonly objectInfosMax: number;
  readonly serverOptionsMax: number;
  readonly deepenNotMax: number;
  readonly filterBytesMax: number;
  /** `combine:` within `combine:`. */
  readonly filterDepthMax: number;
}

/** One ref update of a push: zero oids stand for "does not exist". */
export interface RefCommand {
  readonly old: string;
  readonly new: string;
  readonly ref: string;
}

/** What a client asks of receive-pack before the pack begins (gitprotocol-pack, "Reference Update Request and Packfile Transfer"). */
export interface ReceiveRequest {
  /** In the order sent; empty for the probe that git sends before a large push. */
  readonly commands: readonly RefCommand[];
  /** The client's shallow commits. */
  readonly shallow: readonly string[];
  /** The format every oid of the request is in: the repository's, or the client's choice where there is no repository yet. */
  readonly format: ObjectFormat;
  readonly reportStatus: 0 | 1 | 2;
  readonly sideband: boolean;
  readonly quiet: boolean;
  readonly atomic: boolean;
  readonly pushOptions: readonly string[];
  readonly agent: string | null;
  readonly sessionId: string | null;
  /** Whether a pack follows: some command sets a ref. */
  readonly expectsPack: boolean;
}

export interface ReportRef {
  readonly ref: string;
  /** Null: the update was made. Else one line that says why not. */
  readonly error: string | null;
  /** report-status-v2 only: what was really done, where it differs from the command. */
  readonly options?: {
    readonly refname?: string;
    readonly oldOid?: string;
    readonly newOid?: string;
    readonly forcedUpdate?: boolean;
  };
}

export interface PushReport {
  /** 'ok', or one line that says why the pack was refused. */
  readonly unpack: string;
  readonly refs: readonly ReportRef[];
}

export interface AdvertisedRef {
  readonly name: string;
  readonly oid: string;
  /** What a tag peels to, else null. */
  readonly peeled: string | null;
}

export interface AdvertisedHead {
  /** The ref that HEAD names. */
  readonly target: string;
  /** Null while that ref does not exist. */
  readonly oid: string | null;
}

/** How a client wants its history cut. */
export interface DeepenRequest {
  /** 0: not asked for. INFINITE_DEPTH: the whole history. */
  readonly depth: number;
  /** Count `depth` from the client's present boundary. */
  readonly relative: boolean;
  /** Seconds since 1970, or null. */
  readonly since: number | null;
  /** Names of refs whose history is left out, as sent: possibly abbreviated. */
  readonly not: readonly string[];
}

/** Git's number for "no limit of depth". */
export const INFINITE_DEPTH = 0x7fffffff;

export type FilterSpec =
  | { readonly kind: 'blob:none' }
  | { readonly kind: 'blob:limit'; readonly limitBytes: number }
  | { readonly kind: 'tree'; readonly depth: number }
  | { readonly kind: 'object:type'; readonly type: ObjectKind }
  /** `blob` is an oid or an expression such as `main:path`. */
  | { readonly kind: 'sparse:oid'; readonly blob: string }
  /** What passes every one of `filters`. */
  | { readonly kind: 'combine'; readonly filters: readonly FilterSpec[] };

/** What fetch requests of all protocol versions share. */
export interface FetchCommon {
  /** Without duplicates, in the order sent. */
  readonly wants: readonly string[];
  /** As sent. */
  readonly haves: readonly string[];
  readonly shallow: readonly string[];
  readonly deepen: DeepenRequest;
  readonly filter: FilterSpec | null;
  readonly thinPack: boolean;
  readonly ofsDelta: boolean;
  readonly noProgress: boolean;
  readonly includeTag: boolean;
}

/** One POST to git-upload-pack in protocol v0 or v1. */
export interface V0Request extends FetchCommon {
  readonly multiAck: 'none' | 'multi_ack' | 'multi_ack_detailed';
  /** Longest sideband payload, 0 for a bare pack. */
  readonly sidebandPayloadBytes: number;
  readonly noDone: boolean;
  readonly agent: string | null;
  readonly sessionId: string | null;
  /**
   * How the body ends: `done` asks for the pack; `flush` for a round of acknowledgements; `none` came after the wants alone, from a client
   * that first wants the shallow list.
   */
  readonly end: 'done' | 'flush' | 'none';
}

export interface V2Capabilities {
  readonly agent: string | null;
  readonly sessionId: string | null;
  readonly serverOptions: readonly string[];
}

export interface V2LsRefsRequest extends V2Capabilities {
  readonly command: 'ls-refs';
  readonly peel: boolean;
  readonly symrefs: boolean;
  readonly unborn: boolean;
  /** Empty: all refs. */
  readonly refPrefixes: readonly string[];
}

export interface V2FetchRequest extends V2Capabilities, FetchCommon {
  readonly command: 'fetch';
  readonly wantRefs: readonly string[];
  readonly done: boolean;
  readonly waitForDone: boolean;
  readonly sidebandAll: boolean;
  /** Protocols by which the client gets packs itself; empty: none. */
  readonly packfileUris: readonly string[];
}

export interface V2ObjectInfoRequest extends V2Capabilities {
  readonly command: 'object-info';
  readonly size: boolean;
  readonly oids: readonly string[];
}

/** An empty body or a lone flush: the client ends the conversation, the answer is empty. */
export interface V2NoRequest {
  readonly command: 'none';
}

export type V2Request = V2LsRefsRequest | V2FetchRequest | V2ObjectInfoRequest | V2NoRequest;
