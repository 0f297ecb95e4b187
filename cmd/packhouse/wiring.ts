import { createAuthorizer } from '../../internal/auth/mod.ts';
import { type Logger, MemoryBudget, messageOf, PackhouseError } from '../../internal/base/mod.ts';
import { catalogFaultOf, openCatalog } from '../../internal/catalog/mod.ts';
import { type ChunkingParameters, FastCdcCutter } from '../../internal/chunking/mod.ts';
import type { Config } from '../../internal/config/mod.ts';
import { AnswerCache, advertise, type FetchSettings, PackUris, SendRoom, serveFetch } from '../../internal/fetch/mod.ts';
import { createHttpServer, createMetrics, type GitService, type Metrics } from '../../internal/http/mod.ts';
import { DEFAULT_PACK_LIMITS, type PackLimits, prepareWorker, removeStaleSpools } from '../../internal/ingest/mod.ts';
import { severitiesWith } from '../../internal/object/mod.ts';
import { ByteCache, type DiskCache, PackBytes } from '../../internal/packread/mod.ts';
import type { PackStore } from '../../internal/packstore/mod.ts';
import type { ProtocolLimits } from '../../internal/protocol/mod.ts';
import { type PushSettings, receivePush, TailRoom } from '../../internal/push/mod.ts';
import { Repositories } from '../../internal/reach/mod.ts';
import { hiddenRefsOf } from './cli.ts';
import { runMaintenanceProcess } from './maintenance-process.ts';
import { makingRoom } from './make-room.ts';
import { openDiskCache, openStore } from './open-store.ts';
import { keepMemoryTrimmed } from './trim-memory.ts';

/** What strangers are told that they talk to: the generation of its behaviour on the wire, not its patch level. */
const AGENT = 'packhouse1';

/** What a small entry takes in memory beside its bytes: 230 were measured. */
const EXPANDED_ENTRY_BYTES = 256;

export interface ServerParts {
  readonly config: Config;
  readonly databaseUrl: string;
  readonly log: Logger;
  /** Aborted when the server is to drain and stop. */
  readonly signal: AbortSignal;
  readonly onListening: (url: string) => void;
  /** Goes around the store, under its checksums: tests let it go wrong there. */
  readonly aroundStore?: (store: PackStore) => PackStore;
}

