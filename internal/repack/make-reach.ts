import { Worker } from 'node:worker_threads';
import { PackhouseError } from '../base/mod.ts';
import type { ObjectFormat } from '../object/mod.ts';
import type { ReachFile, ReachTable } from './reach-work.ts';
import type { ReachAnswer } from './reach-worker.ts';
import type { RepackedPack } from './types.ts';

/**
 * The reachability bitmaps of a pack that was made, a part of its crate's `.reach` sidecar; made by a worker. Null when the pack is not closed, or
 * not worth it: then what it holds is walked. A pack without bitmaps lacks speed only, so whoever cannot make them goes on without.
 * @throws PackhouseError `bad-bitmap` or `repack-unsound` when an object is not what its links say: the pack is not to be trusted
 */
export async function makeReach(
  pack: Pick<RepackedPack, 'path' | 'lengthBytes' | 'checksum' | 'blocks' | 'graph'>,
  format: ObjectFormat,
  signal: AbortSignal,
): Promise<Buffer | null> {
  signal.throwIfAborted();
  const file: ReachFile = { ...reachTable(pack, format), path: pack.path };
  const worker = new Worker(new URL('./reach-worker.ts', import.meta.url), { workerData: file });
  const { promise, resolve, reject } = Promise.withResolvers<Buffer | null>();
  const onAbort = (): void => reject(signal.reason as Error);
  signal.addEventListener('abort', onAbort, { once: true });
  worker.on('message', (answer: ReachAnswer) => {
    if (answer.kind === 'failed') reject(new PackhouseError(answer.code, answer.message));
    else resolve(answer.bytes === null ? null : Buffer.from(answer.bytes.buffer, answer.bytes.byteOffset, answer.bytes.length));
  });
  worker.on('error', reject);
  worker.on('exit', () => reject(new PackhouseError('worker-gone', 'the worker that made bitmaps ended')));
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', onAbort);
    await worker.terminate();
  }
}

/** The blocks of a pack as one table. */
export function reachTable(
  pack: Pick<RepackedPack, 'lengthBytes' | 'checksum' | 'blocks' | 'graph'>,
  format: ObjectFormat,
): ReachTable {
  return {
    format,
    lengthBytes: pack.lengthBytes,
    checksum: pack.checksum,
    graph: pack.graph,
    oids: Buffer.concat(pack.blocks.map((block) => block.oids)),
    kinds: Buffer.concat(pack.blocks.map((block) => block.kinds)),
    offsets: joined(pack.blocks.map((block) => block.offsets)),
  };
}

function joined(parts: readonly Float64Array[]): Float64Array {
  const whole = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
