import { type ObjectFormat, zeroOid } from '../object/mod.ts';
import { encodePkt, encodePkts, FLUSH } from '../pktline/mod.ts';
import type { AdvertisedHead, AdvertisedRef } from './types.ts';

/** What the server says of itself in every advertisement; neither value holds a space. */
export interface ServerIdentity {
  /** Such as `packhouse/1.0`. */
  readonly agent: string;
  /** Null: no session-id is offered. */
  readonly sessionId: string | null;
}

export interface UploadPackAdvertisement extends ServerIdentity {
  readonly version: 0 | 1;
  readonly format: ObjectFormat;
  /** Sorted bytewise, hidden ones left out. */
  readonly refs: Iterable<AdvertisedRef>;
  readonly head: AdvertisedHead;
}

export interface ReceivePackAdvertisement extends ServerIdentity {
  readonly version: 0 | 1;
  /**
   * `either`: there is no repository yet and the first push decides. Clients of SHA-256 find their format listed first, in a line of 64
   * zeros; clients of SHA-1 take the second. A client that may know SHA-1 alone is to be given `sha1`.
   */
  readonly format: ObjectFormat | 'either';
  /** Sorted bytewise, hidden ones left out. */
  readonly refs: Iterable<AdvertisedRef>;
}

export interface V2Advertisement extends ServerIdentity {
  readonly format: ObjectFormat;
  /** Whether clients may be told to get packs elsewhere. */
  readonly packfileUris?: boolean;
}

/**
 * The answer to `GET info/refs?service=git-upload-pack` in protocol v0 or v1 (gitprotocol-pack, "Reference Discovery"; gitprotocol-http,
 * "Smart Server Response"): HEAD first, peeled tags after their tags, capabilities on the first line.
 */
export function encodeUploadPackAdvertisement(input: UploadPackAdvertisement): Buffer {
  return encodeAdvertisement(
    'git-upload-pack',
    input.version,
    uploadPackLines(input),
    uploadPackCapabilities(input),
    zeroOid(input.format),
  );
}

/** The same for git-receive-pack: refs alone, neither HEAD nor peeled tags. */
export function encodeReceivePackAdvertisement(input: ReceivePackAdvertisement): Buffer {
  const zero = zeroOid(input.format === 'sha1' ? 'sha1' : 'sha256');
  return encodeAdvertisement(
    'git-receive-pack',
    input.version,
    receivePackLines(input.refs),
    receivePackCapabilities(input),
    zero,
  );
}

/**
 * The answer to `GET info/refs?service=git-upload-pack` in protocol v2 (gitprotocol-v2, "Capability Advertisement"): no service line.
 * As by git's default no `ref-in-want`, though it is served: a client that names refs gets nothing when one of them has been deleted since it was listed.
 */
export function encodeV2Advertisement(input: V2Advertisement): Buffer {
  const lines = [
    'version 2',
    `agent=${input.agent}`,
    'ls-refs=unborn',
    `fetch=shallow wait-for-done filter sideband-all${input.packfileUris ? ' packfile-uris' : ''}`,
    'server-option',
    `object-format=${input.format}`,
    ...(input.sessionId === null ? [] : [`session-id=${input.sessionId}`]),
    'object-info',
  ];
  return Buffer.concat([encodePkts(lines.map((line) => `${line}\n`)), FLUSH]);
}

function encodeAdvertisement(
  service: 'git-upload-pack' | 'git-receive-pack',
  version: 0 | 1,
  refLines: Iterable<string>,
  capabilities: string,
  zero: string,
): Buffer {
  const lines = function* (): Generator<string> {
    if (version === 1) yield 'version 1\n';
    let first = true;
    for (const line of refLines) {
      yield first ? `${line}\0${capabilities}\n` : `${line}\n`;
      first = false;
    }
    if (first) yield `${zero} capabilities^{}\0${capabilities}\n`;
  };
  return Buffer.concat([encodePkt(`# service=${service}\n`), FLUSH, encodePkts(lines()), FLUSH]);
}

function* uploadPackLines({ refs, head }: UploadPackAdvertisement): Generator<string> {
  if (head.oid !== null) yield `${head.oid} HEAD`;
  for (const ref of refs) {
    yield `${ref.oid} ${ref.name}`;
    if (ref.peeled !== null) yield `${ref.peeled} ${ref.name}^{}`;
  }
}

function* receivePackLines(refs: Iterable<AdvertisedRef>): Generator<string> {
  for (const ref of refs) yield `${ref.oid} ${ref.name}`;
}

const UPLOAD_PACK_CAPABILITIES =
  'multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not deepen-relative no-progress include-tag ' +
  'multi_ack_detailed allow-tip-sha1-in-want allow-reachable-sha1-in-want no-done';

function uploadPackCapabilities(input: UploadPackAdvertisement): string {
  const symref = input.head.oid === null ? [] : [`symref=HEAD:${input.head.target}`];
  return [
    UPLOAD_PACK_CAPABILITIES,
    ...symref,
    'filter',
    ...identity(input),
    `object-format=${input.format}`,
    `agent=${input.agent}`,
  ].join(' ');
}

const RECEIVE_PACK_CAPABILITIES = 'report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options';

function receivePackCapabilities(input: ReceivePackAdvertisement): string {
  const formats = input.format === 'either' ? ['sha256', 'sha1'] : [input.format];
  return [
    RECEIVE_PACK_CAPABILITIES,
    ...identity(input),
    ...formats.map((format) => `object-format=${format}`),
    `agent=${input.agent}`,
  ].join(' ');
}

function identity(input: ServerIdentity): string[] {
  return input.sessionId === null ? [] : [`session-id=${input.sessionId}`];
}
