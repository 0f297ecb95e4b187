import { codeOf, failpoint, messageOf, PackhouseError } from '../base/mod.ts';
import type { Pack } from '../catalog/mod.ts';
import { type IncomingReader, type ReceivedPack, receivePack, unresolvedDeltas } from '../ingest/mod.ts';
import { KIND_COMMIT, oidLength } from '../object/mod.ts';
import { type ReceiveRequest, ReceiveRequestParser } from '../protocol/mod.ts';
import { checkConnectivity, proveReached, type RepositoryView } from '../reach/mod.ts';
import { BodyEnd } from './body-end.ts';
import { catalogCommand, chosenHead, rawOid } from './catalog-commands.ts';
import { checkDotFiles, compareDuplicates, incomingReader } from './check-received.ts';
import { chunkingOptions, publishOnChunks } from './chunk-source.ts';
import { folderConflicts, isZero, judgeCommands, type Verdict } from './judge-commands.ts';
import { OutsideBases } from './outside-bases.ts';
import { PackTags, peelTips } from './peel.ts';
import { type PlacedPack, placePack } from './place-pack.ts';
import { proveAgain, refuseIncomplete } from './prove-again.ts';
import { PushView } from './push-view.ts';
import { FAULT_TEXT, isFault, isMalformed, refusalOf } from './refusal.ts';
import { tellError, tellOfWait, tellUser, withKeepalive, writeReport } from './report.ts';
import type { AnswerSink, PushRequest, PushSettings } from './settings.ts';
import { unknownOlds } from './unknown-olds.ts';

/** What became of the incoming pack. */
interface Unpacked {
  /** On which it was proven. */
  readonly view: RepositoryView;
  readonly received: ReceivedPack;
  readonly reader: IncomingReader;
  readonly tags: PackTags;
  readonly based: boolean;
  readonly hasDuplicates: boolean;
  readonly warnings: readonly string[];
}

/**
 * A push, from the body of the request to the answer. The order of calls below is the story: read the commands, judge them, receive and
 * verify the pack, prove its links, give it a place, publish it with the refs in one transaction, and only then say `ok`.
 * A request that is none is answered by an error packet, as fetches are.
 * @throws `repository-not-found`; what the body throws
 */
export async function receivePush(
  configured: PushSettings,
  push: PushRequest,
  body: AsyncIterable<Buffer>,
  sink: AnswerSink,
): Promise<void> {
  let view = await configured.repositories.open(push.owner, push.name);
  if (view === null && !configured.createRepository)
    throw new PackhouseError('repository-not-found', `no repository ${push.owner}/${push.name}`);
  const chunks = body[Symbol.asyncIterator]();
  const parser = new ReceiveRequestParser({ format: view?.format ?? null, limits: configured.protocolLimits });
  let request: ReceiveRequest;
  try {
    request = await readRequest(chunks, parser);
    if (request.commands.length > 0) view ??= await createRepository(configured, push, request);
  } catch (error) {
    if (!isMalformed(error)) throw error;
    return tellError(parser.sideband, sink, messageOf(error));
  }
  if (view === null || request.commands.length === 0) return sink.end();

  // Decided once: a thin pack for the store is completed while it is received.
  const settings = configured.tail.isFull(view) ? { ...configured, tailBytesMax: 0 } : configured;
  const verdicts = judgeCommands(request.commands, view, settings);
  let unpacked: Unpacked | null = null;
  try {
    if (request.expectsPack) {
      const current = view;
      const pause = new BodyEnd(chunks);
      unpacked = await withKeepalive(
        request,
        sink,
        () => unpack(settings, push, current, request, verdicts, pause, parser.rest(), () => tellOfWait(request, sink)),
        () => pause.ended,
      );
    }
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal === null) throw error;
    const failed = isFault(error);
    if (failed) tellOfFault(settings, push, request, error);
    for (const verdict of verdicts) verdict.error ??= 'unpacker error';
    settings.onPush(failed ? 'failed' : 'refused', 0, 0, 'none');
    await tellUser(request, sink, [`error: ${refusal}`]);
    return writeReport(request, sink, refusal, verdicts);
  }
  try {
    await publishAndReport(settings, push, request, sink, unpacked?.view ?? view, verdicts, unpacked);
  } finally {
    await unpacked?.received.dispose();
  }
}

