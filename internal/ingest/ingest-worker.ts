import { availableParallelism } from 'node:os';
import { MessageChannel, type MessagePort, type Worker } from 'node:worker_threads';
import { assert, leaveWorker, PackhouseError, SpareWorker } from '../base/mod.ts';
import type { ChunkedBlob, ChunkPack, FoundChunks } from './chunking-options.ts';
import { PackError } from './errors.ts';
import type { ExternalBase, LargeExternalBase } from './external-base.ts';
import { KEPT_OBJECTS_MAX } from './limits.ts';
import type { VerifiedPack } from './verified-pack.ts';
import type { Finished, WorkOptions } from './work.ts';
import type { FindAnswers, FromWorker, ToWorker } from './worker.ts';

/** How many work in this process. */
let working = 0;

const spare = new SpareWorker(new URL('./worker.ts', import.meta.url), 300_000);
/** One that worked on more, on more than KEPT_OBJECTS_MAX, or on blobs that were cut gives its memory back. */
const KEPT_BYTES_MAX = 64 << 20;

/**
 * For whoever knows that a large pack may come: the threads that such a pack takes are there when it does. With the options of such packs they warm up as well, which
 * takes a second or two of the processor: for whoever has time.
 */
export function prepareWorker(packs: WorkOptions | null = null): void {
  if (working > 0) return;
  const hasHelper = availableParallelism() > 1;
  const options = packs === null ? null : { ...packs, mayHaveHelp: hasHelper };
  spare.prepare().postMessage({ kind: 'prepare', hasHelper, warmUp: options } satisfies ToWorker);
}

/** The steps after the scan, wherever the work is done. */
export interface Worked {
  nextBase(): Promise<Buffer | null>;
  addBase(base: ExternalBase): Promise<void>;
  addLargeBase(base: LargeExternalBase): Promise<void>;
  finish(): Promise<Finished>;
}

/** The worker's side of the conversation: answers in order, and the failure that ends it. */
export class IngestWorker implements Worked {
  #worker: Worker | null = null;
  readonly #answers: FromWorker[] = [];
  #wake: (() => void) | null = null;
  #answerPort: MessagePort | null = null;
  readonly #findChunks: ((sha256s: Buffer) => Promise<FoundChunks>) | null;
  failure: Error | null = null;
  scanned = false;
  /** Path of the pack as it was written again, null when it stays as it came. */
  rewritten: string | null = null;

  constructor(findChunks: ((sha256s: Buffer) => Promise<FoundChunks>) | null) {
    this.#findChunks = findChunks;
  }

