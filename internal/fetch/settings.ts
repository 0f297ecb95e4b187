import type { Catalog } from '../catalog/mod.ts';
import type { ByteCache } from '../packread/mod.ts';
import type { ProtocolLimits } from '../protocol/mod.ts';
import type { Repositories } from '../reach/mod.ts';
import type { AnswerCache } from './answers.ts';
import type { PackUris } from './pack-uris.ts';
import type { SendRoom } from './send-room.ts';

/** What a fetch works with; made once, by the wiring. */
export interface FetchSettings {
  readonly catalog: Catalog;
  readonly repositories: Repositories;
  readonly protocolLimits: ProtocolLimits;
  readonly agent: string;
  /** Bytes of one decoded request. */
  readonly requestBytesMax: number;
  /** Serve wants by oid of what refs named before, for this long; 0 never. */
  readonly logRetentionSeconds: number;
  /** The longest that an answer may take. */
  readonly durationMsMax: number;
  /** An answer of fewer commits is found by comparing trees, not by bitmaps. */
  readonly bitmapCommitsMin: number;
  /** Null: every pack comes in the answer. */
  readonly packUris: PackUris | null;
  /** What all answers hold together. */
  readonly room: SendRoom;
  readonly hiddenRefs: readonly string[];
  readonly answers: AnswerCache;
  /** Entries that were made for answers, by pool and oid. */
  readonly expanded: ByteCache;
  /** Told of each answer, for the counters. */
  readonly onFetch: (
    kind: 'ls-refs' | 'negotiation' | 'clone' | 'fetch' | 'object-info',
    objects: number,
    packBytes: number,
  ) => void;
}

/** Where the answer goes. */
export interface AnswerSink {
  /** Resolves when the chunks are looked at no more: their memory may be used again. */
  write(chunk: Uint8Array | readonly Uint8Array[]): Promise<void>;
  end(): Promise<void>;
  /** False: nothing has left yet, so an error may still become a status. */
  readonly started?: boolean;
}