async function publishAndReport(
  settings: PushSettings,
  push: PushRequest,
  request: ReceiveRequest,
  sink: AnswerSink,
  view: RepositoryView,
  verdicts: readonly Verdict[],
  unpacked: Unpacked | null,
): Promise<void> {
  let tier: PackTier;
  try {
    await failpoint('push.verified');
    tier = await withKeepalive(request, sink, () => publish(settings, push, request, view, verdicts, unpacked));
  } catch (error) {
    if (!isFault(error)) throw error;
    tellOfFault(settings, push, request, error);
    for (const verdict of verdicts) verdict.error ??= 'failed to update ref';
    settings.onPush('failed', 0, 0, 'none');
    await tellUser(request, sink, [`error: ${FAULT_TEXT}`]);
    return writeReport(request, sink, 'ok', verdicts);
  }
  const refused = verdicts.filter((verdict) => verdict.error !== null).length;
  const result = refused === 0 ? 'ok' : refused < verdicts.length ? 'partial' : 'refused';
  const pack = unpacked?.received.pack;
  settings.onPush(result, pack?.objectCount ?? 0, pack?.lengthBytes ?? 0, tier);
  if (!request.quiet) await tellUser(request, sink, unpacked?.warnings ?? []);
  await writeReport(request, sink, 'ok', verdicts);
}

/** Clients that want no report take an answer for success: they get none. */
function tellOfFault(settings: PushSettings, { requestId }: PushRequest, { reportStatus }: ReceiveRequest, error: unknown): void {
  if (reportStatus === 0) throw error;
  settings.onFault?.(error, requestId);
}

async function readRequest(chunks: AsyncIterator<Buffer>, parser: ReceiveRequestParser): Promise<ReceiveRequest> {
  for (;;) {
    const { value, done } = await chunks.next();
    if (done) parser.end();
    const request = parser.push(value);
    if (request !== null) return request;
  }
}

async function createRepository(settings: PushSettings, push: PushRequest, request: ReceiveRequest): Promise<RepositoryView> {
  try {
    await settings.catalog.createRepository({ owner: push.owner, name: push.name, format: request.format, private: false });
  } catch (error) {
    // Another first push was faster: this one goes on into its repository.
    if (codeOf(error) !== 'repository-exists') throw error;
  }
  await failpoint('push.repository-created');
  const view = await settings.repositories.open(push.owner, push.name);
  if (view === null)
    throw new PackhouseError('repository-not-found', `repository ${push.owner}/${push.name} was deleted meanwhile`);
  if (view.format !== request.format) {
    throw new PackhouseError('object-format', `the repository was created with ${view.format} meanwhile`);
  }
  return view;
}

/** Receives the pack and proves what it links to; refuses the commands whose history would be incomplete. @throws PackError */
async function unpack(
  settings: PushSettings,
  push: PushRequest,
  before: RepositoryView,
  request: ReceiveRequest,
  verdicts: readonly Verdict[],
  chunks: AsyncIterator<Buffer>,
  rest: Buffer,
  onWait: () => void,
): Promise<Unpacked> {
  const { signal } = push;
  const pushView = new PushView(settings.repositories, push, before);
  const bases = new OutsideBases(pushView, settings.packLimits.deltaObjectBytesMax, signal);
  const received = await bases.guard(() =>
    receivePack(chunks, rest, {
      format: before.format,
      limits: settings.packLimits,
      severities: settings.severities,
      detectCollisions: settings.detectCollisions,
      memoryBytesMax: settings.memoryBytesMax,
      ...(settings.spoolFolder === undefined ? {} : { spoolFolder: settings.spoolFolder }),
      thinBytesMax: settings.tailBytesMax,
      readBase: (oid) => bases.read(oid),
      chunking: chunkingOptions(settings, before.pool.poolId, bases),
      ...(settings.memory === undefined ? {} : { memory: settings.memory }),
      ...(settings.makeRoom === undefined ? {} : { makeRoom: settings.makeRoom }),
      onWait,
      signal,
    }),
  );
  try {
    const view = await pushView.now();
    const reader = incomingReader(received, view);
    const links = await checkConnectivity(view, received.pack, received.trees);
    // A base outside what this repository reaches is answered like one that exists nowhere.
    if (links.missingBases.size > 0) throw unresolvedDeltas();
    const warnings = await checkDotFiles(received, reader, view, settings.severities);
    const hasDuplicates = await compareDuplicates(received, reader, view);
    await refuseIncomplete(request, verdicts, received, reader, links.missing);
    const tags = new PackTags(received.pack.graph, view.format);
    return {
      view,
      received,
      reader,
      tags,
      based: links.based,
      hasDuplicates,
      warnings: [...received.pack.warnings, ...warnings],
    };
  } catch (error) {
    await received.dispose();
    throw error;
  }
}

