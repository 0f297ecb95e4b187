import { codeOf, messageOf, PackhouseError } from '../base/mod.ts';
import { DELIM, FLUSH, SIDEBAND_64K_PAYLOAD_BYTES } from '../pktline/mod.ts';
import {
  encodeAck,
  encodeAcknowledgments,
  encodeError,
  encodeObjectInfo,
  encodePackfileHeader,
  encodeShallowInfo,
  encodeShallowUpdate,
  encodeWantedRefs,
  isHiddenRef,
  NAK,
  type V0Request,
  type V2FetchRequest,
  type V2ObjectInfoRequest,
} from '../protocol/mod.ts';
import { proveReached, type RepositoryView } from '../reach/mod.ts';
import { lsRefs } from './advertise.ts';
import { commonCommits, FetchRefusal, isReady, ownership, resolveWants } from './negotiate.ts';
import { readUploadRequest } from './requested.ts';
import { sendPack } from './send-pack.ts';
import type { AnswerSink, FetchSettings } from './settings.ts';
import { planShallow } from './shallow.ts';

/** Who fetches, and from where. */
export interface FetchRequest {
  readonly owner: string;
  readonly name: string;
  readonly gitProtocol: string;
  readonly signal: AbortSignal;
}

/**
 * One request to upload-pack, from its body to the answer: read it, prove the wants, find what is common, cut the history, choose and send
 * the objects. Protocol 0 and 1 share a path; 2 has commands.
 * @throws `repository-not-found`, `too-large`; what the body throws
 */
export async function serveFetch(
  settings: FetchSettings,
  fetch: FetchRequest,
  body: AsyncIterable<Buffer>,
  sink: AnswerSink,
): Promise<void> {
  const view = await settings.repositories.open(fetch.owner, fetch.name);
  if (view === null) throw new PackhouseError('repository-not-found', `no repository ${fetch.owner}/${fetch.name}`);
  const signal = AbortSignal.any([fetch.signal, AbortSignal.timeout(settings.durationMsMax)]);
  try {
    const asked = await readUploadRequest(view, settings, fetch.gitProtocol, body);
    if (asked.version !== 2) await serveV0(settings, view, asked.request, signal, sink);
    else if (asked.request.command === 'ls-refs') {
      settings.onFetch('ls-refs', 0, 0);
      for (const piece of lsRefs(view, settings, asked.request)) await sink.write(piece);
    } else if (asked.request.command === 'fetch') await serveV2(settings, view, asked.request, signal, sink);
    else if (asked.request.command === 'object-info') await serveObjectInfo(settings, view, asked.request, sink);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    await sink.write(encodeError(messageOf(error)));
  }
  await sink.end();
}

/** Errors that the client caused and is told in an error packet. */
function isRefusal(error: unknown): boolean {
  const code = codeOf(error);
  return (
    error instanceof FetchRefusal || code === 'pkt-line' || code === 'object-format' || (code?.startsWith('protocol') ?? false)
  );
}

async function serveV0(
  settings: FetchSettings,
  view: RepositoryView,
  request: V0Request,
  signal: AbortSignal,
  sink: AnswerSink,
): Promise<void> {
  if (request.wants.length === 0) return;
  const owns = await ownership(view, settings, [...request.wants, ...request.shallow, ...request.haves]);
  const wants = await resolveWants(view, settings, owns, request.wants, signal);
  const shallow = planShallow(view, owns, wants.nodes, request.shallow, request.deepen);
  if (shallow.update !== null) await sink.write(encodeShallowUpdate(shallow.update));
  if (request.end === 'none') return;
  const common = commonCommits(view, owns, request.haves);
  const done = negotiateV0(view, request, [...wants.nodes, ...shallow.extraWants], common, shallow.cut);
  await sink.write(done.packets);
  if (!done.pack) return settings.onFetch('negotiation', 0, 0);
  const known = common.filter((node) => node >= 0);
  await sendPack(
    settings,
    { view, wants, common: known, shallow, request, sidebandBytes: request.sidebandPayloadBytes, signal },
    sink,
  );
}

/** How often in one request each new common commit may be judged afresh. */
const EXACT_LOOKS = 64;

