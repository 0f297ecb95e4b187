import { createWriteStream } from 'node:fs';
import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { assert, PackhouseError } from '../base/mod.ts';
import { type ObjectFormat, oidLength } from '../object/mod.ts';
import type { CheckSeverities } from './check.ts';
import { PackError } from './errors.ts';
import type { PackPlace } from './incoming-reader.ts';
import type { PackLimits } from './limits.ts';
import type { ExternalBase } from './resolve.ts';
import { type AppendedEntry, encodeBase } from './thin-bases.ts';
import type { VerifiedPack } from './verified-pack.ts';
import { PackWork, type WorkOptions } from './work.ts';
import type { FromWorker, ToWorker } from './worker.ts';

export interface ReceiveOptions {
  readonly format: ObjectFormat;
  readonly limits: PackLimits;
  readonly severities: CheckSeverities;
  /** A pack up to this size is held and worked on in memory; a longer one goes to a spool file and a worker. */
  readonly memoryBytesMax: number;
  /** Where spool files go; the system's folder for temporary files when undefined. */
  readonly spoolFolder?: string;
  /** An object outside the pack that one of its deltas is based on, null when there is none. */
  readonly readBase: (oid: Buffer) => Promise<ExternalBase | null>;
  readonly signal?: AbortSignal;
}

/** A pack that was received and verified, and where its bytes are until `dispose`. */
export interface ReceivedPack {
  readonly pack: VerifiedPack;
  readonly place: PackPlace;
  /** The pack's trees, when it was small enough to keep them. */
  readonly trees: ReadonlyMap<string, Buffer> | null;
  /** Of a thin pack: its outside bases as entries, and their bytes. */
  readonly bases: readonly AppendedEntry[];
  readonly basesPlace: PackPlace;
  dispose(): Promise<void>;
}

/**
 * Receives one pack from the rest of a request body: reads it to its end, verifies every object. What follows the pack is not read.
 * @throws PackError, or what the body throws
 */
export async function receivePack(body: AsyncIterator<Buffer>, first: Buffer, options: ReceiveOptions): Promise<ReceivedPack> {
  const held: Buffer[] = [first];
  let heldBytes = first.length;
  while (heldBytes <= options.memoryBytesMax) {
    const { value, done } = await body.next();
    if (done) return receiveInMemory(Buffer.concat(held), options);
    held.push(value);
    heldBytes += value.length;
  }
  return receiveInSpool(body, held, options);
}

function unresolved(count: number): PackError {
  return new PackError(`pack has ${count} unresolved deltas`, { unresolved: count });
}

/** Asks for each base in turn and hands it on: one is in memory at a time. */
async function feedBases(
  oids: Buffer,
  options: ReceiveOptions,
  give: (base: ExternalBase) => Promise<void> | void,
): Promise<void> {
  const width = oidLength(options.format);
  for (let at = 0; at < oids.length; at += width) {
    const base = await options.readBase(Buffer.from(oids.subarray(at, at + width)));
    if (base === null) throw unresolved(oids.length / width);
    await give(base);
  }
}

async function receiveInMemory(bytes: Buffer, options: ReceiveOptions): Promise<ReceivedPack> {
  const work = new PackWork({ bytes }, workOptions(options));
  work.advance(bytes.length, true);
  const bases: AppendedEntry[] = [];
  const parts: Buffer[] = [];
  const pieces = new Map<string, ExternalBase>();
  await feedBases(work.resolve(), options, (base) => {
    work.addBase(base);
    const { entry, bytes: entryBytes } = encodeBase(base);
    bases.push(entry);
    parts.push(entryBytes);
    pieces.set(base.oid.toString('hex'), base);
  });
  let pack = work.finish();
  let kept = bytes;
  const rewritten = work.dropDuplicates();
  if (rewritten !== null) {
    kept = rewritten as Buffer;
    const missing = work.resolve();
    const width = oidLength(options.format);
    for (let at = 0; at < missing.length; at += width) work.addBase(pieces.get(missing.toString('hex', at, at + width))!);
    pack = work.finish();
  }
  return {
    pack,
    place: { kind: 'memory', bytes: kept.subarray(0, pack.lengthBytes) },
    trees: work.trees,
    bases,
    basesPlace: { kind: 'memory', bytes: Buffer.concat(parts) },
    dispose: async () => work.close(),
  };
}

function workOptions(options: ReceiveOptions): WorkOptions {
  return { format: options.format, limits: options.limits, severities: options.severities };
}

