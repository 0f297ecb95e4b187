import { PackhouseError } from '../base/mod.ts';

/**
 * - `protocol`: the request breaks the grammar; the message is git's own where git has one.
 * - `protocol-limit`: it is over a limit that `data` names.
 * - `protocol-truncated`: it ends in the middle.
 * - `object-format`: the client speaks of another hash than the repository.
 */
export type ProtocolErrorCode = 'protocol' | 'protocol-limit' | 'protocol-truncated' | 'object-format';

/** A request that is refused. Its message may be shown to the client. */
export class ProtocolError extends PackhouseError {
  declare readonly code: ProtocolErrorCode;

  constructor(code: ProtocolErrorCode, message: string, data: Readonly<Record<string, unknown>> = {}) {
    super(code, message, data);
    this.name = 'ProtocolError';
  }
}

/** Throws `protocol-limit` when `actual` is over `max`; `what` says what was counted. */
export function checkLimit(what: string, actual: number, max: number): void {
  if (actual > max) throw new ProtocolError('protocol-limit', `too many ${what}: the limit is ${max}`, { what, actual, max });
}

export function truncated(): ProtocolError {
  return new ProtocolError('protocol-truncated', 'the remote end hung up unexpectedly');
}

const SHOWN_CHARS_MAX = 200;

/** A line of a request as messages show it: cut short, bytes outside printable ASCII written as \xNN. */
export function shown(line: string): string {
  const text = line.length > SHOWN_CHARS_MAX ? `${line.slice(0, SHOWN_CHARS_MAX)}...` : line;
  return text.replace(/[^\x20-\x7e]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
