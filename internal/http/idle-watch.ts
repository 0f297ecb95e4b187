import type { IncomingMessage, ServerResponse } from 'node:http';
import { PackhouseError } from '../base/mod.ts';

type Wait = 'body' | 'write';

/** A body that brings less than this while we wait for it through a whole idle limit is a slow-loris, not a slow line. */
const BODY_BYTES_PER_LIMIT_MIN = 1024;

/**
 * Watches for a peer that stands still, and only while we wait for it: our own slowness must never cut a long push.
 *
 * The socket's own timer is used because it knows of partial writes; it is armed for the whole exchange, and each time it fires
 * the peer is guilty only if the wait under way began a limit ago. Invariant: at most one wait of each kind at a time.
 */
export class IdleWatch {
  readonly #limitMs: number;
  readonly #incoming: IncomingMessage;
  readonly #since: Record<Wait, number> = { body: 0, write: 0 };
  readonly #stalled: Record<Wait, () => void> = { body: () => {}, write: () => {} };
  #bodyWaitedMs = 0;
  #bodyBytes = 0;

  constructor(incoming: IncomingMessage, outgoing: ServerResponse, limitMs: number) {
    this.#limitMs = limitMs;
    this.#incoming = incoming;
    incoming.socket.setTimeout(limitMs);
    const onTimeout = () => this.#onTimeout();
    // Node tells whichever half is current; a listener on either keeps it from destroying the socket by itself.
    incoming.on('timeout', onTimeout);
    outgoing.on('timeout', onTimeout);
  }

  begin(wait: Wait, onStalled: () => void): void {
    this.#since[wait] = performance.now();
    this.#stalled[wait] = onStalled;
  }

  end(wait: Wait): void {
    if (wait === 'body' && this.#since.body !== 0) this.#bodyWaitedMs += performance.now() - this.#since.body;
    this.#since[wait] = 0;
  }

  /** Counts bytes of the body; an error when it drips. Only time spent waiting for the client counts. */
  stalledAfter(bytes: number): PackhouseError | undefined {
    this.#bodyBytes += bytes;
    if (this.#bodyWaitedMs < this.#limitMs) return undefined;
    const got = this.#bodyBytes;
    this.#bodyWaitedMs = 0;
    this.#bodyBytes = 0;
    return got < BODY_BYTES_PER_LIMIT_MIN ? bodyStalled(`only ${got} bytes of the request body came`, this.#limitMs) : undefined;
  }

  #onTimeout(): void {
    const now = performance.now();
    // The timer is coarse and may fire a little before our clock agrees.
    const guilty = (wait: Wait) => this.#since[wait] !== 0 && now - this.#since[wait] >= this.#limitMs * 0.9;
    const waits = (['body', 'write'] as const).filter(guilty);
    for (const wait of waits) this.#stalled[wait]();
    this.#incoming.socket.setTimeout(this.#limitMs);
  }
}

export function bodyStalled(what: string, limitMs: number): PackhouseError {
  return new PackhouseError('body-stalled', `${what} in ${limitMs} ms`, { limit_ms: limitMs });
}
