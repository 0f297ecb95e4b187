import { createHash } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PackhouseError, SpareWorker } from '../base/mod.ts';
import type { Pack } from '../catalog/mod.ts';
import { makeSpoolFolder, type VerifiedPack } from '../ingest/mod.ts';
import { oidLength } from '../object/mod.ts';
import { encodeIdx } from '../packformat/mod.ts';
import { ChunkedRows, flattenBlocks, withChunked } from './columns.ts';
import { factsOf } from './facts.ts';
import { INPUTS_FILE, OUTPUT_FILE, OUTSIDE_FILE, type RepackJobOptions, type RepackJobResult } from './job.ts';
import { unsound } from './object-table.ts';
import type { RepackedPack, RepackInput } from './types.ts';
import type { FromWorker, ToWorker } from './worker.ts';

/** To start a thread takes ten times longer than to repack a few hundred objects. */
const spare = new SpareWorker(new URL('./worker.ts', import.meta.url), 5_000);
/** After a larger job its worker is not kept: its heap would stay too. */
const KEPT_BYTES_MAX = 8 << 20;

/**
 * Makes one pack of several: each object once, in order of history, deltas kept where their bases stay, searched where they are missing.
 * The result was read back and compared with what was meant before this resolves.
 * @throws PackhouseError `repack-unsound` when an input or the output is not what it should be: the inputs are to be kept
 */
export async function repack(input: RepackInput): Promise<RepackedPack> {
  input.signal.throwIfAborted();
  const folder = await makeSpoolFolder(input.settings.spoolFolder);
  const dispose = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    await spoolInputs(input, join(folder, INPUTS_FILE));
    const chunked = new ChunkedRows(oidLength(input.format));
    const columns = flattenBlocks(input, chunked);
    const inputEntries = columns.kinds.length;
    const searched = Uint8Array.from(input.packs, ({ pack }) => Number(pack.searched));
    const { format, settings } = input;
    const { pack, counts } = await runJob(input, { format, folder, input: columns, searched, settings });
    await Promise.all([INPUTS_FILE, OUTSIDE_FILE].map((name) => rm(join(folder, name))));
    return {
      path: join(folder, OUTPUT_FILE),
      lengthBytes: pack.lengthBytes,
      checksum: pack.checksum,
      ...withChunked(pack, chunked, input.format),
      graph: pack.graph,
      idx: encodeIdx({ ...pack, count: pack.objectCount }, input.format),
      facts: factsOf(pack, chunked, input),
      statistics: {
        ...counts,
        inputEntries,
        inputBytes: input.packs.reduce((sum, { pack: { lengthBytes } }) => sum + lengthBytes, 0),
      },
      dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Lays the inputs' bytes one after the other, and sees that they are the packs that the catalog names. */
async function spoolInputs(input: RepackInput, path: string): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    for (const { pack } of input.packs) await spoolPack(file, pack, input);
  } finally {
    await file.close();
  }
}

async function spoolPack(file: FileHandle, pack: Pack, { readPack, format, signal }: RepackInput): Promise<void> {
  const width = oidLength(format);
  const hash = createHash(format);
  const hashedMax = pack.lengthBytes - width;
  let length = 0;
  for await (const piece of readPack(pack)) {
    signal.throwIfAborted();
    if (length < hashedMax) hash.update(piece.subarray(0, hashedMax - length));
    length += piece.length;
    await file.write(piece);
  }
  if (length !== pack.lengthBytes)
    throw unsound(`pack ${pack.id} has ${length} bytes, not ${pack.lengthBytes}`, { pack: pack.id });
  if (!hash.digest().equals(pack.checksum))
    throw unsound(`pack ${pack.id} is damaged: its checksum is another`, { pack: pack.id });
}

/** Runs the job in a worker and gives it the objects that it asks for. */
async function runJob(input: RepackInput, options: RepackJobOptions): Promise<RepackJobResult> {
  const transferList = Object.values(options.input).map((column: Uint8Array) => column.buffer as ArrayBuffer);
  const worker = spare.take();
  const { promise, resolve, reject } = Promise.withResolvers<RepackJobResult>();
  const onAbort = (): void => reject(input.signal.reason as Error);
  input.signal.addEventListener('abort', onAbort, { once: true });
  worker.on('message', (message: FromWorker) => {
    if (message.kind === 'failed') reject(new PackhouseError(message.code, message.message));
    else if (message.kind === 'done') resolve(asBuffers(message.result));
    else if (message.kind === 'progress') input.onProgress?.(message.done, message.total);
    else
      spoolOutside(input, buffer(message.oids), message.needed, options.folder).then(
        (answer) => worker.postMessage(answer),
        reject,
      );
  });
  worker.on('error', reject);
  worker.on('exit', () => reject(new PackhouseError('worker-gone', 'the worker that repacked ended')));
  worker.postMessage({ kind: 'start', options } satisfies ToWorker, transferList);
  let isIdle = false;
  try {
    const result = await promise;
    isIdle = input.packs.reduce((sum, { pack }) => sum + pack.lengthBytes, 0) <= KEPT_BYTES_MAX;
    return result;
  } finally {
    input.signal.removeEventListener('abort', onAbort);
    if (isIdle) spare.keep(worker);
    else await worker.terminate();
  }
}

/** Writes the objects that the job needs from outside to a file, plain. */
async function spoolOutside(input: RepackInput, oids: Buffer, needed: Uint8Array, folder: string): Promise<ToWorker> {
  const width = oidLength(input.format);
  const count = oids.length / width;
  const offsets = new Float64Array(count);
  const sizes = new Float64Array(count);
  const file = await open(join(folder, OUTSIDE_FILE), 'w', 0o600);
  let position = 0;
  try {
    for (let i = 0; i < count; i++) {
      if (!needed[i]) continue;
      input.signal.throwIfAborted();
      const oid = Buffer.from(oids.subarray(i * width, (i + 1) * width));
      const object = await input.readObject(oid);
      if (object === null) throw unsound(`delta base ${oid.toString('hex')} is nowhere`, { oid: oid.toString('hex') });
      offsets[i] = position;
      sizes[i] = object.data.length;
      await file.write(object.data);
      position += object.data.length;
    }
  } finally {
    await file.close();
  }
  return { kind: 'outside', offsets, sizes };
}

function buffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Buffers cross a worker boundary as plain arrays. */
function asBuffers({ pack, counts }: RepackJobResult): RepackJobResult {
  const bare: VerifiedPack = {
    ...pack,
    checksum: buffer(pack.checksum),
    oids: buffer(pack.oids),
    sources: buffer(pack.sources),
    bases: buffer(pack.bases),
    graph: pack.graph.map(buffer),
    frontier: { oids: buffer(pack.frontier.oids), kinds: pack.frontier.kinds },
  };
  return { pack: bare, counts };
}