/** Builds every client and room from the configuration, serves until the signal, and takes it all down again. */
export async function runServer({ config, databaseUrl, log, signal, onListening, aroundStore }: ServerParts): Promise<void> {
  const metrics = createMetrics({ processMetrics: true });
  const catalog = openCatalog({
    url: databaseUrl,
    poolMax: config.database.poolMax,
    statementTimeoutMs: config.database.statementTimeoutMs,
    log,
  });
  const store = openStore(config, {
    onRequest: (operation, bytes, seconds, ok) => metrics.storeRequest(operation, seconds, bytes, ok),
    log,
    ...(aroundStore && { around: aroundStore }),
  });
  let disk: DiskCache | undefined;
  try {
    await catalog.check();
    await store.check();
    const stale = await removeStaleSpools();
    if (stale.length > 0) log.info({ stale }, 'spool folders of killed processes removed');
    // A quarter for ranges of packs, the rest for indexes and commit graphs: those of 770,000 objects take 117 to 128 MiB, and are loaded anew
    // at each turn where they do not fit.
    disk = await openDiskCache(config, log, (hit) => metrics.cache('disk', hit));
    const bytes = new PackBytes(catalog, store, config.cache.bytesMax / 4, {
      onLookup: (hit) => metrics.cache('pack-bytes', hit),
      disk,
    });
    const repositories = new Repositories(catalog, bytes, (config.cache.bytesMax * 3) / 4);
    const protocolLimits = limitsOfProtocol(config);
    const hiddenRefs = hiddenRefsOf(config);
    const answers = new AnswerCache(config.cache.answerBytesMax, (hit) => metrics.cache('answers', hit));
    const expanded = new ByteCache(config.cache.expandedBytesMax, (hit) => metrics.cache('expanded', hit), EXPANDED_ENTRY_BYTES);
    const { bytesMax, answerBytesMax, expandedBytesMax } = config.cache;
    const makeRoom = makingRoom([bytes.cache, repositories, answers, expanded], bytesMax + answerBytesMax + expandedBytesMax);
    const push: PushSettings = {
      ...pushSettingsOf(config, { catalog, store, repositories, makeRoom }),
      onFault: (err, requestId) => log.error({ err, requestId }, 'a push failed and was told so'),
      onPush: (result, objects) => {
        metrics.push(result === 'refused' ? 'rejected' : result);
        metrics.objects('received', objects);
      },
    };
    const fetch: FetchSettings = {
      catalog,
      repositories,
      protocolLimits,
      agent: AGENT,
      requestBytesMax: config.limits.fetchRequestBytesMax,
      logRetentionSeconds: config.fetch.serveLogValues ? config.sweep.retentionMs / 1000 : 0,
      durationMsMax: config.fetch.maxDurationMs,
      bitmapCommitsMin: config.fetch.bitmapCommitsMin,
      packUris: config.fetch.packfileUris
        ? new PackUris({
            store,
            bytesMin: config.fetch.packfileUrisBytesMin,
            lifeSeconds: config.fetch.packfileUrisLifeMs / 1000,
          })
        : null,
      room: new SendRoom(
        config.limits.fetchMemoryBytesMax,
        new MemoryBudget({ bytesMax: config.limits.fetchMemoryBytesMax, waitersMax: config.limits.fetchesWaitingMax }),
      ),
      hiddenRefs,
      answers,
      expanded,
      onFetch: (kind, objects) => {
        metrics.fetch(kind === 'negotiation' ? 'empty' : kind);
        metrics.objects('sent', objects);
      },
    };
    const authorizer = createAuthorizer(catalog.kysely, { mode: config.auth.mode, anonymousRead: config.auth.anonymousRead });
    const service = gitService(push, fetch, authorizer, config, async () => {
      await Promise.all([catalog.check(), store.check()]);
    });
    const maintaining = new AbortController();
    const ends = AbortSignal.any([signal, maintaining.signal]);
    const maintenance = runMaintenanceProcess({ config, databaseUrl, log, metrics }, ends);
    const stopTrimming = keepMemoryTrimmed(log);
    const warmingUp = setTimeout(() => config.push.warmUp && void warmUp(push, log, signal), WARM_UP_AFTER_MS).unref();
    try {
      await serveUntil(signal, service, config, log, metrics, onListening);
    } finally {
      clearTimeout(warmingUp);
      stopTrimming();
      maintaining.abort();
      await maintenance;
    }
  } finally {
    await disk?.close();
    await store.close();
    await catalog.close();
  }
}

/** What a push works with, whoever pushes; nothing is counted. */
export function pushSettingsOf(
  config: Config,
  parts: Pick<PushSettings, 'catalog' | 'store' | 'repositories' | 'makeRoom'>,
): PushSettings {
  return {
    ...parts,
    packLimits: packLimitsOf(config),
    protocolLimits: limitsOfProtocol(config),
    severities: severitiesWith(config.fsck.severity),
    tailBytesMax: config.push.tailBytesMax,
    tail: new TailRoom(parts.catalog, config.tail.poolBytesMax, config.tail.bytesMax),
    memoryBytesMax: config.push.memoryBytesMax,
    memory: new MemoryBudget({ bytesMax: config.limits.pushMemoryBytesMax, waitersMax: config.limits.pushesWaitingMax }),
    chunking: chunkingOf(config),
    detectCollisions: config.push.sha1CollisionDetection,
    createRepository: config.push.createRepository,
    hiddenRefs: hiddenRefsOf(config),
    refsMax: config.limits.refsPerRepositoryMax,
    onPush: () => {},
  };
}

/** First requests after a start have the processor for themselves: beside a warm-up a clone took half as long again. */
const WARM_UP_AFTER_MS = 2000;

