import type { MemoryBudget } from '../base/mod.ts';
import type { Catalog } from '../catalog/mod.ts';
import type { ChunkingParameters } from '../chunking/mod.ts';
import type { PackLimits, ReceiveOptions } from '../ingest/mod.ts';
import type { Severities } from '../object/mod.ts';
import type { PackStore } from '../packstore/mod.ts';
import type { ProtocolLimits } from '../protocol/mod.ts';
import type { Repositories } from '../reach/mod.ts';
import type { TailRoom } from './tail-room.ts';

/** What a push works with; made once, by the wiring. */
export interface PushSettings {
  readonly catalog: Catalog;
  readonly store: PackStore;
  readonly repositories: Repositories;
  readonly packLimits: PackLimits;
  readonly protocolLimits: ProtocolLimits;
  readonly severities: Severities;
  /** Refuse objects whose bytes are of a SHA-1 collision attack. */
  readonly detectCollisions: boolean;
  /** A pack up to this size is kept in PostgreSQL. */
  readonly tailBytesMax: number;
  /** Whether there is room for it there. */
  readonly tail: TailRoom;
  /** A pack up to this size stays in memory while it is verified. */
  readonly memoryBytesMax: number;
  readonly spoolFolder?: string;
  /** What all larger ones may hold together; undefined: as much as they like. */
  readonly memory?: MemoryBudget;
  /** Makes room for large ones (internal/ingest). */
  readonly makeRoom?: ReceiveOptions['makeRoom'];
  /** How large blobs are cut into chunks; null: they stay entries of their pack. */
  readonly chunking: ChunkingParameters | null;
  readonly createRepository: boolean;
  readonly hiddenRefs: readonly string[];
  /** How many refs a repository may have. */
  readonly refsMax: number;
  /** Runs between the proof of a push and its commit: tests let something happen there. */
  readonly beforePublish?: () => Promise<void>;
  /** Told of what failed below a push that was answered all the same, for the log. */
  readonly onFault?: (error: unknown, requestId: string) => void;
  /** Told of each push that was answered, for the counters. */
  readonly onPush: (
    result: 'ok' | 'partial' | 'refused' | 'failed',
    objects: number,
    packBytes: number,
    tier: 'tail' | 'store' | 'none',
  ) => void;
}

/** Who pushes, and where to. */
export interface PushRequest {
  readonly owner: string;
  readonly name: string;
  readonly actor: string;
  readonly requestId: string;
  readonly signal: AbortSignal;
}

/** Where the answer goes. */
export interface AnswerSink {
  write(chunk: Uint8Array | readonly Uint8Array[]): Promise<void>;
  end(): Promise<void>;
}