/** Commands whose new value did not come with the pack must name what the repository reaches; branches must name commits. */
async function judgeTips(
  view: RepositoryView,
  verdicts: readonly Verdict[],
  reader: IncomingReader | null,
  received: ReceivedPack | null,
): Promise<void> {
  const stored = verdicts.filter(
    ({ error, command }) => error === null && !isZero(command.new) && !isIncoming(command.new, reader),
  );
  const oids = Buffer.concat(stored.map(({ command }) => Buffer.from(command.new, 'hex')));
  const proven = stored.length === 0 ? new Uint8Array(0) : await proveReached(view, oids);
  stored.forEach((verdict, i) => {
    if (proven[i] === 0) verdict.error = 'missing necessary objects';
  });
  for (const verdict of verdicts) {
    const { command } = verdict;
    if (verdict.error !== null || isZero(command.new) || !command.ref.startsWith('refs/heads/')) continue;
    const oid = Buffer.from(command.new, 'hex');
    const row = reader?.row(oid) ?? -1;
    const node = view.pool.graph.find(oid);
    const isCommit = row >= 0 ? received!.pack.kinds[row] === KIND_COMMIT : node >= 0 && view.pool.graph.isCommit(node);
    if (!isCommit) verdict.error = 'failed to update ref';
  }
}

function isIncoming(hex: string, reader: IncomingReader | null): boolean {
  return reader !== null && reader.row(Buffer.from(hex, 'hex')) >= 0;
}

type PackTier = 'tail' | 'store' | 'none';

/** How often a push is proven anew when objects of its pool are condemned between its proof and its commit. */
const PROOFS_MAX = 4;

/** Publishes what was proven; when something was condemned meanwhile, what is proven anew. Where the pack went. */
async function publish(
  settings: PushSettings,
  push: PushRequest,
  request: ReceiveRequest,
  view: RepositoryView,
  verdicts: readonly Verdict[],
  unpacked: Unpacked | null,
): Promise<PackTier> {
  let [current, proven] = [view, unpacked];
  for (let proofs = 1; ; proofs++) {
    try {
      return await publishOnce(settings, push, request, current, verdicts, proven);
    } catch (error) {
      const code = codeOf(error);
      if (code !== 'epoch-moved' && code !== 'chunks-moved') throw error;
      // Chunks that were found in the pool and are gone cannot be proven again: the client sends the push anew.
      if (proofs === PROOFS_MAX || code === 'chunks-moved') {
        for (const verdict of verdicts) verdict.error ??= 'failed to update ref';
        return 'none';
      }
      const { view: fresh, based } = await proveAgain(settings, push, request, current, verdicts, proven);
      current = fresh;
      if (proven !== null) proven = { ...proven, view: fresh, based };
    }
  }
}

/**
 * Places the pack and publishes it with the commands that still stand; sets the verdicts of those that do not. Where the pack went.
 * @throws PackhouseError `epoch-moved`: nothing was published
 */
