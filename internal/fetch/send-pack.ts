import { codeOf, failpoint, messageOf } from '../base/mod.ts';
import { OidMap } from '../object/mod.ts';
import { BAND_DATA, BAND_ERROR, BAND_PROGRESS, DELIM, encodeSideband, FLUSH, KEEPALIVE, sidebandPieces } from '../pktline/mod.ts';
import { encodePackfileHeader, encodePackfileUris, type FetchCommon, type ResponseFraming } from '../protocol/mod.ts';
import { commitRange, type RepositoryView } from '../reach/mod.ts';
import type { AnswerRecorder, KeptAnswer, PlanInput } from './answers.ts';
import { coalesce } from './coalesce.ts';
import { compileFilter } from './filter.ts';
import { keptPieces } from './kept-pieces.ts';
import { layOut } from './layout.ts';
import { commitOf, FetchRefusal } from './negotiate.ts';
import { type PackUri, type PackUris, takeByUri } from './pack-uris.ts';
import { selectObjects } from './select.ts';
import type { SendPlace } from './send-room.ts';
import type { AnswerSink, FetchSettings } from './settings.ts';
import { packPieces } from './write-pack.ts';

/** After this much silence a client with a sideband is told that the work goes on. */
const KEEPALIVE_SECONDS = 5;

export interface ByUri {
  readonly uris: PackUris;
  /** Those that the client takes, such as `https`. */
  readonly protocols: readonly string[];
  /** The sections of the URIs and of the pack are begun with the answer, since it is known late which packs those are. */
  readonly framing: ResponseFraming;
}

interface UriPlanInput extends PlanInput {
  /** Set when the client may get packs from the store itself. */
  readonly byUri?: ByUri | undefined;
}

/** With its place among the answers that are sent. */
interface PlacedInput extends UriPlanInput {
  readonly place: SendPlace;
}

export interface SendInput extends UriPlanInput {
  readonly request: FetchCommon;
  /** Longest sideband payload, 0 for a bare pack. */
  readonly sidebandBytes: number;
}

/** The pack that a client lacks: chosen, laid out, then sent. Ends with a flush where there is a sideband. */
export async function sendPack(settings: FetchSettings, input: SendInput, sink: AnswerSink): Promise<void> {
  const { sidebandBytes, request, byUri } = input;
  // Before the pack's section has begun, nothing may come on its sideband.
  let begun = byUri === undefined;
  let silent = true;
  let writing = false;
  const keepalive =
    sidebandBytes === 0
      ? null
      : setInterval(() => {
          // What the client has not taken yet tells it as much.
          if (silent && begun && !writing) void sink.write(KEEPALIVE).catch(() => {});
          silent = true;
        }, KEEPALIVE_SECONDS * 1000);
  const progress = async (text: string): Promise<void> => {
    if (sidebandBytes > 0 && !request.noProgress) await sink.write(encodeSideband(BAND_PROGRESS, text, sidebandBytes));
  };
  let sent = 0;
  const { answers, room } = settings;
  const place = room.enter();
  let recorder: AnswerRecorder | null = null;
  try {
    // URIs are made for one client, and run out.
    const key = byUri === undefined ? await answers.keyOf(input) : null;
    const kept = key === null ? null : answers.get(key);
    recorder = key === null || kept !== null || room.isCrowded ? null : answers.recorder();
    const pack = kept === null ? await newPack(settings, { ...input, place }, recorder) : keptPack({ ...input, place }, kept);
    if (byUri !== undefined) {
      const { uris } = pack;
      await sink.write([
        ...(uris.length > 0 ? [encodePackfileUris(uris, byUri.framing), DELIM] : []),
        encodePackfileHeader(byUri.framing),
      ]);
      begun = true;
    }
    const count = pack.objectCount;
    await progress(`Enumerating objects: ${count}, done.\n`);
    if (count > 0) await progress(`Counting objects: 100% (${count}/${count}), done.\n`);
    for await (const piece of pack.pieces) {
      silent = false;
      await failpoint('fetch.mid-pack');
      sent += piece.length;
      writing = true;
      await sink.write(sidebandBytes === 0 ? piece : sidebandPieces(BAND_DATA, piece, sidebandBytes));
      writing = false;
    }
    // No delta is searched for here, and a stored entry that is copied is what git calls pack-reused.
    await progress(`Total ${count} (delta 0), reused 0 (delta 0), pack-reused ${count - pack.expandedCount()}\n`);
    if (sidebandBytes > 0) await sink.write(FLUSH);
    const answer = recorder?.finish({ objectCount: count, expandedCount: pack.expandedCount() });
    if (key !== null && answer) answers.keep(key, answer);
    settings.onFetch(input.common.length === 0 ? 'clone' : 'fetch', count, sent);
  } catch (error) {
    // The client learns that the pack is not whole; the log learns why.
    const isStatus = codeOf(error) === 'overloaded' && sink.started === false;
    if (sidebandBytes > 0 && begun && !input.signal.aborted && !isStatus) {
      await sink
        .write(encodeSideband(BAND_ERROR, `upload-pack: the pack could not be sent whole: ${shortOf(error)}\n`, sidebandBytes))
        .catch(() => {});
    }
    throw error;
  } finally {
    recorder?.giveUp();
    place.leave();
    if (keepalive !== null) clearInterval(keepalive);
  }
}

