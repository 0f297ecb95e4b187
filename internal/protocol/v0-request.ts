import { type ObjectFormat, oidLength } from '../object/mod.ts';
import { PktReader, SIDEBAND_64K_PAYLOAD_BYTES, SIDEBAND_PAYLOAD_BYTES } from '../pktline/mod.ts';
import { ProtocolError, shown } from './errors.ts';
import { FetchArgs, type FetchLimits } from './fetch-args.ts';
import { after, Capabilities, sectionLines } from './lines.ts';
import type { FetchCommon, V0Request } from './types.ts';

export interface V0RequestOptions {
  readonly format: ObjectFormat;
  readonly limits: FetchLimits;
}

/**
 * The body of one POST to git-upload-pack in protocol v0 or v1 (gitprotocol-pack, "Packfile Negotiation"; gitprotocol-http, "Smart Service
 * git-upload-pack"). Without state on the server each body repeats the wants, then holds one round of haves:
 *
 *     1*want *shallow [deepen] [filter] flush  *have ( flush | done )
 *
 * What follows that round is not read.
 * @throws ProtocolError, PackhouseError `pkt-line`; messages are upload-pack's.
 */
export function parseV0Request(body: Uint8Array, options: V0RequestOptions): V0Request {
  const reader = new PktReader(body);
  const args = new FetchArgs(options.format, options.limits);
  const features = new Capabilities();
  for (const line of sectionLines(reader)) takeNeed(line, args, features, options.format);
  args.deepenRelative = features.has('deepen-relative');
  const end = args.wants.size === 0 || reader.pendingBytes === 0 ? 'none' : takeHaves(reader, args);
  return {
    wants: [...args.wants],
    haves: args.haves,
    shallow: [...args.shallow],
    filter: args.filter,
    end,
    ...choices(features),
    deepen: args.deepen(),
  };
}

function takeNeed(line: string, args: FetchArgs, features: Capabilities, format: ObjectFormat): void {
  if (args.takeShallowLine(line)) return;
  const filter = after(line, 'filter ');
  if (filter !== null) {
    if (!features.has('filter')) throw new ProtocolError('protocol', 'git upload-pack: filtering capability not negotiated');
    args.setFilter(filter);
    return;
  }
  const want = after(line, 'want ');
  const hexDigits = oidLength(format) * 2;
  const oid = want === null ? null : args.oid(want.slice(0, hexDigits));
  const list = want === null ? '' : want.slice(hexDigits);
  if (oid === null || (list !== '' && !/^\s/.test(list))) {
    throw new ProtocolError('protocol', `git upload-pack: protocol error, expected to get object ID, not '${shown(line)}'`);
  }
  features.add(list);
  args.addWant(oid);
}

function takeHaves(reader: PktReader, args: FetchArgs): 'flush' | 'done' {
  for (const line of sectionLines(reader)) {
    if (line === 'done') return 'done';
    if (!args.takeHave(line)) {
      throw new ProtocolError('protocol', `git upload-pack: expected SHA1 list, got '${shown(line)}'`);
    }
  }
  return 'flush';
}

function choices(
  features: Capabilities,
): Omit<V0Request, keyof FetchCommon | 'end'> & Pick<FetchCommon, 'thinPack' | 'ofsDelta' | 'noProgress' | 'includeTag'> {
  return {
    multiAck: features.has('multi_ack_detailed') ? 'multi_ack_detailed' : features.has('multi_ack') ? 'multi_ack' : 'none',
    sidebandPayloadBytes: features.has('side-band-64k')
      ? SIDEBAND_64K_PAYLOAD_BYTES
      : features.has('side-band')
        ? SIDEBAND_PAYLOAD_BYTES
        : 0,
    noDone: features.has('no-done'),
    thinPack: features.has('thin-pack'),
    ofsDelta: features.has('ofs-delta'),
    noProgress: features.has('no-progress'),
    includeTag: features.has('include-tag'),
    agent: features.value('agent'),
    sessionId: features.value('session-id'),
  };
}
