import { BAND_DATA, BAND_ERROR, encodePkt, encodePkts, FLUSH, PKT_PAYLOAD_BYTES_MAX } from '../pktline/mod.ts';
import type { AdvertisedHead, AdvertisedRef } from './types.ts';

/** How v2 response lines are framed: `sideband-all` puts each on band 1, errors on band 3 (gitprotocol-v2, "sideband-all"). */
export interface ResponseFraming {
  readonly sidebandAll: boolean;
}

const PLAIN: ResponseFraming = { sidebandAll: false };

/** An error packet, after which the connection is of no more use (gitprotocol-pack, "pkt-line"). A long message is cut. */
export function encodeError(message: string, framing: ResponseFraming = PLAIN): Buffer {
  const head = framing.sidebandAll ? String.fromCharCode(BAND_ERROR) : 'ERR ';
  const bytes = Buffer.from(message, 'utf8').toString('latin1');
  return encodePkt(head + bytes.slice(0, PKT_PAYLOAD_BYTES_MAX - head.length));
}

export type AckKind = 'common' | 'continue' | 'ready';

/** `ACK <oid>` with the word that multi_ack and multi_ack_detailed add (v0, v1). */
export function encodeAck(oid: string, kind: AckKind | null = null): Buffer {
  return encodePkt(kind === null ? `ACK ${oid}\n` : `ACK ${oid} ${kind}\n`);
}

/** `NAK` (v0, v1). */
export const NAK: Buffer = encodePkt('NAK\n');

export interface ShallowUpdate {
  /** New boundary commits. */
  readonly shallow: readonly string[];
  /** Boundary commits of the client whose parents it will get. */
  readonly unshallow: readonly string[];
}

/** The shallow section of v0 and v1, flush included; sent whenever a depth was asked for, even when nothing changes. */
export function encodeShallowUpdate(update: ShallowUpdate): Buffer {
  return Buffer.concat([encodePkts(shallowLines(update)), FLUSH]);
}

/**
 * Sections of a v2 fetch response. Each ends without its delimiter: the caller puts DELIM between sections and FLUSH, or the pack, at
 * the end. Their order is acknowledgments, shallow-info, wanted-refs, packfile-uris, packfile (gitprotocol-v2, "fetch").
 */
export function encodeShallowInfo(update: ShallowUpdate, framing: ResponseFraming): Buffer {
  return section('shallow-info', shallowLines(update), framing);
}

/** `wanted-refs`: the oids of the refs asked for by `want-ref`. */
export function encodeWantedRefs(
  refs: readonly { readonly name: string; readonly oid: string }[],
  framing: ResponseFraming,
): Buffer {
  return section(
    'wanted-refs',
    refs.map(({ name, oid }) => `${oid} ${name}\n`),
    framing,
  );
}

/** `acknowledgments`: the common oids, NAK when there is none; with `ready` a DELIM and the sections of the pack follow, else a FLUSH. */
export function encodeAcknowledgments(common: readonly string[], ready: boolean, framing: ResponseFraming): Buffer {
  const lines = common.length === 0 ? ['NAK\n'] : common.map((oid) => `ACK ${oid}\n`);
  return section('acknowledgments', ready ? [...lines, 'ready\n'] : lines, framing);
}

/** `packfile-uris`: packs that the client gets itself, by their trailers in hex. */
export function encodePackfileUris(
  packs: readonly { readonly checksum: string; readonly uri: string }[],
  framing: ResponseFraming,
): Buffer {
  return section(
    'packfile-uris',
    packs.map(({ checksum, uri }) => `${checksum} ${uri}\n`),
    framing,
  );
}

/** The line that opens the pack; the pack follows on the sideband, always with packets of up to 65520 bytes. */
export function encodePackfileHeader(framing: ResponseFraming): Buffer {
  return encodePkt(framed('packfile\n', framing));
}

export interface LsRefsAnswer {
  /** Sorted bytewise, hidden ones left out. */
  readonly refs: readonly AdvertisedRef[];
  readonly head: AdvertisedHead;
}

