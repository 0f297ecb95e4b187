import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import { writeTogether } from './response.ts';

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
