import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import { IdleWatch } from './idle-watch.ts';
import { GitResponse, writeTogether } from './response.ts';

test('what is written together goes to the socket at once', async (context) => {
  const pieces = Array.from({ length: 100 }, (_, i) => Buffer.alloc(1 + i * 13, i));
  let writes = 0;
  const server = createServer((_incoming: IncomingMessage, outgoing: ServerResponse) => {
    outgoing.flushHeaders();
    const socket = outgoing.socket as Required<Socket>;
    const calls = [context.mock.method(socket, '_write'), context.mock.method(socket, '_writev')];
    writeTogether(outgoing, pieces);
    writes = calls.reduce((sum, { mock }) => sum + mock.callCount(), 0);
    outgoing.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const [answer] = (await once(get({ port: (server.address() as AddressInfo).port }), 'response')) as [IncomingMessage];
  const got = Buffer.concat(await answer.toArray());
  server.close();
  assert.deepEqual(got, Buffer.concat(pieces));
  assert.equal(writes, 1);
});

/** Answers one request with `answer`, to a client that reads as `read` says. */
async function answered(
  answer: (response: GitResponse, socket: Socket) => Promise<void>,
  read: (answer: IncomingMessage) => Promise<void>,
  limitMs = 60_000,
): Promise<void> {
  const done = Promise.withResolvers<void>();
  const server = createServer((incoming, outgoing) => {
    const path = { answer: async () => {}, finishStreamed: async () => void outgoing.end() };
    const response = new GitResponse(outgoing, new IdleWatch(incoming, outgoing, limitMs), path, 'x/y');
    answer(response, outgoing.socket!).then(done.resolve, done.reject);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const request = get({ port: (server.address() as AddressInfo).port });
  request.on('error', () => {});
  const reading = once(request, 'response').then(([incoming]) => read(incoming as IncomingMessage));
  try {
    await done.promise;
    await reading;
  } finally {
    request.destroy();
    server.close();
  }
}

test('memory of what was written may be used again when its promise resolves, however slow the client', async () => {
  const lengths = [10, 40_000, 200_000, 6_000_000, 70_000, 3_000_000, 100, 100];
  const got: Buffer[] = [];
  await answered(
    async (response) => {
      const memory = Buffer.alloc(6_000_000);
      for (const [i, length] of lengths.entries()) {
        memory.fill(i + 1);
        const half = length >> 1;
        await response.write(i % 2 ? memory.subarray(0, length) : [memory.subarray(0, half), memory.subarray(half, length)]);
      }
      memory.fill(0);
      await response.end();
    },
    async (incoming) => {
      for await (const chunk of incoming) {
        got.push(chunk as Buffer);
        if (got.length % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
      }
    },
  );
  assert(Buffer.concat(got).equals(Buffer.concat(lengths.map((length, i) => Buffer.alloc(length, i + 1)))));
});

test('a client that takes nothing for the limit is left, though more is written meanwhile', async () => {
  await answered(
    async (response) => {
      const writing = assert.rejects(response.write(Buffer.alloc(50_000_000)), { code: 'client-gone' });
      const more = setInterval(() => void response.write(Buffer.alloc(5)).catch(() => {}), 50);
      await writing.finally(() => clearInterval(more));
    },
    async (incoming) => void incoming.pause(),
    300,
  );
});
