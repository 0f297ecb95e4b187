import { createHmac, hash } from 'node:crypto';

/** Who signs. */
export interface SigningKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of keys that are lent for a while. */
  readonly sessionToken?: string | undefined;
}

export interface PresignInput extends SigningKey {
  /** `http://host:port` or `https://…` as the reader reaches it: its host is signed too. */
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  readonly key: string;
  /** Bucket in the path, not in the host name. */
  readonly pathStyle: boolean;
  readonly lifeSeconds: number;
  readonly now: Date;
}

const ALGORITHM = 'AWS4-HMAC-SHA256';
/** What the service allows. */
const LIFE_SECONDS_MAX = 604_800;

/**
 * A URL that lets whoever has it GET one object until its time is over: Signature Version 4 in the query ("Authenticating Requests: Using Query
 * Parameters" of the S3 API reference). Only the host is signed among the headers, so no range can be imposed: the object is readable whole.
 */
export function presignGet(input: PresignInput): string {
  const { endpoint, region, bucket, key, pathStyle, accessKeyId, secretAccessKey, sessionToken, now } = input;
  if (!(input.lifeSeconds >= 1)) throw new RangeError(`a URL lives for a second at least, not ${input.lifeSeconds}`);
  const base = new URL(endpoint);
  const host = pathStyle ? base.host : `${bucket}.${base.host}`;
  const folder = base.pathname.replace(/\/$/, '');
  const path = folder + [...(pathStyle ? [bucket] : []), ...key.split('/')].map((segment) => `/${escaped(segment)}`).join('');
  const time = `${now.toISOString().replace(/[-:]|\.\d+/g, '')}`;
  const scope = `${time.slice(0, 8)}/${region}/s3/aws4_request`;
  const query = Object.entries({
    'X-Amz-Algorithm': ALGORITHM,
    'X-Amz-Credential': `${accessKeyId}/${scope}`,
    'X-Amz-Date': time,
    'X-Amz-Expires': String(Math.min(Math.floor(input.lifeSeconds), LIFE_SECONDS_MAX)),
    ...(sessionToken ? { 'X-Amz-Security-Token': sessionToken } : {}),
    'X-Amz-SignedHeaders': 'host',
  })
    .map(([name, value]) => `${escaped(name)}=${escaped(value)}`)
    .sort()
    .join('&');
  const request = ['GET', path, query, `host:${host}`, '', 'host', 'UNSIGNED-PAYLOAD'].join('\n');
  const text = [ALGORITHM, time, scope, hash('sha256', request)].join('\n');
  const key4 = scope.split('/').reduce<Buffer>((secret, part) => hmac(secret, part), Buffer.from(`AWS4${secretAccessKey}`));
  return `${base.protocol}//${host}${path}?${query}&X-Amz-Signature=${hmac(key4, text).toString('hex')}`;
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

/** Everything but letters, digits and `-._~`, byte by byte. */
function escaped(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
