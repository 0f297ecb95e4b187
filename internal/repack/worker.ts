import { parentPort, workerData } from 'node:worker_threads';
import { codeOf, messageOf } from '../base/mod.ts';
import { RepackJob, type RepackJobOptions, type RepackJobResult } from './job.ts';

/** What the main thread says: where the objects are that no input has. */
export interface ToWorker {
  readonly kind: 'outside';
  readonly offsets: Float64Array;
  readonly sizes: Float64Array;
}

export type FromWorker =
  | { readonly kind: 'needs'; readonly oids: Uint8Array; readonly needed: Uint8Array }
  | { readonly kind: 'progress'; readonly done: number; readonly total: number }
  | { readonly kind: 'done'; readonly result: RepackJobResult }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

const port = parentPort!;

function answer(message: FromWorker): void {
  port.postMessage(message);
}

function guarded(work: () => void): void {
  try {
    work();
  } catch (error) {
    answer({ kind: 'failed', code: codeOf(error) ?? 'internal', message: messageOf(error) });
  }
}

guarded(() => {
  const job = new RepackJob(workerData as RepackJobOptions, (done, total) => answer({ kind: 'progress', done, total }));
  port.on('message', (message: ToWorker) =>
    guarded(() => answer({ kind: 'done', result: job.finish(message.offsets, message.sizes) })),
  );
  answer({ kind: 'needs', ...job.plan() });
});
