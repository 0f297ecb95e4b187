import { type MessagePort, parentPort, receiveMessageOnPort } from 'node:worker_threads';
import { assert, codeOf, messageOf } from '../base/mod.ts';
import type { FoundChunks } from './chunking-options.ts';
import { ResolveHelper } from './resolve-helper.ts';
import { tableBuffers } from './verified-pack.ts';
import { warmUp } from './warm-up.ts';
import { type Finished, PackWork, type WorkOptions } from './work.ts';

/** What the main thread says: a large pack may come, a pack begins, bytes of it were written, which base is needed next, a base is here, all bases were given, it is done with. */
export type ToWorker =
  | { readonly kind: 'prepare'; readonly hasHelper: boolean; readonly warmUp: WorkOptions | null }
  | { readonly kind: 'begin'; readonly path: string; readonly options: WorkOptions; readonly found: FindAnswers | null }
  | { readonly kind: 'grow'; readonly available: number; readonly final: boolean }
  | { readonly kind: 'next-base' }
  | { readonly kind: 'base'; readonly oid: Uint8Array; readonly objectKind: number; readonly data: Uint8Array }
  | { readonly kind: 'large-base'; readonly oid: Uint8Array; readonly path: string; readonly sizeBytes: number }
  | { readonly kind: 'finish' }
  | { readonly kind: 'end' };

export type FromWorker =
  | { readonly kind: 'scanned' }
  | { readonly kind: 'resolved' }
  | { readonly kind: 'needs'; readonly oid: Uint8Array | null }
  | { readonly kind: 'base-taken' }
  | { readonly kind: 'find'; readonly sha256s: Uint8Array }
  | { readonly kind: 'finished'; readonly finished: Finished; readonly path: string | null }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

/** How the main thread answers `find` while this one waits: the answer goes to `port`, then `bell` counts up. */
export interface FindAnswers {
  readonly port: MessagePort;
  readonly bell: Int32Array<SharedArrayBuffer>;
}

const port = parentPort!;
const helper = new ResolveHelper();
let current: PackWork | null = null;
let scanned = false;

function answer(message: FromWorker, given: readonly ArrayBuffer[] = []): void {
  port.postMessage(message, given);
}

/** Asks and sleeps until there is an answer: the work is in the middle of a blob. A failure ends this thread, asleep or not. */
function find({ port: answers, bell }: FindAnswers, sha256s: Buffer): FoundChunks {
  const rings = Atomics.load(bell, 0);
  answer({ kind: 'find', sha256s });
  for (;;) {
    const received = receiveMessageOnPort(answers) as { readonly message: FoundChunks } | undefined;
    if (received !== undefined) return received.message;
    Atomics.wait(bell, 0, rings);
  }
}

function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function take(message: ToWorker): void {
  if (message.kind === 'prepare') {
    if (message.hasHelper) helper.start();
    // Without: limits may not let the made-up pack through, or its folder may be full. A push that has come meanwhile must not hear of it.
    if (message.warmUp !== null)
      warmUp(message.warmUp, message.hasHelper ? helper : null, () => current !== null).catch(() => {});
    return;
  }
  if (message.kind === 'begin') {
    const { path, options, found } = message;
    scanned = false;
    const finder = found === null ? null : (sha256s: Buffer) => find(found, sha256s);
    current = new PackWork({ path }, options, finder, options.mayHaveHelp ? helper : null);
    return;
  }
  const work = current;
  assert(work !== null, 'a pack begins first');
  if (message.kind === 'end') {
    current = null;
    helper.release();
    work.close();
  } else if (message.kind === 'grow') {
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
  } else if (message.kind === 'large-base') {
    work.addLargeBase({ oid: view(message.oid), path: message.path, sizeBytes: message.sizeBytes });
    answer({ kind: 'base-taken' });
  } else {
    const finished = work.finish();
    // The table of a large pack is given away: a copy would stand beside it twice for a moment.
    const given = finished.kind === 'verified' ? tableBuffers(finished.pack) : [];
    answer({ kind: 'finished', finished, path: work.rewritten as string | null }, given);
  }
}

port.on('message', (message: ToWorker) => {
  try {
    take(message);
  } catch (error) {
    answer({ kind: 'failed', code: codeOf(error) ?? 'internal', message: messageOf(error) });
  }
});
