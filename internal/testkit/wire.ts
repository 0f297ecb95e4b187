import { request } from 'node:http';

export interface WireAnswer {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: Buffer;
}

export interface WireRequest {
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

export const ZERO_OID = '0'.repeat(40);

/** One HTTP request on a connection of its own; an answer that comes before the body is sent is read all the same. */
export function wireRequest(url: string, { method = 'GET', headers = {}, body }: WireRequest = {}): Promise<WireAnswer> {
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'Content-Length': String(body.length) };
    const outgoing = request(url, { method, agent: false, headers: { ...length, ...headers } }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('error', reject);
      incoming.on('end', () =>
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: Buffer.concat(chunks) }),
      );
    });
    outgoing.on('error', reject);
    outgoing.setTimeout(120_000, () => outgoing.destroy(new Error(`no answer from ${url}`)));
    outgoing.end(body);
  });
}

/** A packet; a string is taken as bytes (latin1). */
export function packet(payload: string | Buffer): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload;
  return Buffer.concat([Buffer.from((bytes.length + 4).toString(16).padStart(4, '0')), bytes]);
}

export const FLUSH_PACKET = Buffer.from('0000');
export const DELIM_PACKET = Buffer.from('0001');

/** Payloads of packets; flush, delimiter and response end are null. Throws for what is no packet. */
export function readPackets(body: Buffer): (Buffer | null)[] {
  const packets: (Buffer | null)[] = [];
  for (let at = 0; at < body.length; ) {
    const digits = body.toString('latin1', at, at + 4);
    const length = /^[0-9a-f]{4}$/.test(digits) ? Number.parseInt(digits, 16) : -1;
    if (length === 3 || length < 0 || at + length > body.length) throw new Error(`no packet at ${at}: ${JSON.stringify(digits)}`);
    packets.push(length < 4 ? null : body.subarray(at + 4, at + length));
    at += Math.max(4, length);
  }
  return packets;
}

export type RefUpdate = readonly [oldOid: string, newOid: string, ref: string];

/** A push by hand. The pack is sent as it is; an empty buffer sends none. */
export function sendPush(
  repository: string,
  updates: readonly RefUpdate[],
  pack: Buffer,
  {
    capabilities = 'report-status side-band-64k',
    headers = {},
  }: { capabilities?: string; headers?: Record<string, string> } = {},
): Promise<WireAnswer> {
  const commands = updates.map(([from, to, ref], i) => packet(`${from} ${to} ${ref}${i === 0 ? `\0 ${capabilities}` : ''}`));
  return wireRequest(`${repository}/git-receive-pack`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/x-git-receive-pack-request', ...headers },
    body: Buffer.concat([...commands, FLUSH_PACKET, pack]),
  });
}

/** An upload-pack request by hand; with `version` 2 the body is a command. */
export function sendFetch(
  repository: string,
  body: Buffer,
  { version = 2, headers = {} }: { version?: number; headers?: Record<string, string> } = {},
): Promise<WireAnswer> {
  return wireRequest(`${repository}/git-upload-pack`, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/x-git-upload-pack-request',
      ...(version === 0 ? {} : { 'Git-Protocol': `version=${version}` }),
      ...headers,
    },
    body,
  });
}

/** The request of protocol version 2 that asks for objects. */
export function fetchCommand(
  wants: readonly string[],
  haves: readonly string[] = [],
  extra: readonly string[] = ['done'],
): Buffer {
  const lines = [
    ...extra.filter((line) => line !== 'done'),
    ...wants.map((oid) => `want ${oid}`),
    ...haves.map((oid) => `have ${oid}`),
  ];
  if (extra.includes('done')) lines.push('done');
  const args = lines.map((line) => packet(`${line}\n`));
  return Buffer.concat([packet('command=fetch\n'), DELIM_PACKET, ...args, FLUSH_PACKET]);
}

/** What a push was answered: status lines of the report without line ends, and what sideband 2 and 3 said. */
export interface PushAnswer {
  readonly status: number;
  readonly lines: readonly string[];
  readonly messages: string;
  readonly fatal: string;
}

export function readPushAnswer({ status, body }: WireAnswer): PushAnswer {
  if (status !== 200) return { status, lines: [], messages: '', fatal: body.toString('utf8') };
  const packets = readPackets(body);
  const band = (channel: number): Buffer =>
    Buffer.concat(packets.flatMap((line) => (line !== null && line[0] === channel ? [line.subarray(1)] : [])));
  const first = packets.find((line) => line !== null);
  const banded = first !== undefined && first !== null && first[0] !== undefined && first[0] <= 3;
  const report = banded ? readPackets(band(1)) : packets;
  const lines = report.flatMap((line) => (line === null ? [] : [line.toString('latin1').replace(/\n$/, '')]));
  return { status, lines, messages: band(2).toString('utf8'), fatal: band(3).toString('utf8') };
}

/** Why a push was refused, in any form that git shows its user; undefined when nothing says that it was. */
export function refusalOf(answer: WireAnswer): string | undefined {
  const { status, lines, fatal } = readPushAnswer(answer);
  if (status >= 400) return `HTTP ${status}: ${fatal.trim()}`;
  if (fatal !== '') return fatal.trim();
  return lines.find(
    (line) => line.startsWith('ERR ') || line.startsWith('ng ') || (line.startsWith('unpack ') && line !== 'unpack ok'),
  );
}
