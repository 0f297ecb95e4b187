import { once } from 'node:events';
import { createServer, connect as dial, type Server, type Socket } from 'node:net';

/**
 * What happens to one request of the frontend, a query or a COPY's end:
 * - `cut`: the connection is reset before PostgreSQL hears of it;
 * - `lose-answer`: PostgreSQL does it, and the connection is reset before its answer;
 * - `stall`: nothing is passed on any more in either direction, and nothing is closed: a connection that is half open;
 * - `stall-answer`: PostgreSQL does it, then as `stall`.
 */
export type QueryFault = 'cut' | 'lose-answer' | 'stall' | 'stall-answer';

/** Decides over the n-th request (from 1) of all connections since `watch`; `messages` are those that it consists of. */
export type QueryJudge = (n: number, messages: Buffer) => QueryFault | undefined;

/** Length of a message that begins with a type of one byte, its type and length included; -1 when too little is there. */
function messageBytes(buffer: Buffer, at: number): number {
  return buffer.length - at < 5 ? -1 : 1 + buffer.readUInt32BE(at + 1);
}

/** Ends of requests: a simple query, Sync, the end of a COPY. https://www.postgresql.org/docs/current/protocol-message-formats.html */
const ENDS = new Set(['Q', 'S', 'c']);
/** What comes before a Sync: Parse, Bind, Describe, Execute, Close. */
const PARTS = new Set(['P', 'B', 'D', 'E', 'C']);
const TOO_MANY = errorResponse('53300', 'sorry, too many clients already');
/** Ends of answers: ReadyForQuery, CopyInResponse. */
const ANSWERED = new Set(['Z', 'G']);

