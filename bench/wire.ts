import { Agent, request } from 'node:http';
import { BAND_DATA } from '../internal/pktline/mod.ts';

/** What one request took, on the wire. */
export interface Answer {
  /** From the request's first byte to the answer's last. */
  readonly milliseconds: number;
  /** To the first byte of pack data; undefined where the answer has none. */
  readonly packMilliseconds: number | undefined;
  /** Objects that the pack says it holds. */
  readonly objects: number | undefined;
  readonly bytes: number;
  /** The beginning of the body. */
  readonly head: Buffer;
}

const HEAD_BYTES_MAX = 4096;
const ANSWER_MS_MAX = 600_000;
const PACK = Buffer.from('PACK');
const PACK_HEADER_BYTES = 12;

/** One keep-alive connection to a server, one request at a time. */
export class Connection {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** Throws when the status is not 200 or the answer of upload-pack does not end as a whole answer does. */
  async post(repository: string, service: 'git-upload-pack' | 'git-receive-pack', body: Buffer): Promise<Answer> {
    const url = `${this.#url}/${repository}/${service}`;
    const headers = {
      'Content-Type': `application/x-${service}-request`,
      Accept: `application/x-${service}-result`,
      'Content-Length': body.length,
      ...(service === 'git-upload-pack' ? { 'Git-Protocol': 'version=2' } : {}),
    };
    const start = performance.now();
    let packMilliseconds: number | undefined;
    let head: Buffer = Buffer.alloc(0);
    let tail = '';
    let bytes = 0;
    const status = await new Promise<number>((resolve, reject) => {
      const outgoing = request(url, { method: 'POST', agent: this.#agent, headers }, (incoming) => {
        incoming.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (head.length < HEAD_BYTES_MAX) {
            head = Buffer.concat([head, chunk.subarray(0, HEAD_BYTES_MAX)]);
            if (packMilliseconds === undefined && head.includes(PACK)) packMilliseconds = performance.now() - start;
          }
          tail = (chunk.length >= 4 ? '' : tail) + chunk.toString('latin1', Math.max(0, chunk.length - 4));
        });
        incoming.on('error', reject);
        incoming.on('end', () => resolve(incoming.statusCode ?? 0));
      });
      outgoing.on('error', reject);
      outgoing.setTimeout(ANSWER_MS_MAX, () => outgoing.destroy(new Error(`no answer from ${url}`)));
      outgoing.end(body);
    });
    const milliseconds = performance.now() - start;
    const whole = service === 'git-receive-pack' || tail.endsWith('0000');
    if (status !== 200 || !whole) throw new Error(`${url}: ${status}, ${bytes} bytes: ${head.toString('latin1', 0, 300)}`);
    return { milliseconds, packMilliseconds, objects: objectsIn(head), bytes, head };
  }

  close(): void {
    this.#agent.destroy();
  }
}

/**
 * The number of objects that the pack in the beginning of an answer says it holds: bytes 8 to 12 of channel 1 (gitformat-pack), which
 * need not be in one packet. Undefined where there is no pack.
 */
export function objectsIn(head: Buffer): number | undefined {
  let pack: Buffer = Buffer.alloc(0);
  for (let at = 0; at + 4 < head.length && pack.length < PACK_HEADER_BYTES; ) {
    const length = Number.parseInt(head.toString('latin1', at, at + 4), 16);
    if (!(length >= 0)) return undefined;
    if (length > 5 && head[at + 4] === BAND_DATA) pack = Buffer.concat([pack, head.subarray(at + 5, at + length)]);
    at += Math.max(4, length);
  }
  return pack.length < PACK_HEADER_BYTES || !pack.subarray(0, 4).equals(PACK) ? undefined : pack.readUInt32BE(8);
}
