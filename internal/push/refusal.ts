import { codeOf, messageOf } from '../base/mod.ts';
import { catalogFaultOf } from '../catalog/mod.ts';
import { PackError } from '../ingest/mod.ts';

/** Errors of a request that cannot be read as one: nothing was asked of the repository yet. */
export function isMalformed(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'pkt-line' || code === 'object-format' || (code?.startsWith('protocol') ?? false);
}

/** Faults of the store, and of the disk and the process that receive packs: it may work later. */
const FAULTS = new Set([
  'store-unavailable',
  'store-damaged',
  'store-short',
  'EIO',
  'EMFILE',
  'ENFILE',
  'ENOMEM',
  'ERR_WORKER_INIT_FAILED',
]);
const NO_ROOM = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

/** Whether what failed is something below the server that may work later, and nothing has happened. */
export function isFault(error: unknown): boolean {
  const code = codeOf(error) ?? '';
  return FAULTS.has(code) || NO_ROOM.has(code) || catalogFaultOf(error) !== null;
}

export const FAULT_TEXT = 'the server cannot take the push now, try again later';

/** What the report says of a pack that was not taken; null for an error that is not the pack's and not the spool's. */
export function refusalOf(error: unknown): string | null {
  const code = codeOf(error);
  if (NO_ROOM.has(code ?? '')) return 'the server has no room to receive the pack';
  if (isFault(error)) return FAULT_TEXT;
  const isClients =
    error instanceof PackError ||
    code === 'body-truncated' ||
    code === 'too-large' ||
    code === 'too-slow' ||
    code === 'walk-limit';
  return isClients ? messageOf(error) : null;
}