async function warmUp(settings: PushSettings, log: Logger, signal: AbortSignal): Promise<void> {
  const { packLimits: limits, severities, detectCollisions, chunking } = settings;
  await settings.catalog.warmUp().catch((error: unknown) => {
    log.warn({ error: messageOf(error) }, 'the catalog was not warmed up');
  });
  if (!signal.aborted) prepareWorker({ format: 'sha1', limits, severities, detectCollisions, chunking });
}

async function serveUntil(
  signal: AbortSignal,
  service: GitService,
  config: Config,
  log: Logger,
  metrics: Metrics,
  onListening: (url: string) => void,
): Promise<void> {
  const server = createHttpServer({ service, config, log, metrics });
  const { url } = await server.listen();
  onListening(url);
  if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  await server.drain();
}

function packLimitsOf({ limits }: Config): PackLimits {
  return {
    ...DEFAULT_PACK_LIMITS,
    objectsMax: limits.packObjectsMax,
    objectBytesMax: limits.objectBytesMax,
    treeBytesMax: limits.treeBytesMax,
    commitBytesMax: limits.commitBytesMax,
    deltaDepthMax: limits.deltaDepthMax,
    largeBytesFree: limits.largeBlobBytesMax,
  };
}

function chunkingOf({ chunking }: Config): ChunkingParameters {
  const { threshold: thresholdBytes, min: minBytes, avg: avgBytes, max: maxBytes } = chunking;
  // Sizes that cannot be cut with stop the server here, not the first large push.
  new FastCdcCutter({ minBytes, avgBytes, maxBytes });
  return { thresholdBytes, minBytes, avgBytes, maxBytes };
}

function gitService(
  push: PushSettings,
  fetch: FetchSettings,
  authorizer: ReturnType<typeof createAuthorizer>,
  config: Config,
  ready: () => Promise<void>,
): GitService {
  return {
    advertise: ({ owner, name }, service, context) =>
      withCatalog(() =>
        advertise(fetch, {
          owner,
          name,
          service,
          gitProtocol: context.gitProtocol,
          userAgent: context.userAgent,
          sessionId: config.http.sessionId ? context.requestId : null,
          mayCreate: config.push.createRepository,
          onFirstPush: () => prepareWorker(),
        }),
      ),
    receivePack({ owner, name }, body, sink, { principal, requestId, signal }) {
      const actor = principal.kind === 'token' ? principal.id : '';
      return withCatalog(() => receivePush(push, { owner, name, actor, requestId, signal }, body, sink));
    },
    uploadPack: ({ owner, name }, body, sink, { gitProtocol, signal }) =>
      withCatalog(() => serveFetch(fetch, { owner, name, gitProtocol, signal }, body, sink)),
    async authorize(credentials, { owner, name }, access) {
      if (config.auth.mode === 'none') return { kind: 'anonymous' };
      return withCatalog(async () => {
        const view = await push.repositories.open(owner, name);
        const visibility = view === null ? 'missing' : view.private ? 'private' : 'public';
        return authorizer.authorize(credentials, { owner, name, visibility }, access);
      });
    },
    ready,
  };
}

/** Faults of PostgreSQL and of the way to it have codes of many kinds: to whoever answers they are one. */
async function withCatalog<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (catalogFaultOf(error) === null) throw error;
    throw new PackhouseError('catalog-unavailable', `the catalog: ${messageOf(error)}`, {}, { cause: error });
  }
}

function limitsOfProtocol(config: Config): ProtocolLimits {
  return {
    commandsMax: config.limits.refsPerPushMax,
    commandBytesMax: config.limits.refsPerPushMax * 512,
    refNameBytesMax: config.limits.refNameBytesMax,
    pushOptionsMax: 1000,
    wantsMax: config.limits.wantsMax,
    havesMax: config.limits.havesMax,
    shallowsMax: config.limits.wantsMax,
    refPrefixesMax: 65_536,
    objectInfosMax: config.limits.wantsMax,
    serverOptionsMax: 1000,
    deepenNotMax: 1000,
    filterBytesMax: 65_536,
    filterDepthMax: 16,
  };
}
