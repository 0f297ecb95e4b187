import { connect, type Socket } from 'node:net';
import { BAND_DATA, FLUSH } from '../internal/pktline/mod.ts';
import { AnswerReader } from './answer-reader.ts';

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
  readonly #url: URL;
  #socket: Socket | null = null;

  constructor(url: string) {
    this.#url = new URL(url);
  }

  /** Throws when the status is not 200 or the answer of upload-pack does not end as a whole answer does. */
  async post(repository: string, service: 'git-upload-pack' | 'git-receive-pack', body: Buffer): Promise<Answer> {
    const path = `/${repository}/${service}`;
    const head = [
      `POST ${path} HTTP/1.1`,
      `Host: ${this.#url.host}`,
      `Content-Type: application/x-${service}-request`,
      `Accept: application/x-${service}-result`,
      `Content-Length: ${body.length}`,
      ...(service === 'git-upload-pack' ? ['Git-Protocol: version=2'] : []),
      '\r\n',
    ].join('\r\n');
    const request = Buffer.concat([Buffer.from(head, 'latin1'), body]);
    const socket = this.#socket ?? (await this.#open());
    const seen = new Seen();
    const start = performance.now();
    const status = await exchange(socket, request, (bytes) => seen.take(bytes, start));
    const milliseconds = performance.now() - start;
    const whole = service === 'git-receive-pack' || seen.tail.subarray(-4).equals(FLUSH);
    const { packMilliseconds, bytes, head: beginning } = seen;
    if (status !== 200 || !whole) throw new Error(`${path}: ${status}, ${bytes} bytes: ${beginning.toString('latin1', 0, 300)}`);
    return { milliseconds, packMilliseconds, objects: objectsIn(beginning), bytes, head: beginning };
  }

  close(): void {
    this.#socket?.destroy();
  }

  #open(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: this.#url.hostname, port: Number(this.#url.port), noDelay: true });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        // One that waits may be closed by the server: the next request opens another.
        socket.on('error', () => socket.destroy());
        socket.on('close', () => {
          if (this.#socket === socket) this.#socket = null;
        });
        socket.setTimeout(ANSWER_MS_MAX, () => socket.destroy());
        this.#socket = socket;
        resolve(socket);
      });
    });
  }
}

/** Sends a request; resolves with the status when the answer is whole. */
function exchange(socket: Socket, request: Buffer, onBody: (bytes: Buffer) => void): Promise<number> {
  return new Promise((resolve, reject) => {
    const reader = new AnswerReader(onBody);
    const end = (error: Error | null): void => {
      socket.off('data', onData);
      socket.off('close', onClose);
      if (error === null) resolve(reader.status);
      else {
        socket.destroy();
        reject(error);
      }
    };
    const onData = (chunk: Buffer): void => {
      try {
        reader.take(chunk);
        if (reader.isWhole) end(null);
      } catch (error) {
        end(error as Error);
      }
    };
    const onClose = (): void => end(new Error('the connection ended before the answer'));
    socket.on('data', onData);
    socket.on('close', onClose);
    socket.write(request);
  });
}

/** What is looked at of a body that goes by. */
class Seen {
  packMilliseconds: number | undefined;
  bytes = 0;
  head: Buffer = Buffer.alloc(0);
  tail: Buffer = Buffer.alloc(0);

  take(chunk: Buffer, start: number): void {
    this.bytes += chunk.length;
    if (this.head.length < HEAD_BYTES_MAX) {
      this.head = Buffer.concat([this.head, chunk.subarray(0, HEAD_BYTES_MAX)]);
      if (this.packMilliseconds === undefined && this.head.includes(PACK)) this.packMilliseconds = performance.now() - start;
    }
    this.tail = chunk.length >= FLUSH.length ? chunk : Buffer.concat([this.tail.subarray(-FLUSH.length), chunk]);
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
