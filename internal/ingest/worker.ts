import { parentPort, workerData } from 'node:worker_threads';
import { codeOf, messageOf } from '../base/mod.ts';
import type { VerifiedPack } from './verified-pack.ts';
import { PackWork, type WorkOptions } from './work.ts';

/** What the main thread says: bytes were written, a base is here, all bases were given, take duplicates out. */
export type ToWorker =
  | { readonly kind: 'grow'; readonly available: number; readonly final: boolean }
  | { readonly kind: 'base'; readonly oid: Uint8Array; readonly objectKind: number; readonly data: Uint8Array }
  | { readonly kind: 'finish' }
  | { readonly kind: 'drop-duplicates' };

export type FromWorker =
  | { readonly kind: 'scanned' }
  | { readonly kind: 'bases'; readonly oids: Uint8Array }
  | { readonly kind: 'base-taken' }
  | { readonly kind: 'verified'; readonly pack: VerifiedPack }
  | { readonly kind: 'rewritten'; readonly path: string | null }
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
    answer({ kind: 'bases', oids: work.resolve() });
  } else if (message.kind === 'base') {
    work.addBase({ oid: view(message.oid), kind: message.objectKind, data: view(message.data) });
    answer({ kind: 'base-taken' });
  } else if (message.kind === 'finish') {
    answer({ kind: 'verified', pack: work.finish() });
  } else {
    const rewritten = work.dropDuplicates() as string | null;
    answer({ kind: 'rewritten', path: rewritten });
    if (rewritten !== null) answer({ kind: 'bases', oids: work.resolve() });
  }
}

port.on('message', (message: ToWorker) => {
  try {
    take(message);
  } catch (error) {
    answer({ kind: 'failed', code: codeOf(error) ?? 'internal', message: messageOf(error) });
  }
});