/** The acknowledgements of one round, as upload-pack's `get_common_commits` gives them, and whether the pack follows. */
function negotiateV0(
  view: RepositoryView,
  request: V0Request,
  wants: readonly number[],
  common: readonly number[],
  cut: ReadonlySet<number>,
): { packets: Buffer; pack: boolean } {
  const packets: Buffer[] = [];
  const { graph } = view.pool;
  const { multiAck } = request;
  const known: number[] = [];
  let last = '';
  let missing = false;
  let ready = false;
  // Enough stays enough, and the answer changes only when a common commit is added. Each look costs what the wants reach: after a while not
  // every new commit is worth one, else a long list of haves would take the square of its length.
  let enough = false;
  let looks = 0;
  let nextLookAt = 1;
  const givenUp = (): boolean => {
    if (!enough && known.length >= nextLookAt) {
      enough = isReady(graph, wants, known, cut);
      nextLookAt = ++looks < EXACT_LOOKS ? known.length + 1 : Math.ceil(known.length * 1.25);
    }
    return enough;
  };
  for (let i = 0; i < request.haves.length; i++) {
    const oid = request.haves[i]!;
    if (common[i]! < 0) {
      missing = true;
      if (multiAck === 'none' || !givenUp()) continue;
      ready = ready || multiAck === 'multi_ack_detailed';
      packets.push(encodeAck(oid, multiAck === 'multi_ack_detailed' ? 'ready' : 'continue'));
      continue;
    }
    known.push(common[i]!);
    last = oid;
    if (multiAck === 'multi_ack_detailed') packets.push(encodeAck(oid, 'common'));
    else if (multiAck === 'multi_ack') packets.push(encodeAck(oid, 'continue'));
    else if (known.length === 1) packets.push(encodeAck(oid));
  }
  if (request.end === 'done') {
    if (known.length === 0) packets.push(NAK);
    else if (multiAck !== 'none') packets.push(encodeAck(last));
    return { packets: Buffer.concat(packets), pack: true };
  }
  if (multiAck === 'multi_ack_detailed' && known.length > 0 && !missing && givenUp()) {
    ready = true;
    packets.push(encodeAck(last, 'ready'));
  }
  if (known.length === 0 || multiAck !== 'none') packets.push(NAK);
  const pack = request.noDone && ready;
  if (pack) packets.push(encodeAck(last));
  return { packets: Buffer.concat(packets), pack };
}

async function serveV2(
  settings: FetchSettings,
  view: RepositoryView,
  request: V2FetchRequest,
  signal: AbortSignal,
  sink: AnswerSink,
): Promise<void> {
  const framing = { sidebandAll: request.sidebandAll };
  const wantedRefs = request.wantRefs.map((name) => {
    const oid = name === 'HEAD' ? view.headOid() : isHiddenRef(name, settings.hiddenRefs) ? undefined : view.refs.get(name)?.oid;
    if (!oid) throw new FetchRefusal(`unknown ref ${name}`);
    return { name, oid: oid.toString('hex') };
  });
  const wantedOids = [...new Set([...request.wants, ...wantedRefs.map((ref) => ref.oid)])];
  if (wantedOids.length === 0 && !request.waitForDone) return;
  // Who wants nothing is about to push, on what is said to be common (git's push.negotiate): that must be what refs reach.
  const named = wantedOids.length === 0 ? [] : [...wantedOids, ...request.shallow, ...request.haves];
  const owns = await ownership(view, settings, named);
  const wants = await resolveWants(view, settings, owns, wantedOids, signal);
  const common = commonCommits(view, owns, request.haves);
  const known = common.filter((node) => node >= 0);
  if (request.haves.length > 0 && !request.done) {
    const acks = [...new Set(request.haves.filter((_, i) => common[i]! >= 0))];
    const ready = !request.waitForDone && isReady(view.pool.graph, wants.nodes, known);
    await sink.write(encodeAcknowledgments(acks, ready, framing));
    await sink.write(ready ? DELIM : FLUSH);
    if (!ready) return settings.onFetch('negotiation', 0, 0);
  }
  const shallow = planShallow(view, owns, wants.nodes, request.shallow, request.deepen);
  if (shallow.update !== null || request.shallow.length > 0) {
    await sink.write([encodeShallowInfo(shallow.update ?? { shallow: [], unshallow: [] }, framing), DELIM]);
  }
  if (wantedRefs.length > 0) await sink.write([encodeWantedRefs(wantedRefs, framing), DELIM]);
  const byUri =
    settings.packUris === null || request.packfileUris.length === 0
      ? undefined
      : { uris: settings.packUris, protocols: request.packfileUris, framing };
  if (byUri === undefined) await sink.write(encodePackfileHeader(framing));
  await sendPack(
    settings,
    { view, wants, common: known, shallow, request, sidebandBytes: SIDEBAND_64K_PAYLOAD_BYTES, signal, byUri },
    sink,
  );
}

async function serveObjectInfo(
  settings: FetchSettings,
  view: RepositoryView,
  request: V2ObjectInfoRequest,
  sink: AnswerSink,
): Promise<void> {
  const oids = Buffer.concat(request.oids.map((oid) => Buffer.from(oid, 'hex')));
  const proven = await proveReached(view, oids);
  const locations = await view.pool.index.find(oids);
  const infos = request.oids.map((oid, i) => ({ oid, sizeBytes: proven[i] === 1 ? (locations[i]?.sizeBytes ?? null) : null }));
  settings.onFetch('object-info', 0, 0);
  await sink.write(encodeObjectInfo(infos, { size: request.size }));
}
