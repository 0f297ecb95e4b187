import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * What a line does with a request:
 * - `refuse` (503), `fail` (500), `hang-up`, `stall`: the service does not hear of it; in the last case nothing comes, and the connection stays;
 * - `damage-body`: a bit of its body turns on the way;
 * - `lose-answer`, `cut-answer`, `stall-answer`, `flip-answer`, `drip`: it is done, and the connection ends before its answer or within, or
 *   stays silent from the middle on, or the answer has another bit, or comes slowly.
 */
export type Trick =
  | 'refuse'
  | 'fail'
  | 'hang-up'
  | 'stall'
  | 'damage-body'
  | 'lose-answer'
  | 'cut-answer'
  | 'stall-answer'
  | 'flip-answer'
  | 'drip';

/** Told what a request is (`GET /bucket/key`): the trick to play on it. */
export type TrickFor = (what: string) => Trick | undefined;

const DRIP_PIECES = 20;
const DRIP_MS = 20;

async function readAll(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function turnBit(bytes: Buffer): void {
  const at = bytes.length >> 1;
  if (bytes.length > 0) bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
}

function pass(endpoint: string, incoming: IncomingMessage, body: Buffer): Promise<{ answer: IncomingMessage; body: Buffer }> {
  const { hostname, port } = new URL(endpoint);
  return new Promise((done, failed) => {
    const { method = 'GET', url = '/', headers } = incoming;
    const outgoing = request({ hostname, port, method, path: url, headers, agent: false }, (answer) => {
      readAll(answer).then((answered) => done({ answer, body: answered }), failed);
    });
    outgoing.on('error', failed).end(body);
  });
}

async function play(endpoint: string, trickFor: TrickFor, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const body = await readAll(incoming).catch(() => null);
  if (body === null) return;
  const trick = trickFor(`${incoming.method} ${incoming.url}`);
  if (trick === 'stall') return;
  if (trick === 'hang-up') return void outgoing.destroy();
  if (trick === 'refuse' || trick === 'fail') return void outgoing.writeHead(trick === 'fail' ? 500 : 503).end();
  if (trick === 'damage-body') turnBit(body);
  const passed = await pass(endpoint, incoming, body).catch(() => null);
  if (passed === null || trick === 'lose-answer') return void outgoing.destroy();
  const answer = passed.body;
  if (trick === 'flip-answer') turnBit(answer);
  outgoing.writeHead(passed.answer.statusCode ?? 500, passed.answer.headers);
  if (trick === 'cut-answer') return void outgoing.write(answer.subarray(0, answer.length >> 1), () => outgoing.destroy());
  if (trick === 'stall-answer') return void outgoing.write(answer.subarray(0, answer.length >> 1));
  if (trick === 'drip') {
    const step = Math.max(1, Math.ceil(answer.length / DRIP_PIECES));
    for (let at = 0; at < answer.length && !outgoing.destroyed; at += step) {
      outgoing.write(answer.subarray(at, at + step));
      await sleep(DRIP_MS);
    }
    return void outgoing.end();
  }
  outgoing.end(answer);
}

/** A line to an HTTP service on loopback that plays tricks on requests; `run` is given its address. */
export async function withFaultyLine(
  endpoint: string,
  trickFor: TrickFor,
  run: (endpoint: string) => Promise<void>,
): Promise<void> {
  const server = createServer((incoming, outgoing) => {
    play(endpoint, trickFor, incoming, outgoing).catch(() => outgoing.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await run(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
}
