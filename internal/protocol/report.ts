import { assert } from '../base/mod.ts';
import {
  BAND_DATA,
  encodePkts,
  encodeSideband,
  FLUSH,
  PKT_PAYLOAD_BYTES_MAX,
  SIDEBAND_64K_PAYLOAD_BYTES,
} from '../pktline/mod.ts';
import type { PushReport, ReportRef } from './types.ts';

export interface ReportOptions {
  /** 1: report-status, 2: report-status-v2. */
  readonly version: 1 | 2;
  /** Whether side-band-64k was agreed on. */
  readonly sideband: boolean;
}

/**
 * The answer to a push (gitprotocol-pack, "Report Status"), flush included. With sideband the whole report, its flush among it, travels
 * on band 1, and the caller ends the stream by a FLUSH of its own after whatever else it says on band 2.
 */
export function encodeReport(report: PushReport, options: ReportOptions): Buffer {
  const bytes = Buffer.concat([encodePkts(reportLines(report, options.version)), FLUSH]);
  return options.sideband ? encodeSideband(BAND_DATA, bytes, SIDEBAND_64K_PAYLOAD_BYTES) : bytes;
}

function* reportLines(report: PushReport, version: 1 | 2): Generator<string> {
  yield withReason('unpack', report.unpack);
  for (const ref of report.refs) {
    if (ref.error !== null) yield withReason(`ng ${ref.ref}`, ref.error);
    else yield* okLines(ref, version);
  }
}

function* okLines(ref: ReportRef, version: 1 | 2): Generator<string> {
  yield `ok ${ref.ref}\n`;
  if (version === 1 || ref.options === undefined) return;
  const { refname, oldOid, newOid, forcedUpdate } = ref.options;
  if (refname !== undefined) yield `option refname ${refname}\n`;
  if (oldOid !== undefined) yield `option old-oid ${oldOid}\n`;
  if (newOid !== undefined) yield `option new-oid ${newOid}\n`;
  if (forcedUpdate === true) yield 'option forced-update\n';
}

/** One line, whatever the reason holds, and short enough for one packet. */
function withReason(head: string, reason: string): string {
  const room = PKT_PAYLOAD_BYTES_MAX - head.length - 2;
  assert(room > 0, 'a ref name leaves room for a reason');
  const oneLine = Buffer.from(reason, 'utf8')
    .toString('latin1')
    .replace(/[\0\r\n]+/g, ' ');
  return `${head} ${oneLine.slice(0, room)}\n`;
}