  start(path: string, options: WorkOptions): void {
    if (this.#worker !== null) return;
    const { port1, port2 } = new MessageChannel();
    port1.unref();
    const bell = new Int32Array(new SharedArrayBuffer(4));
    const found: FindAnswers | null = this.#findChunks === null ? null : { port: port2, bell };
    const mayHaveHelp = options.mayHaveHelp ?? (working === 0 && availableParallelism() > 1);
    working++;
    const worker = spare.take();
    this.#worker = worker;
    this.#answerPort = port1;
    worker.on('message', (message: FromWorker) => {
      if (message.kind === 'find') {
        void this.#find(buffer(message.sha256s), port1, bell);
      } else if (message.kind === 'failed') {
        this.fail(
          message.code === 'bad-pack' ? new PackError(message.message) : new PackhouseError(message.code, message.message),
        );
      } else {
        if (message.kind === 'scanned') this.scanned = true;
        this.#answers.push(message);
        this.#wake?.();
      }
    });
    worker.on('error', (error) => this.fail(error as Error));
    worker.on('exit', () => this.fail(new PackhouseError('worker-gone', 'the worker that verified the pack ended')));
    const begin: ToWorker = { kind: 'begin', path, options: { ...options, mayHaveHelp }, found };
    worker.postMessage(begin, found === null ? [] : [port2]);
  }

  async #find(sha256s: Buffer, port: MessagePort, bell: Int32Array): Promise<void> {
    try {
      port.postMessage(await this.#findChunks!(sha256s));
      Atomics.add(bell, 0, 1);
      Atomics.notify(bell, 0);
    } catch (error) {
      // The worker sleeps until it is stopped.
      this.fail(error as Error);
    }
  }

  /** Ends the conversation: everyone who listens hears of it. */
  fail(error: Error): void {
    this.failure ??= error;
    this.#wake?.();
  }

  tell(message: ToWorker): void {
    this.#worker?.postMessage(message);
  }

  async hear<K extends FromWorker['kind']>(kind: K): Promise<Extract<FromWorker, { kind: K }>> {
    for (;;) {
      const answer = this.#answers.shift();
      if (answer !== undefined) {
        assert(answer.kind === kind, `the worker said ${answer.kind}, not ${kind}`);
        return answer as Extract<FromWorker, { kind: K }>;
      }
      if (this.failure !== null) throw this.failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }

  async nextBase(): Promise<Buffer | null> {
    this.tell({ kind: 'next-base' });
    const { oid } = await this.hear('needs');
    return oid === null ? null : buffer(oid);
  }

  async addBase(base: ExternalBase): Promise<void> {
    this.tell({ kind: 'base', oid: base.oid, objectKind: base.kind, data: base.data });
    await this.hear('base-taken');
  }

  async addLargeBase(base: LargeExternalBase): Promise<void> {
    this.tell({ kind: 'large-base', ...base });
    await this.hear('base-taken');
  }

  async finish(): Promise<Finished> {
    this.tell({ kind: 'finish' });
    const { finished, path } = await this.hear('finished');
    this.rewritten = path;
    if (finished.kind === 'again') return finished;
    const { pack, chunked, chunkPack } = finished;
    return {
      kind: 'verified',
      pack: asBuffers(pack),
      chunked: chunked.map(blobAsBuffers),
      chunkPack: chunkPackAsBuffers(chunkPack),
    };
  }

  /** Forgets all of the conversation: it may begin afresh. */
  async reset(): Promise<void> {
    if (this.#worker !== null) leaveWorker(this.#worker);
    await this.stop();
    this.#answers.length = 0;
    this.scanned = false;
  }

  /** Ends the conversation after it went well. */
  async release(pack: VerifiedPack, chunked: readonly ChunkedBlob[]): Promise<void> {
    const worker = this.#worker;
    const wasLarge = chunked.length > 0 || pack.objectCount > KEPT_OBJECTS_MAX || pack.lengthBytes > KEPT_BYTES_MAX;
    if (worker === null || this.failure !== null || wasLarge) return this.stop();
    this.tell({ kind: 'end' });
    this.#worker = null;
    working--;
    this.#answerPort?.close();
    spare.keep(worker);
  }

  async stop(): Promise<void> {
    const worker = this.#worker;
    if (worker === null) return;
    this.#worker = null;
    working--;
    this.#answerPort?.close();
    await worker.terminate();
  }
}

function buffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Buffers cross a worker boundary as plain arrays. */
function asBuffers(pack: VerifiedPack): VerifiedPack {
  return {
    ...pack,
    checksum: buffer(pack.checksum),
    oids: buffer(pack.oids),
    sources: buffer(pack.sources),
    bases: buffer(pack.bases),
    graph: pack.graph.map(buffer),
    frontier: { oids: buffer(pack.frontier.oids), kinds: pack.frontier.kinds },
    dotFiles: { gitmodules: buffer(pack.dotFiles.gitmodules), gitattributes: buffer(pack.dotFiles.gitattributes) },
  };
}

function blobAsBuffers({ oid, recipe }: ChunkedBlob): ChunkedBlob {
  return { oid: buffer(oid), recipe: { ...recipe, sha256s: buffer(recipe.sha256s) } };
}

function chunkPackAsBuffers(pack: ChunkPack | null): ChunkPack | null {
  return pack === null ? null : { ...pack, checksum: buffer(pack.checksum), idx: buffer(pack.idx) };
}