async function publishOnce(
  settings: PushSettings,
  push: PushRequest,
  request: ReceiveRequest,
  view: RepositoryView,
  verdicts: readonly Verdict[],
  unpacked: Unpacked | null,
): Promise<PackTier> {
  await judgeTips(view, verdicts, unpacked?.reader ?? null, unpacked?.received ?? null);
  if (request.atomic) judgeAtomic(verdicts);
  const standing = verdicts.filter((verdict) => verdict.error === null);
  if (standing.length === 0) return 'none';
  const placed =
    unpacked === null || unpacked.received.pack.objectCount === 0
      ? null
      : await place(settings, view, standing, unpacked, push.signal);
  let published = false;
  try {
    const peeled = await peelTips(
      view,
      standing.map(({ command }) => command.new),
      unpacked?.tags ?? null,
    );
    const unknown = await unknownOlds(
      settings.catalog,
      view,
      standing.map(({ command }) => command),
    );
    await failpoint('push.placed');
    await settings.beforePublish?.();
    const statuses = await publishOnChunks(
      settings.catalog,
      {
        repositoryId: view.id,
        poolId: view.pool.poolId,
        atomic: request.atomic,
        commands: standing.map(({ command }, i) => catalogCommand(command, unknown, peeled[i]!)),
        head: chosenHead(view, standing),
        actor: push.actor,
        requestId: push.requestId,
        options: request.pushOptions,
        pack: placed?.pack ?? null,
        sweepEpoch: view.sweepEpoch,
      },
      view.format,
    );
    const failed = statuses.some((status) => status !== 'ok');
    published = request.atomic ? !failed : statuses.includes('ok');
    await failpoint('push.after-commit');
    statuses.forEach((status, i) => {
      if (status !== 'ok') standing[i]!.error = 'failed to update ref';
      else if (failed && request.atomic) standing[i]!.error = 'atomic transaction failed';
    });
    if (published && placed !== null) remember(view, placed, !failed);
    return published && placed !== null ? placed.pack.place.kind : 'none';
  } finally {
    // What cannot be taken back now is left to its intent row.
    if (!published) await placed?.undo().catch(() => {});
  }
}

function place(
  settings: PushSettings,
  view: RepositoryView,
  standing: readonly Verdict[],
  unpacked: Unpacked,
  signal: AbortSignal,
): Promise<PlacedPack> {
  const { received, based, hasDuplicates, tags } = unpacked;
  const width = oidLength(view.format);
  const { sources } = received.pack;
  const tips = new Set(standing.map(({ command }) => command.new));
  let allReached = sources.length > 0 && (received.pack.bases.length === 0 || based);
  for (let at = 0; at < sources.length; at += width) {
    const hex = sources.toString('hex', at, at + width);
    if (!tips.has(hex) || !tags.isNode(hex)) allReached = false;
  }
  return placePack(
    received,
    { allReached, based, hasDuplicates, tips: allReached ? sources : Buffer.alloc(0) },
    standing.map(({ command }) => ({ name: command.ref, oldOid: rawOid(command.old), newOid: rawOid(command.new) })),
    view,
    settings,
    signal,
  );
}

function judgeAtomic(verdicts: readonly Verdict[]): void {
  const conflicting = folderConflicts(verdicts.map(({ command }) => command.ref));
  for (const verdict of verdicts) if (conflicting.has(verdict.command.ref)) verdict.error ??= 'failed to update ref';
  if (verdicts.every((verdict) => verdict.error === null)) return;
  for (const verdict of verdicts) verdict.error ??= 'atomic push failure';
}

/** What was just published is known here: nobody needs to load it. */
function remember(view: RepositoryView, placed: PlacedPack, allOk: boolean): void {
  const { pack } = placed;
  const published: Pack = {
    id: pack.id,
    tier: pack.place.kind,
    crateKey: pack.place.kind === 'store' ? pack.place.crateKey : null,
    extentOffset: 0,
    lengthBytes: pack.lengthBytes,
    objectCount: pack.objectCount,
    chunkedCount: pack.chunkedCount,
    checksum: pack.checksum,
    allReached: pack.allReached && allOk,
    based: pack.based,
    hasDuplicates: pack.hasDuplicates,
    tips: pack.tips,
    searched: false,
  };
  view.pool.remember(published, pack.blocks, pack.graph, pack.place.kind === 'tail' ? pack.place.bytes : null);
}