function errorResponse(sqlstate: string, message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${sqlstate}\0M${message}\0\0`);
  const head = Buffer.alloc(5, 'E');
  head.writeUInt32BE(4 + fields.length, 1);
  return Buffer.concat([head, fields]);
}

/** A server on the way to PostgreSQL that reads along, and lets requests come to grief. */
export class PostgresProxy {
  readonly #server: Server;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #pairs = new Set<Pair>();
  #judge: QueryJudge = () => undefined;
  #queries = 0;
  #bytes = 0;
  #cutAt = Number.POSITIVE_INFINITY;
  /** How many requests came to grief. */
  injected = 0;
  /** New connections are told meanwhile that there are too many. */
  refuses = false;

  private constructor(server: Server, target: { host: string; port: number }) {
    this.#server = server;
    this.#target = target;
    server.on('connection', (client) => {
      if (this.refuses)
        client
          .on('error', () => {})
          .resume()
          .end(TOO_MANY);
      else this.#pairs.add(new Pair(client, dial(this.#target), this, (pair) => this.#pairs.delete(pair)));
    });
  }

  /** `url` with the proxy in the place of its host and port. */
  static async start(url: string): Promise<{ readonly proxy: PostgresProxy; readonly url: string }> {
    const target = new URL(url);
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const proxy = new PostgresProxy(server, { host: target.hostname, port: Number(target.port || 5432) });
    const address = server.address() as { port: number };
    target.host = `127.0.0.1:${address.port}`;
    return { proxy, url: target.href };
  }

  /** Requests are counted and judged from here on. */
  watch(judge: QueryJudge = () => undefined): void {
    this.#queries = 0;
    this.#judge = judge;
  }

  /** The connection on which the n-th byte from clients comes since now is reset there: before it nothing is lost, after it all. */
  cutAtByte(n: number): void {
    this.#bytes = 0;
    this.#cutAt = n;
  }

  /** Bytes from clients since `cutAtByte`. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How much of a chunk may pass; less than all of it: then its connection is cut. */
  admit(lengthBytes: number): number {
    const left = this.#cutAt - this.#bytes;
    this.#bytes += lengthBytes;
    if (left > lengthBytes || left < 0) return lengthBytes;
    this.#cutAt = Number.POSITIVE_INFINITY;
    this.injected++;
    return left;
  }

  /** Requests since `watch`. */
  get queries(): number {
    return this.#queries;
  }

  judge(messages: Buffer): QueryFault | undefined {
    const fault = this.#judge(++this.#queries, messages);
    if (fault !== undefined) this.injected++;
    return fault;
  }

  /** Resets every connection there is. */
  cutAll(): void {
    for (const pair of [...this.#pairs]) pair.cut();
  }

  async stop(): Promise<void> {
    this.cutAll();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

/** One connection of a client, and the one to PostgreSQL. */
class Pair {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #proxy: PostgresProxy;
  readonly #onEnd: (pair: Pair) => void;
  #pending = Buffer.alloc(0);
  #answer = Buffer.alloc(0);
  #started = false;
  #stalled = false;
  /** What becomes of the answer to the request that is under way. */
  #fate: QueryFault | undefined;

  constructor(client: Socket, server: Socket, proxy: PostgresProxy, onEnd: (pair: Pair) => void) {
    this.#client = client;
    this.#server = server;
    this.#proxy = proxy;
    this.#onEnd = onEnd;
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', () => this.cut());
      socket.on('close', () => this.cut());
    }
    client.on('data', (chunk: Buffer) => this.#fromClient(chunk));
    server.on('data', (chunk: Buffer) => this.#fromServer(chunk));
  }

  cut(): void {
    this.#onEnd(this);
    for (const socket of [this.#client, this.#server]) {
      // A reset waits for a connection that is being made. Of one that is ending Node leaves the handle open when it fails (EINVAL), and spins.
      if (!socket.connecting && !socket.writableEnded) socket.resetAndDestroy();
      socket.destroy();
    }
  }

  #fromClient(chunk: Buffer): void {
    if (this.#stalled) return;
    this.#pending = Buffer.concat([this.#pending, chunk]);
    let at = 0;
    let from = 0;
    if (!this.#started) {
      // The first message has no type: its length comes first.
      if (this.#pending.length < 4 || this.#pending.length < this.#pending.readUInt32BE(0)) return;
      at = this.#pending.readUInt32BE(0);
      from = at;
      this.#started = true;
    }
    for (let length = messageBytes(this.#pending, at); length > 0 && at + length <= this.#pending.length; ) {
      const type = String.fromCharCode(this.#pending[at]!);
      at += length;
      length = messageBytes(this.#pending, at);
      if (!ENDS.has(type)) {
        if (!PARTS.has(type)) from = at;
        continue;
      }
      const fate = this.#proxy.judge(this.#pending.subarray(from, at));
      from = at;
      if (fate === 'cut') {
        this.cut();
        return;
      }
      if (fate === 'stall') {
        this.#stalled = true;
        return;
      }
      if (fate !== undefined) this.#fate = fate;
    }
    // Messages of a request go on together, so that whoever judges it has seen all of it.
    const passed = this.#proxy.admit(from);
    this.#server.write(this.#pending.subarray(0, passed), () => {
      if (passed < from) this.cut();
    });
    if (passed < from) this.#stalled = true;
    this.#pending = this.#pending.subarray(from);
  }

  #fromServer(chunk: Buffer): void {
    if (this.#stalled) return;
    if (this.#fate === undefined) return void this.#client.write(chunk);
    this.#answer = Buffer.concat([this.#answer, chunk]);
    let at = 0;
    for (let length = messageBytes(this.#answer, 0); length > 0 && at + length <= this.#answer.length; ) {
      const isReady = ANSWERED.has(String.fromCharCode(this.#answer[at]!));
      at += length;
      if (isReady) {
        this.#answered();
        return;
      }
      length = messageBytes(this.#answer, at);
    }
  }

  /** The answer is whole and goes no further. */
  #answered(): void {
    if (this.#fate === 'lose-answer') this.cut();
    else this.#stalled = true;
  }
}
