import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { codeOf } from '../base/mod.ts';
import { head, post, serviceWith, startServer, until } from './http-testing.ts';

test('drain: not ready, no new connections, the running request finishes, idle connections go', async () => {
  const { promise: go, resolve: release } = Promise.withResolvers<void>();
  let working = false;
  const server = await startServer(
    serviceWith({
      work: async (_body, sink) => {
        working = true;
        await go;
        await sink.write(Buffer.from('done'));
      },
    }),
  );
  const idle = connect(server.port, '127.0.0.1');
  idle.write('GET /livez HTTP/1.1\r\nHost: x\r\n\r\n');
  await new Promise((resolve) => idle.once('data', resolve));
  const idleClosed = new Promise((resolve) => idle.once('close', resolve));
  const answer = post(server.url, 'x');
  await until(() => working);
  let drained = false;
  const drain = server.server.drain().then(() => {
    drained = true;
  });
  assert.equal((await server.server.app.request('/readyz')).status, 503);
  assert.equal((await server.server.app.request('/livez')).status, 200);
  await idleClosed;
  await assert.rejects(post(server.url, 'x'));
  assert.equal(drained, false);
  release();
  assert.equal(await (await answer).text(), 'done');
  assert.equal((await answer).headers.get('connection'), 'close');
  await drain;
});

test('drain: while it waits for the balancer it says that it is not ready, and serves on, old connections and new', async () => {
  const server = await startServer(serviceWith(), { http: { drainDelayMs: 1_000 } });
  const kept = connect(server.port, '127.0.0.1');
  const ask = (path: string): Promise<string> => {
    const answer = new Promise<string>((resolve) => kept.once('data', (bytes) => resolve(bytes.toString())));
    kept.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    return answer;
  };
  assert.match(await ask('/readyz'), /^HTTP\/1.1 200 .*Connection: keep-alive/s);
  const unused = connect(server.port, '127.0.0.1');
  unused.write('GET /livez HTTP/1.1\r\nHost: x\r\n\r\n');
  await new Promise((resolve) => unused.once('data', resolve));
  const unusedClosed = new Promise((resolve) => unused.once('close', resolve));
  const keptClosed = new Promise((resolve) => kept.once('close', resolve));
  const drained = server.server.drain();
  assert.match(await ask('/readyz'), /^HTTP\/1.1 503 .*Connection: close/s);
  await keptClosed;
  const answer = await post(server.url, 'x');
  assert.equal(await answer.text(), 'x');
  assert.equal(answer.headers.get('connection'), 'close');
  assert.equal(unused.destroyed, false, 'the balancer may be about to use it');
  await drained;
  await unusedClosed;
  await assert.rejects(post(server.url, 'x'));
});

test('drain: a service whose client has gone is waited for, so that it can take back what it began', async () => {
  let undone = false;
  const { promise: working, resolve: began } = Promise.withResolvers<void>();
  const server = await startServer(
    serviceWith({
      work: async (body, _sink, { signal }) => {
        began();
        try {
          for await (const _ of body) signal.throwIfAborted();
        } finally {
          await new Promise((resolve) => setTimeout(resolve, 300));
          undone = true;
        }
      },
    }),
  );
  const client = connect(server.port, '127.0.0.1', () => client.write(`${head('receive-pack', 'Content-Length: 9')}x`));
  await working;
  client.destroy();
  await server.server.drain();
  assert.equal(undone, true);
});

test('drain: past the deadline the signal aborts, the body fails, and the connection is cut', async () => {
  const ends: unknown[] = [];
  const server = await startServer(
    serviceWith({
      work: async (body, _sink, { signal }) => {
        signal.addEventListener('abort', () => ends.push(codeOf(signal.reason)));
        try {
          for await (const _ of body);
        } catch (error) {
          ends.push(codeOf(error));
          throw error;
        }
      },
    }),
    { http: { drainTimeoutMs: 50 } },
  );
  const client = connect(server.port, '127.0.0.1', () => client.write(`${head('receive-pack', 'Content-Length: 9')}x`));
  client.on('error', () => {});
  let text = '';
  client.on('data', (chunk) => {
    text += chunk;
  });
  const closed = new Promise((resolve) => client.once('close', resolve));
  await new Promise((resolve) => setTimeout(resolve, 50));
  await server.server.drain();
  await closed;
  assert.deepEqual(ends, ['shutting-down', 'shutting-down']);
  assert.match(text, /^HTTP\/1.1 503 /);
});

test('drain: a service that ignores its signal does not hold the process', async () => {
  const server = await startServer(serviceWith({ work: () => new Promise(() => {}) }), { http: { drainTimeoutMs: 20 } });
  const answer = post(server.url, 'x');
  answer.catch(() => {});
  await until(() => server.lines.length >= 0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  await server.server.drain();
  await assert.rejects(answer);
});

test('listen: an address in use is an error, IPv6 has brackets', async () => {
  await using first = await startServer(serviceWith());
  await assert.rejects(startServer(serviceWith(), { http: { listen: `127.0.0.1:${first.port}` } }), { code: 'EADDRINUSE' });
});
