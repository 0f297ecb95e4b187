import { createWriteStream } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ChunkingParameters } from '../chunking/mod.ts';
import type { ObjectFormat } from '../object/mod.ts';
import { Admission, type AdmissionOptions } from './admission.ts';
import type { CheckSeverities } from './check.ts';
import type { ChunkedBlob, ChunkingOptions, ChunkPack } from './chunking-options.ts';
import { largeInline, PackError } from './errors.ts';
import type { ExternalBase } from './external-base.ts';
import type { PackPlace } from './incoming-reader.ts';
import { IngestWorker, type Worked } from './ingest-worker.ts';
import type { PackLimits } from './limits.ts';
import { makeSpoolFolder } from './spool-folders.ts';
import { type AppendedEntry, BaseEntries } from './thin-bases.ts';
import type { VerifiedPack } from './verified-pack.ts';
import { type Finished, PackWork, type WorkOptions } from './work.ts';

export interface ReceiveOptions extends AdmissionOptions {
  readonly format: ObjectFormat;
  readonly limits: PackLimits;
  readonly severities: CheckSeverities;
  /** Refuse objects whose bytes are of a SHA-1 collision attack; what was let in is not asked again. False when undefined. */
  readonly detectCollisions?: boolean;
  /** A pack up to this size is held and worked on in memory; a longer one goes to a spool file and a worker. */
  readonly memoryBytesMax: number;
  /** A pack up to this size may stay thin: its outside bases are not made into entries. 0 when undefined. */
  readonly thinBytesMax?: number;
  /** Where spool files go; the system's folder for temporary files when undefined. */
  readonly spoolFolder?: string;
  /** An object outside the pack that one of its deltas is based on, null when there is none. */
  readonly readBase: (oid: Buffer) => Promise<ExternalBase | null>;
  /** How large blobs are cut into chunks; null or undefined: they stay entries of the pack. */
  readonly chunking?: ChunkingOptions | null;
  /** Whether a second thread resolves deltas too; undefined: when there is a core for it and no other pack is worked on. */
  readonly mayHaveHelp?: boolean;
  /** Told once when the pack has come whole and there is no room yet to work on it. */
  readonly onWait?: () => void;
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
  /** Blobs of the push that were cut: rows of the pack at offset -1, which its bytes do not hold. */
  readonly chunked: readonly ChunkedBlob[];
  /** Their new chunks as a whole pack; null when there are none. */
  readonly chunkPack: ChunkPack | null;
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

interface Verified extends Omit<Extract<Finished, { kind: 'verified' }>, 'kind'> {
  readonly bases: BaseEntries;
}

/** Gives each base that is asked for, one at a time, until the pack is verified. What was kept of them belongs to the caller. */
async function verify(work: Worked, packBytes: number, options: ReceiveOptions, folder: string | null): Promise<Verified> {
  let keepBases = packBytes > (options.thinBytesMax ?? 0);
  for (;;) {
    const bases = new BaseEntries(options.spoolFolder ?? tmpdir());
    try {
      for (let oid = await work.nextBase(); oid !== null; oid = await work.nextBase()) {
        options.signal?.throwIfAborted();
        if (await giveLargeBase(work, Buffer.from(oid), options, folder)) continue;
        const base = await options.readBase(Buffer.from(oid));
        if (base === null) continue;
        if (keepBases) await bases.add(base);
        await work.addBase(base);
      }
      const finished = await work.finish();
      if (finished.kind === 'verified') return { ...finished, bases };
      keepBases ||= finished.standsAlone;
    } catch (error) {
      await bases.dispose();
      throw error;
    }
    await bases.dispose();
  }
}

/** Gives a base that is a chunked blob of the pool, through a file in `folder`. Whether it is one. */
async function giveLargeBase(work: Worked, oid: Buffer, options: ReceiveOptions, folder: string | null): Promise<boolean> {
  const large = (await options.chunking?.readLargeBase(oid)) ?? null;
  if (large === null) return false;
  if (folder === null) throw largeInline();
  const path = join(folder, 'base');
  await large.writeTo(path);
  await work.addLargeBase({ oid, path, sizeBytes: large.sizeBytes });
  return true;
}

/** What a pack in memory may make this thread inflate: more than that is a worker's job, however small the pack. */
const INLINE_BYTES_MAX = 32 << 20;

async function receiveInMemory(bytes: Buffer, options: ReceiveOptions): Promise<ReceivedPack> {
  const work = new PackWork({ bytes }, { ...workOptions(options), madeBytesMax: INLINE_BYTES_MAX });
  try {
    work.advance(bytes.length, true);
    work.resolve();
    const inline: Worked = {
      nextBase: async () => work.nextBase(),
      addBase: async (base) => work.addBase(base),
      addLargeBase: async (base) => work.addLargeBase(base),
      finish: async () => work.finish(),
    };
    const { pack, bases } = await verify(inline, bytes.length, options, null);
    const kept = (work.rewritten as Buffer | null) ?? bytes;
    return {
      pack,
      place: { kind: 'memory', bytes: kept.subarray(0, pack.lengthBytes) },
      trees: work.trees,
      bases: bases.entries,
      basesPlace: await bases.place(),
      chunked: [],
      chunkPack: null,
      dispose: () => bases.dispose(),
    };
  } catch (error) {
    if (!(error instanceof PackError) || error.data.tooMuchWork !== true) throw error;
  } finally {
    work.close();
  }
  return receiveInSpool(nothingMore(), [bytes], options);
}

async function* nothingMore(): AsyncGenerator<Buffer, undefined> {}

function workOptions(options: ReceiveOptions): WorkOptions {
  const { format, limits, severities, detectCollisions = false, chunking, mayHaveHelp } = options;
  const cut = chunking ? pick(chunking) : null;
  return { format, limits, severities, detectCollisions, chunking: cut, ...(mayHaveHelp === undefined ? {} : { mayHaveHelp }) };
}

/** What crosses a worker boundary. */
function pick({ thresholdBytes, minBytes, avgBytes, maxBytes }: ChunkingOptions): ChunkingParameters {
  return { thresholdBytes, minBytes, avgBytes, maxBytes };
}

async function receiveInSpool(body: AsyncIterator<Buffer>, held: Buffer[], options: ReceiveOptions): Promise<ReceivedPack> {
  const { chunking } = options;
  const worker = new IngestWorker(chunking ? (sha256s) => chunking.findChunks(sha256s) : null);
  const admission = new Admission(held, options);
  const onAbort = (): void => worker.fail(options.signal!.reason as Error);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  let folder: string | null = null;
  const clean = async (): Promise<void> => {
    try {
      await worker.stop();
    } finally {
      admission.end();
    }
    if (folder !== null) await rm(folder, { recursive: true, force: true });
  };
  try {
    folder = await makeSpoolFolder(options.spoolFolder);
    const path = join(folder, 'pack');
    const written = await spool(body, held, path, worker, admission, options);
    await worker.hear('resolved');
    const { pack, bases, chunked, chunkPack } = await verify(worker, written, options, folder);
    await worker.release(pack, chunked);
    const kept = worker.rewritten ?? path;
    const isSmall = written <= (options.thinBytesMax ?? 0) && chunked.length === 0;
    return {
      pack,
      place: isSmall
        ? { kind: 'memory', bytes: (await readFile(kept)).subarray(0, pack.lengthBytes) }
        : { kind: 'spool', path: kept },
      trees: null,
      bases: bases.entries,
      basesPlace: await bases.place(),
      chunked,
      chunkPack,
      dispose: async () => {
        try {
          await bases.dispose();
        } finally {
          await clean();
        }
      },
    };
  } catch (error) {
    await clean();
    throw error;
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
  }
}

/**
 * Writes the body to the spool file while the worker reads what is there; a worker that is not admitted yet begins later, with all of it. Ends
 * once the worker has seen the whole pack; how much was written.
 */
async function spool(
  body: AsyncIterator<Buffer>,
  held: Buffer[],
  path: string,
  worker: IngestWorker,
  admission: Admission,
  options: ReceiveOptions,
): Promise<number> {
  const file = createWriteStream(path, { mode: 0o600, highWaterMark: 4 << 20 });
  let written = 0;
  let flushed = 0;
  let told = 0;
  const failure = new Promise<never>((_, reject) => file.once('error', reject));
  failure.catch(() => {});
  const write = (chunk: Buffer): Promise<void> =>
    Promise.race([
      new Promise<void>((resolve, reject) => file.write(chunk, (error) => (error ? reject(error) : resolve()))),
      failure,
    ]);
  const tell = (): void => {
    told = flushed;
    worker.tell({ kind: 'grow', available: flushed, final: false });
  };
  try {
    const pending: Promise<void>[] = [];
    const put = async (chunk: Buffer): Promise<void> => {
      written += chunk.length;
      const upTo = written;
      const done = write(chunk).then(() => {
        flushed = upTo;
        if (flushed - told >= 1 << 20) tell();
      });
      pending.push(done);
      done.catch(() => {});
      if (pending.length >= 16) await pending.shift();
      if (worker.failure !== null) throw worker.failure;
    };
    // Emptied: until the push is over this function's callers hold the list.
    for (let chunk = held.shift(); chunk !== undefined; chunk = held.shift()) await put(chunk);
    await Promise.all(pending.splice(0));
    const start = (): Promise<void> => {
      const running = admission.granted.then(() => worker.start(path, workOptions(options))).then(tell);
      running.catch((error: unknown) => worker.fail(error as Error));
      return running;
    };
    let started = start();
    let gaveWay = false;
    while (!worker.scanned) {
      options.signal?.throwIfAborted();
      const { value, done } = await body.next();
      if (done) break;
      await put(value);
      if (gaveWay || !admission.isWanted) continue;
      gaveWay = true;
      await started;
      await worker.reset();
      admission.giveWay();
    }
    await Promise.all(pending);
    if (gaveWay) {
      admission.again();
      started = start();
    }
    if (!admission.isGranted) options.onWait?.();
    await started;
    worker.tell({ kind: 'grow', available: written, final: true });
    await worker.hear('scanned');
    admission.work();
    return written;
  } finally {
    await new Promise<void>((resolve) => (file.closed || file.errored ? resolve() : file.end(resolve)));
  }
}
