import { createHmac, hash } from 'node:crypto';

/** Who signs. */
export interface SigningKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of keys that are lent for a while. */
  readonly sessionToken?: string | undefined;
}

/** Where objects are. */
export interface BucketAddress {
  /** `http://host:port` or `https://…` as the reader reaches it: its host is signed too. */
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  /** Bucket in the path, not in the host name. */
  readonly pathStyle: boolean;
}

interface SignInput extends SigningKey, BucketAddress {
  readonly key: string;
  readonly now: Date;
}

export interface PresignInput extends SignInput {
  readonly lifeSeconds: number;
}

export interface SignGetInput extends SignInput {
  /** Value of the header `Range`. */
  readonly range: string;
}

const ALGORITHM = 'AWS4-HMAC-SHA256';
const TERMINATOR = 'aws4_request';
/** What the service allows. */
const LIFE_SECONDS_MAX = 604_800;
/** A GET has no body. */
const NOTHING_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/**
 * A URL that lets whoever has it GET one object until its time is over: Signature Version 4 in the query ("Authenticating Requests: Using Query
 * Parameters" of the S3 API reference). Only the host is signed among the headers, so no range can be imposed: the object is readable whole.
 */
export function presignGet(input: PresignInput): string {
  if (!(input.lifeSeconds >= 1)) throw new RangeError(`a URL lives for a second at least, not ${input.lifeSeconds}`);
  const { protocol, host, path } = target(input);
  const { time, scope } = stampOf(input);
  const query = Object.entries({
    'X-Amz-Algorithm': ALGORITHM,
    'X-Amz-Credential': `${input.accessKeyId}/${scope}`,
    'X-Amz-Date': time,
    'X-Amz-Expires': String(Math.min(Math.floor(input.lifeSeconds), LIFE_SECONDS_MAX)),
    ...(input.sessionToken ? { 'X-Amz-Security-Token': input.sessionToken } : {}),
    'X-Amz-SignedHeaders': 'host',
  })
    .map(([name, value]) => `${escaped(name)}=${escaped(value)}`)
    .sort()
    .join('&');
  const request = ['GET', path, query, `host:${host}`, '', 'host', 'UNSIGNED-PAYLOAD'].join('\n');
  return `${protocol}//${host}${path}?${query}&X-Amz-Signature=${signature(input, request)}`;
}

/** A request that is signed, as it goes on the wire. */
export interface SignedGet {
  readonly protocol: string;
  /** With its port, unless that is the protocol's own. */
  readonly host: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * A GET for a range of an object: Signature Version 4 in a header ("Authenticating Requests: Using the
 * Authorization Header" of the S3 API reference).
 */
export function signGet(input: SignGetInput): SignedGet {
  const { protocol, host, path } = target(input);
  const { time, scope } = stampOf(input);
  const headers: Record<string, string> = {
    host,
    range: input.range,
    'x-amz-content-sha256': NOTHING_SHA256,
    'x-amz-date': time,
    ...(input.sessionToken ? { 'x-amz-security-token': input.sessionToken } : {}),
  };
  const names = Object.keys(headers).join(';');
  const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}`);
  const request = ['GET', path, '', ...lines, '', names, NOTHING_SHA256].join('\n');
  const credential = `${input.accessKeyId}/${scope}`;
  headers.authorization = `${ALGORITHM} Credential=${credential},SignedHeaders=${names},Signature=${signature(input, request)}`;
  return { protocol, host, path, headers };
}

/** Where requests for objects of a bucket go to. */
function target(input: BucketAddress & { readonly key: string }): { protocol: string; host: string; path: string } {
  const base = new URL(input.endpoint);
  const { bucket, key, pathStyle } = input;
  const folder = base.pathname.replace(/\/$/, '');
  return {
    protocol: base.protocol,
    host: pathStyle ? base.host : `${bucket}.${base.host}`,
    path: folder + [...(pathStyle ? [bucket] : []), ...key.split('/')].map((segment) => `/${escaped(segment)}`).join(''),
  };
}

function stampOf({ now, region }: SignInput): { readonly time: string; readonly scope: string } {
  const time = now.toISOString().replace(/[-:]|\.\d+/g, '');
  return { time, scope: `${time.slice(0, 8)}/${region}/s3/${TERMINATOR}` };
}

/** Of a canonical request. */
function signature(input: SignInput, request: string): string {
  const { time, scope } = stampOf(input);
  const text = [ALGORITHM, time, scope, hash('sha256', request)].join('\n');
  const key = scope.split('/').reduce<Buffer>((secret, part) => hmac(secret, part), Buffer.from(`AWS4${input.secretAccessKey}`));
  return hmac(key, text).toString('hex');
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

/** Everything but letters, digits and `-._~`, byte by byte. */
function escaped(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
