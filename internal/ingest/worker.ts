import { parentPort, workerData } from 'node:worker_threads';
import { codeOf, messageOf } from '../base/mod.ts';
import { type Finished, PackWork, type WorkOptions } from './work.ts';

/** What the main thread says: bytes were written, which base is needed next, a base is here, all bases were given. */
export type ToWorker =
  | { readonly kind: 'grow'; readonly available: number; readonly final: boolean }
  | { readonly kind: 'next-base' }
  | { readonly kind: 'base'; readonly oid: Uint8Array; readonly objectKind: number; readonly data: Uint8Array }
  | { readonly kind: 'finish' };

export type FromWorker =
  | { readonly kind: 'scanned' }
  | { readonly kind: 'resolved' }
  | { readonly kind: 'needs'; readonly oid: Uint8Array | null }
  | { readonly kind: 'base-taken' }
  | { readonly kind: 'finished'; readonly finished: Finished; readonly path: string | null }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

const { path, options } = workerData as { path: string; options: WorkOptions };
const port = parentPort!;
const work = new PackWork({ path }, options);
let scanned = false;

function answer(message: FromWorker): void {
  port.postMessage(message);
}

function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function take(message: ToWorker): void {
  if (message.kind === 'grow') {
    if (scanned || !work.advance(message.available, message.final)) return;
    scanned = true;
    answer({ kind: 'scanned' });
    work.resolve();
    answer({ kind: 'resolved' });
  } else if (message.kind === 'next-base') {
    answer({ kind: 'needs', oid: work.nextBase() });
  } else if (message.kind === 'base') {
    work.addBase({ oid: view(message.oid), kind: message.objectKind, data: view(message.data) });
    answer({ kind: 'base-taken' });
  } else {
    const finished = work.finish();
    answer({ kind: 'finished', finished, path: work.rewritten as string | null });
  }
}

port.on('message', (message: ToWorker) => {
  try {
    take(message);
  } catch (error) {
    answer({ kind: 'failed', code: codeOf(error) ?? 'internal', message: messageOf(error) });
  }
});
