import { parentPort } from 'node:worker_threads';
import { codeOf, messageOf } from '../base/mod.ts';
import { RepackJob, type RepackJobOptions, type RepackJobResult } from './job.ts';

/** What the main thread says: what to do, and then where the objects are that no input has. One job after another. */
export type ToWorker =
  | { readonly kind: 'start'; readonly options: RepackJobOptions }
  | { readonly kind: 'outside'; readonly offsets: Float64Array; readonly sizes: Float64Array };

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

let job: RepackJob | null = null;

port.on('message', (message: ToWorker) =>
  guarded(() => {
    if (message.kind === 'start') {
      job = new RepackJob(message.options, (done, total) => answer({ kind: 'progress', done, total }));
      answer({ kind: 'needs', ...job.plan() });
    } else {
      const result = job!.finish(message.offsets, message.sizes);
      job = null;
      answer({ kind: 'done', result });
    }
  }),
);
