import { failpoint } from '../base/mod.ts';
import { BAND_ERROR, BAND_PROGRESS, encodeSideband, FLUSH, KEEPALIVE, SIDEBAND_64K_PAYLOAD_BYTES } from '../pktline/mod.ts';
import { encodeError, encodeReport, type ReceiveRequest } from '../protocol/mod.ts';
import type { Verdict } from './judge-commands.ts';
import type { AnswerSink } from './settings.ts';

/** After this much silence a client with a sideband is told that the work goes on. */
const KEEPALIVE_SECONDS = 5;

/** Runs `work` and keeps a waiting client's connection alive meanwhile; while `waits` says no, the client is busy sending. */
export async function withKeepalive<T>(
  request: ReceiveRequest,
  sink: AnswerSink,
  work: () => Promise<T>,
  waits: () => boolean = () => true,
): Promise<T> {
  if (!request.sideband || request.reportStatus === 0) return work();
  const timer = setInterval(() => void (waits() && sink.write(KEEPALIVE).catch(() => {})), KEEPALIVE_SECONDS * 1000);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

/** Tells the user something: git shows it with `remote: ` before it. Without a sideband nobody would see it. */
export async function tellUser(request: ReceiveRequest, sink: AnswerSink, lines: readonly string[]): Promise<void> {
  if (!request.sideband || lines.length === 0) return;
  await sink.write(encodeSideband(BAND_PROGRESS, lines.map((line) => `${line}\n`).join(''), SIDEBAND_64K_PAYLOAD_BYTES));
}

/** Answers a request that is none. A client that has asked for a sideband reads nothing beside it. */
export async function tellError(sideband: boolean, sink: AnswerSink, reason: string): Promise<void> {
  await sink.write(sideband ? encodeSideband(BAND_ERROR, `${reason}\n`, SIDEBAND_64K_PAYLOAD_BYTES) : encodeError(reason));
  return sink.end();
}

/** Tells a user whose pack has come why nothing happens yet. */
export function tellOfWait(request: ReceiveRequest, sink: AnswerSink): void {
  if (request.quiet) return;
  tellUser(request, sink, ['Waiting for other large pushes to be worked on']).catch(() => {});
}

/** The answer to the push: one line for the pack, one for each command. */
export async function writeReport(
  request: ReceiveRequest,
  sink: AnswerSink,
  unpack: string,
  verdicts: readonly Verdict[],
): Promise<void> {
  if (request.reportStatus > 0) {
    const refs = verdicts.map(({ command, error }) => ({ ref: command.ref, error }));
    const version = request.reportStatus as 1 | 2;
    await sink.write(encodeReport({ unpack, refs }, { version, sideband: request.sideband }));
    await failpoint('push.mid-report');
  }
  if (request.sideband) await sink.write(FLUSH);
  await sink.end();
}
