import { PackhouseError } from '../base/mod.ts';
import {
  type AdvertisedHead,
  type AdvertisedRef,
  encodeLsRefs,
  encodeReceivePackAdvertisement,
  encodeUploadPackAdvertisement,
  encodeV2Advertisement,
  isHiddenRef,
  lsRefsPieces,
  type V2LsRefsRequest,
} from '../protocol/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';
import type { FetchSettings } from './settings.ts';

/** The refs of a repository as clients see them: without the hidden ones, oids in hex. Made once for each state. */
export function visibleRefs(view: RepositoryView, hiddenRefs: readonly string[]): readonly AdvertisedRef[] {
  return remembered(view, 'refs', () => {
    const refs: AdvertisedRef[] = [];
    for (const ref of view.refs.values()) {
      if (isHiddenRef(ref.name, hiddenRefs)) continue;
      refs.push({ name: ref.name, oid: ref.oid.toString('hex'), peeled: ref.peeled?.toString('hex') ?? null });
    }
    return refs;
  });
}

export function advertisedHead(view: RepositoryView): AdvertisedHead {
  return { target: view.head, oid: view.headOid()?.toString('hex') ?? null };
}

/** A value that is the same as long as the repository's state is. */
export function remembered<T>(view: RepositoryView, key: string, make: () => T): T {
  if (!view.memo.has(key)) view.memo.set(key, make());
  return view.memo.get(key) as T;
}

/** Encoded answers that are kept with a state: so many bytes, and twice what a line for each ref takes where that is more. */
const KEPT_BYTES_MAX = 8 << 20;
const KEPT_REF_BYTES = 160;
const KEPT_MAX = 32;

/** An encoded answer that is kept while there is room for it: strangers choose what they ask, and must not fill the memory with it. */
function kept(view: RepositoryView, key: string, make: () => Buffer): Buffer {
  const known = view.memo.get(key);
  if (known !== undefined) return known as Buffer;
  const made = make();
  if (view.memo.size < KEPT_MAX && view.memoBytes + made.length <= Math.max(KEPT_BYTES_MAX, view.refs.size * KEPT_REF_BYTES)) {
    view.memo.set(key, made);
  }
  return made;
}

/** The version that a `Git-Protocol` header asks for: the highest that is known here, 0 when there is none. */
export function protocolVersion(header: string): 0 | 1 | 2 {
  let version: 0 | 1 | 2 = 0;
  for (const item of header.split(':')) {
    if (item === 'version=2') version = 2;
    else if (item === 'version=1' && version === 0) version = 1;
  }
  return version;
}

/**
 * Whether a client knows that there are formats: git since 2.28. Others (libgit2 calls itself git/2.0) would not read a line of 64 zeros, which a
 * client of SHA-256 must find first.
 */
export function knowsSha256(userAgent: string): boolean {
  const [, major, minor] = /^git\/(\d+)\.(\d+)/.exec(userAgent) ?? [];
  return Number(major) > 2 || (Number(major) === 2 && Number(minor) >= 28);
}

/** `001f# service=git-receive-pack`, a line feed and a flush. */
const SERVICE_LINE_BYTES = 0x1f + 4;

export interface AdvertiseRequest {
  readonly owner: string;
  readonly name: string;
  readonly service: 'git-upload-pack' | 'git-receive-pack';
  readonly gitProtocol: string;
  readonly userAgent: string;
  /** Null: none is advertised. */
  readonly sessionId: string | null;
  /** Whether a push may create the repository: receive-pack then answers for one that does not exist. */
  readonly mayCreate: boolean;
  /** Called when somebody is about to push to a repository without refs: all of a history may come. */
  readonly onFirstPush?: () => void;
}

/** The body of `info/refs?service=…`. @throws PackhouseError `repository-not-found` */
export async function advertise(settings: FetchSettings, request: AdvertiseRequest): Promise<Buffer> {
  const view = await settings.repositories.open(request.owner, request.name);
  const version = protocolVersion(request.gitProtocol);
  const identity = { agent: settings.agent, sessionId: request.sessionId };
  if (request.service === 'git-receive-pack') {
    if (view === null && !request.mayCreate) throw notFound(request);
    if (view === null || view.refs.size === 0) request.onFirstPush?.();
    const lines = { version: version === 1 ? 1 : 0, ...identity } as const;
    const bytes =
      view === null
        ? encodeReceivePackAdvertisement({ ...lines, format: knowsSha256(request.userAgent) ? 'either' : 'sha1', refs: [] })
        : advertisement(view, request, version, () =>
            encodeReceivePackAdvertisement({ ...lines, format: view.format, refs: visibleRefs(view, settings.hiddenRefs) }),
          );
    // Receive-pack has no version 2; asked for it, git answers as for version 0, but without the service line.
    return version === 2 ? bytes.subarray(SERVICE_LINE_BYTES) : bytes;
  }
  if (view === null) throw notFound(request);
  if (version === 2) return encodeV2Advertisement({ format: view.format, packfileUris: settings.packUris !== null, ...identity });
  return advertisement(view, request, version, () =>
    encodeUploadPackAdvertisement({
      version,
      format: view.format,
      refs: visibleRefs(view, settings.hiddenRefs),
      head: advertisedHead(view),
      ...identity,
    }),
  );
}

/** Everyone who asks at a time shares the bytes, unless each has a session id of his own. */
function advertisement(view: RepositoryView, request: AdvertiseRequest, version: number, make: () => Buffer): Buffer {
  return request.sessionId === null ? kept(view, `${request.service} ${version === 1 ? 1 : 0}`, make) : make();
}

function notFound(request: { owner: string; name: string }): PackhouseError {
  return new PackhouseError('repository-not-found', `no repository ${request.owner}/${request.name}`);
}

/** From so many refs on an answer is made in pieces, and not kept. */
const PIECES_REFS_MIN = 100_000;

/** The answer to ls-refs; what git's clients ask for every time is kept. */
export function lsRefs(view: RepositoryView, settings: FetchSettings, request: V2LsRefsRequest): Iterable<Buffer> {
  const { peel, symrefs, unborn, refPrefixes } = request;
  const key = `ls-refs ${peel} ${symrefs} ${unborn} ${refPrefixes.join('\n')}`;
  const answer = { refs: visibleRefs(view, settings.hiddenRefs), head: advertisedHead(view) };
  if (answer.refs.length >= PIECES_REFS_MIN) return lsRefsPieces(answer, request);
  const make = (): Buffer => encodeLsRefs(answer, request);
  return [refPrefixes.length <= 8 ? kept(view, key, make) : make()];
}
