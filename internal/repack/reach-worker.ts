import { parentPort, workerData } from 'node:worker_threads';
import { codeOf, messageOf } from '../base/mod.ts';
import { type ReachFile, reachOfFile } from './reach-work.ts';

export type ReachAnswer =
  | { readonly kind: 'made'; readonly bytes: Uint8Array | null }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

const buffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

function answer(): ReachAnswer {
  try {
    const file = workerData as ReachFile;
    // Buffers cross a worker boundary as plain arrays.
    const bare = { ...file, oids: buffer(file.oids), checksum: buffer(file.checksum), graph: file.graph.map(buffer) };
    return { kind: 'made', bytes: reachOfFile(bare) };
  } catch (error) {
    return { kind: 'failed', code: codeOf(error) ?? 'internal', message: messageOf(error) };
  }
}

parentPort!.postMessage(answer());