export interface LsRefsOptions {
  readonly peel: boolean;
  readonly symrefs: boolean;
  readonly unborn: boolean;
  /** Empty: all refs. */
  readonly refPrefixes: readonly string[];
}

/** The answer to ls-refs (gitprotocol-v2, "ls-refs"), flush included; time goes with the refs that match, not with those that are. */
export function encodeLsRefs(answer: LsRefsAnswer, options: LsRefsOptions): Buffer {
  return Buffer.concat([encodePkts(lsRefsLines(answer, options)), FLUSH]);
}

/** Lines of a piece of a long answer: some hundred KiB. */
const PIECE_LINES = 4_096;

/** The same answer in pieces, made as they are asked for: of a million refs it is 70 MB. */
export function* lsRefsPieces(answer: LsRefsAnswer, options: LsRefsOptions): Generator<Buffer> {
  let lines: string[] = [];
  for (const line of lsRefsLines(answer, options)) {
    if (lines.push(line) < PIECE_LINES) continue;
    yield encodePkts(lines);
    lines = [];
  }
  yield Buffer.concat([encodePkts(lines), FLUSH]);
}

function* lsRefsLines({ refs, head }: LsRefsAnswer, options: LsRefsOptions): Generator<string> {
  const prefixes = minimalPrefixes(options.refPrefixes);
  const symref = options.symrefs ? ` symref-target:${head.target}` : '';
  if (prefixes.some((prefix) => 'HEAD'.startsWith(prefix))) {
    if (head.oid !== null) yield `${head.oid} HEAD${symref}\n`;
    else if (options.unborn && options.symrefs) yield `unborn HEAD${symref}\n`;
  }
  for (const prefix of prefixes) {
    for (let i = lowerBound(refs, prefix); i < refs.length; i++) {
      const ref = refs[i] as AdvertisedRef;
      if (!ref.name.startsWith(prefix)) break;
      yield options.peel && ref.peeled !== null ? `${ref.oid} ${ref.name} peeled:${ref.peeled}\n` : `${ref.oid} ${ref.name}\n`;
    }
  }
}

/** Sorted, each prefix that another one covers left out, so that no ref matches twice; [''] for none. */
function minimalPrefixes(prefixes: readonly string[]): string[] {
  if (prefixes.length === 0) return [''];
  const kept: string[] = [];
  for (const prefix of [...prefixes].sort(byBytes)) {
    const last = kept.at(-1);
    if (last === undefined || !prefix.startsWith(last)) kept.push(prefix);
  }
  return kept;
}

/** Binary strings hold one byte a char, so comparing chars compares bytes. */
function byBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function lowerBound(refs: readonly AdvertisedRef[], name: string): number {
  let low = 0;
  let high = refs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((refs[middle] as AdvertisedRef).name < name) low = middle + 1;
    else high = middle;
  }
  return low;
}

export interface ObjectInfo {
  readonly oid: string;
  /** Null: the object is not there. */
  readonly sizeBytes: number | null;
}

/** The answer to object-info (gitprotocol-v2, "object-info"), flush included; without oids it is empty. */
export function encodeObjectInfo(infos: readonly ObjectInfo[], options: { readonly size: boolean }): Buffer {
  const lines = infos.map(({ oid, sizeBytes }) => (options.size ? `${oid} ${sizeBytes ?? ''}` : oid));
  if (lines.length > 0 && options.size) lines.unshift('size');
  return Buffer.concat([encodePkts(lines), FLUSH]);
}

function* shallowLines(update: ShallowUpdate): Generator<string> {
  for (const oid of update.shallow) yield `shallow ${oid}`;
  for (const oid of update.unshallow) yield `unshallow ${oid}`;
}

function section(name: string, lines: Iterable<string>, framing: ResponseFraming): Buffer {
  const all = function* (): Generator<string> {
    yield framed(`${name}\n`, framing);
    for (const line of lines) yield framed(line, framing);
  };
  return encodePkts(all());
}

function framed(line: string, framing: ResponseFraming): string {
  return framing.sidebandAll ? String.fromCharCode(BAND_DATA) + line : line;
}
