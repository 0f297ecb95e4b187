import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { writeTogether } from './response.ts';

test('what is written together goes to the socket at once', async () => {
  const pieces = Array.from({ length: 100 }, (_, i) => Buffer.alloc(1 + i * 13, i));
  let writes = 0;
  const server = createServer((_incoming: IncomingMessage, outgoing: ServerResponse) => {
    outgoing.flushHeaders();
    const socket = outgoing.socket as unknown as Record<'_write' | '_writev', (...args: unknown[]) => void>;
    for (const name of ['_write', '_writev'] as const) {
      const plain = socket[name].bind(socket);
      socket[name] = (...args) => {
        writes++;
        plain(...args);
      };
    }
    writeTogether(outgoing, pieces);
    assert.equal(writes, 1);
    outgoing.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const [answer] = (await once(get({ port: (server.address() as AddressInfo).port }), 'response')) as [IncomingMessage];
  const got = Buffer.concat(await answer.toArray());
  server.close();
  assert.deepEqual(got, Buffer.concat(pieces));
});