async function receiveInSpool(body: AsyncIterator<Buffer>, held: readonly Buffer[], options: ReceiveOptions): Promise<ReceivedPack> {
  const folder = await mkdtemp(join(options.spoolFolder ?? tmpdir(), 'packhouse-push-'));
  const path = join(folder, 'pack');
  const worker = new IngestWorker();
  const dispose = async (): Promise<void> => {
    await worker.stop();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await spool(body, held, path, worker, options);
    const basesPath = join(folder, 'bases');
    const bases: AppendedEntry[] = [];
    const give = async (base: ExternalBase, append: boolean): Promise<void> => {
      if (append) {
        const { entry, bytes } = encodeBase(base);
        bases.push(entry);
        await appendFile(basesPath, bytes);
      }
      worker.tell({ kind: 'base', oid: base.oid, objectKind: base.kind, data: base.data });
      await worker.hear('base-taken');
    };
    await feedBases(Buffer.from((await worker.hear('bases')).oids), options, (base) => give(base, true));
    let pack = await worker.finish();
    worker.tell({ kind: 'drop-duplicates' });
    const rewritten = (await worker.hear('rewritten')).path;
    if (rewritten !== null) {
      await feedBases(Buffer.from((await worker.hear('bases')).oids), options, (base) => give(base, false));
      pack = await worker.finish();
    }
    await worker.stop();
    return {
      pack,
      place: { kind: 'spool', path: rewritten ?? path },
      trees: null,
      bases,
      basesPlace: { kind: 'spool', path: basesPath },
      dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Writes the body to the spool file while the worker reads what is there. Ends once the worker has seen the whole pack. */
async function spool(
  body: AsyncIterator<Buffer>,
  held: readonly Buffer[],
  path: string,
  worker: IngestWorker,
  options: ReceiveOptions,
): Promise<void> {
  const file = createWriteStream(path, { mode: 0o600, highWaterMark: 4 << 20 });
  let written = 0;
  let told = 0;
  const failure = new Promise<never>((_, reject) => file.once('error', reject));
  failure.catch(() => {});
  const write = (chunk: Buffer): Promise<void> =>
    Promise.race([new Promise<void>((resolve, reject) => file.write(chunk, (error) => (error ? reject(error) : resolve()))), failure]);
  try {
    const pending: Promise<void>[] = [];
    const put = async (chunk: Buffer): Promise<void> => {
      written += chunk.length;
      const upTo = written;
      const done = write(chunk).then(() => {
        if (upTo - told >= 1 << 20) {
          told = upTo;
          worker.tell({ kind: 'grow', available: upTo, final: false });
        }
      });
      pending.push(done);
      done.catch(() => {});
      if (pending.length >= 16) await pending.shift();
      if (worker.failure !== null) throw worker.failure;
    };
    for (const chunk of held) {
      await put(chunk);
      if (told === 0) await worker.start(path, workOptions(options));
    }
    while (!worker.scanned) {
      options.signal?.throwIfAborted();
      const { value, done } = await body.next();
      if (done) break;
      await put(value);
    }
    await Promise.all(pending);
    worker.tell({ kind: 'grow', available: written, final: true });
    await worker.hear('scanned');
  } finally {
    await new Promise<void>((resolve) => (file.closed || file.errored ? resolve() : file.end(resolve)));
  }
}

/** The worker's side of the conversation: answers in order, and the failure that ends it. */
class IngestWorker {
  #worker: Worker | null = null;
  readonly #answers: FromWorker[] = [];
  #wake: (() => void) | null = null;
  failure: Error | null = null;
  scanned = false;

  async start(path: string, options: WorkOptions): Promise<void> {
    if (this.#worker !== null) return;
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData: { path, options } });
    this.#worker = worker;
    worker.on('message', (message: FromWorker) => {
      if (message.kind === 'failed') {
        this.#fail(message.code === 'bad-pack' ? new PackError(message.message) : new PackhouseError(message.code, message.message));
      } else {
        if (message.kind === 'scanned') this.scanned = true;
        this.#answers.push(message);
        this.#wake?.();
      }
    });
    worker.on('error', (error) => this.#fail(error as Error));
    worker.on('exit', () => this.#fail(new PackhouseError('worker-gone', 'the worker that verified the pack ended')));
    await new Promise<void>((resolve, reject) => {
      worker.once('online', resolve);
      worker.once('error', reject);
    });
  }

  #fail(error: Error): void {
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

  async finish(): Promise<VerifiedPack> {
    this.tell({ kind: 'finish' });
    const { pack } = await this.hear('verified');
    return asBuffers(pack);
  }

  async stop(): Promise<void> {
    const worker = this.#worker;
    if (worker === null) return;
    this.#worker = null;
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