interface SentPack {
  readonly objectCount: number;
  readonly uris: readonly PackUri[];
  /** Each worth a write. */
  readonly pieces: AsyncIterable<Buffer>;
  /** Known once all pieces were taken. */
  readonly expandedCount: () => number;
}

async function newPack(settings: FetchSettings, input: PlacedInput, recorder: AnswerRecorder | null): Promise<SentPack> {
  let expanded = 0;
  const { layout, options, uris } = await planPack(input, settings.bitmapCommitsMin);
  const pieces = packPieces(input.view, layout, {
    ...options,
    forgetsPieces: true,
    recorder,
    onExpanded: () => void expanded++,
    expanded: settings.expanded,
  });
  return { objectCount: layout.objectCount, uris, pieces: coalesce(pieces), expandedCount: () => expanded };
}

function keptPack({ view, signal, place }: PlacedInput, kept: KeptAnswer): SentPack {
  const { objectCount, expandedCount } = kept;
  const { bytes, poolId } = view.pool;
  return {
    objectCount,
    uris: [],
    pieces: keptPieces(bytes, poolId, kept, { signal, pieceBytes: () => place.pieceBytes() }),
    expandedCount: () => expandedCount,
  };
}

/** What the client is told: of its own request the reason, of what is stored nothing, since errors name packs and objects of whole pools. */
function shortOf(error: unknown): string {
  return error instanceof FetchRefusal || codeOf(error) === 'overloaded'
    ? messageOf(error).replace(/\s+/g, ' ').slice(0, 200)
    : 'the server failed to read it';
}

/** What an answer is made of: the objects that the client lacks, chosen and laid out. */
export async function planPack(input: PlacedInput, bitmapCommitsMin: number) {
  const { view, wants, shallow, request, signal } = input;
  const { graph } = view.pool;
  const heads = wants.nodes.map((node) => commitOf(graph, node)).filter((node) => node >= 0);
  const cut =
    shallow.cut.size === 0
      ? {}
      : { cut: (node: number) => shallow.cut.has(node), hadCut: (node: number) => shallow.cut.has(node) };
  const range = commitRange(graph, [...heads, ...shallow.extraWants], input.common, cut);
  await input.place.choose(await choiceOf(input, range.commits.length), signal);
  const filter = await compileFilter(view, request.filter);
  const everything = await selectObjects({
    view,
    range,
    wanted: [...wants.nodes, ...heads, ...shallow.extraWants],
    autoTags: request.includeTag ? annotatedTags(view) : [],
    objects: wants.objects,
    filter,
    isShallow: shallow.isShallow,
    clientHas: input.common.length > 0,
    bitmapCommitsMin,
    signal,
  });
  const { byUri } = input;
  const { uris, rest: selection } =
    byUri === undefined || request.filter !== null
      ? { uris: [], rest: everything }
      : await takeByUri(byUri.uris, view, everything, byUri.protocols);
  const thin = request.thinPack && !shallow.isShallow && request.filter === null;
  // Copies in packs that are all of what the repository has, or has had, are its own.
  const layout = await layOut(wants.by, selection, {
    filter,
    ofsDelta: request.ofsDelta,
    // What comes by URI is there only after the rest has been read: nothing may be a delta of it.
    thinVerbatim: uris.length === 0 && (thin || (input.common.length === 0 && request.filter === null)),
    takesThin: thin,
    thinBases: thin ? selection.had : new OidMap(graph.oidBytes),
  });
  return { layout, options: { ofsDelta: request.ofsDelta, signal, pieceBytes: () => input.place.pieceBytes() }, uris };
}

/** The share of a repository's objects that the newest commit alone may reach. */
const SNAPSHOT_SHARE = 0.1;

/** How many objects will about be chosen one by one. A clone of all that a pool has is sent as whole packs, of which nothing is chosen. */
async function choiceOf({ view, common, shallow, request }: PlanInput, commits: number): Promise<number> {
  const { pool } = view;
  if (common.length === 0 && !shallow.isShallow && request.filter === null && !(await pool.isShared())) return 0;
  let stored = 0;
  for (const { objectCount } of pool.index.packs.values()) stored += objectCount;
  const share = commits / Math.max(1, pool.graph.size);
  return Math.ceil(stored * Math.min(1, Math.max(share, common.length === 0 ? SNAPSHOT_SHARE : 0)));
}

function annotatedTags(view: RepositoryView): number[] {
  const nodes: number[] = [];
  for (const ref of view.refs.values()) {
    if (ref.peeled === null || !ref.name.startsWith('refs/tags/')) continue;
    const node = view.pool.graph.find(ref.oid);
    if (node >= 0) nodes.push(node);
  }
  return nodes;
}
