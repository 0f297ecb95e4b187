import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { codeOf } from '../base/mod.ts';
import type { ResponseSink } from './git-service.ts';
import { head, post, raw, reader, serviceWith, startServer, thrower, until } from './http-testing.ts';

/** 256 MiB in 256 KiB. */
const bomb = gzipSync(Buffer.alloc(256 << 20), { level: 9 });

test('a body shorter than its Content-Length is an error for the service and 400 for a client that listens', async () => {
  const { service, ends } = reader();
  await using server = await startServer(service);
  assert.match(
    await raw(server.port, `${head('receive-pack', 'Content-Length: 100')}short`, { halfClose: true }),
    /^HTTP\/1.1 400 /,
  );
  assert.deepEqual(ends, ['body-truncated']);
  const chunked = head('receive-pack', 'Transfer-Encoding: chunked');
  assert.match(await raw(server.port, `${chunked}5\r\nshort\r\n`, { halfClose: true }), /^HTTP\/1.1 400 /);
  assert.deepEqual(ends, ['body-truncated', 'body-truncated']);
  const gone = connect(server.port, '127.0.0.1', () => gone.write(`${head('receive-pack', 'Content-Length: 100')}short`));
  await until(() => server.lines.length === 2);
  setTimeout(() => gone.resetAndDestroy(), 30);
  await until(() => ends.length === 3);
  assert.ok(ends[2] === 'body-truncated' || ends[2] === 'client-gone', String(ends[2]));
});

test('broken chunking is 400, and the service hears of it', async () => {
  const { service, ends } = reader();
  await using server = await startServer(service);
  const chunked = head('receive-pack', 'Transfer-Encoding: chunked');
  for (const body of ['zz\r\n', '5\r\nshortXX\r\n0\r\n\r\n', '-1\r\n', 'fffffffffffffffff\r\n']) {
    assert.match(await raw(server.port, chunked, { later: [body] }), /^HTTP\/1.1 400 /, body);
  }
  assert.deepEqual(new Set(ends), new Set(['bad-request']));
  assert.equal(ends.length, 4);
});

test('smuggling: a length beside chunking, two lengths, another coding, a bare LF are refused and the connection closed', async () => {
  let served = 0;
  await using server = await startServer(
    serviceWith({
      work: async () => {
        served += 1;
      },
    }),
  );
  const inner = 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n';
  const tries = [
    head('upload-pack', 'Content-Length: 4', 'Transfer-Encoding: chunked'),
    head('upload-pack', 'Transfer-Encoding: chunked', 'Content-Length: 4'),
    head('upload-pack', 'Content-Length: 4', 'Content-Length: 5'),
    head('upload-pack', 'Content-Length: 4, 5'),
    head('upload-pack', 'Content-Length: +4'),
    head('upload-pack', 'Transfer-Encoding: gzip, chunked'),
    head('upload-pack', 'Transfer-Encoding: chunked, identity'),
    head('upload-pack', 'Transfer-Encoding: xchunked'),
    head('upload-pack', 'Transfer-Encoding : chunked'),
    head('upload-pack', 'X: a\n\nY: b'),
  ];
  for (const request of tries) {
    const text = await raw(server.port, `${request}0\r\n\r\n${inner}`, { halfClose: true });
    assert.match(text, /^HTTP\/1.1 400 /, request);
  }
  assert.equal(served, 0);
});

test('a gzip bomb stops at the cap, within bounded memory', async () => {
  const { service, ends, bytes } = reader();
  const cap = 32 << 20;
  await using server = await startServer(service, { limits: { fetchRequestBytesMax: cap } });
  const before = process.memoryUsage.rss();
  const answer = await post(server.url, bomb, { 'Content-Encoding': 'gzip' });
  assert.equal(answer.status, 413);
  assert.deepEqual(ends, ['too-large']);
  assert.ok(bytes() <= cap);
  const grown = process.memoryUsage.rss() - before;
  assert.ok(grown < 128 << 20, `${grown} bytes`);
});

test('a gzip bomb waits for a service that does not read', async () => {
  const rss: number[] = [];
  const { promise: go, resolve: release } = Promise.withResolvers<void>();
  await using server = await startServer(
    serviceWith({
      work: async (body) => {
        for await (const _ of body) {
          await go;
          break;
        }
      },
    }),
  );
  rss.push(process.memoryUsage.rss());
  const answer = post(server.url, bomb, { 'Content-Encoding': 'gzip' });
  await new Promise((wake) => setTimeout(wake, 300));
  rss.push(process.memoryUsage.rss());
  release();
  assert.equal((await answer).status, 200);
  assert.ok((rss[1] as number) - (rss[0] as number) < 64 << 20, rss.join(' '));
});

test('broken and cut gzip are told apart', async () => {
  const { service, ends } = reader();
  await using server = await startServer(service);
  const zipped = gzipSync(Buffer.alloc(10_000, 'abc'));
  for (const body of [
    zipped.subarray(0, 20),
    Buffer.from('not gzip at all'),
    Buffer.concat([zipped.subarray(0, 15), Buffer.alloc(40)]),
  ]) {
    assert.equal((await post(server.url, body, { 'Content-Encoding': 'gzip' })).status, 400);
  }
  assert.deepEqual(ends, ['body-truncated', 'bad-request', 'bad-request']);
});

test('a body over its cap is refused: at once when its length says so, else as it comes', async () => {
  const { service, ends, bytes } = reader();
  await using server = await startServer(service, { limits: { fetchRequestBytesMax: 1000 } });
  assert.equal((await post(server.url, Buffer.alloc(1000))).status, 200);
  assert.equal((await post(server.url, Buffer.alloc(1001))).status, 413);
  assert.equal(bytes(), 1000);
  const stream = new ReadableStream({
    start(controller) {
      for (let i = 0; i < 20; i++) controller.enqueue(Buffer.alloc(100));
      controller.close();
    },
  });
  assert.equal((await post(server.url, stream)).status, 413);
  assert.deepEqual(ends, ['end', 'too-large', 'too-large']);
});

test('a refused body is read before the answer, up to the limit; the connection then goes on', async () => {
  await using server = await startServer(serviceWith({ authorize: thrower('forbidden') }), { http: { drainBytesMax: 4 << 20 } });
  const big = Buffer.alloc(3 << 20);
  const next = 'GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
  const text = await raw(
    server.port,
    Buffer.concat([Buffer.from(head('receive-pack', `Content-Length: ${big.length}`)), big, Buffer.from(next)]),
  );
  assert.match(text, /^HTTP\/1.1 403 [\s\S]*told forbidden\nHTTP\/1.1 200 OK/);
});

test('a refused body past the limit: the answer still arrives, and the connection closes', async () => {
  await using server = await startServer(serviceWith({ authorize: thrower('forbidden') }), { http: { drainBytesMax: 1 << 20 } });
  const big = Buffer.alloc(64 << 20);
  const text = await raw(server.port, Buffer.concat([Buffer.from(head('receive-pack', `Content-Length: ${big.length}`)), big]));
  assert.match(text, /^HTTP\/1.1 403 [\s\S]*Connection: close[\s\S]*told forbidden\n$/);
});

test('a client that reads only after it has sent gets the answer to a body past the limit', async () => {
  await using server = await startServer(serviceWith({ authorize: thrower('forbidden') }), { http: { drainBytesMax: 8 << 20 } });
  const big = Buffer.alloc(14 << 20);
  const client = connect(server.port, '127.0.0.1');
  client.on('error', () => {});
  client.pause();
  client.write(head('receive-pack', `Content-Length: ${big.length}`));
  await new Promise((resolve) => client.write(big, resolve));
  let text = '';
  client.on('data', (chunk) => {
    text += chunk;
  });
  client.resume();
  await new Promise((resolve) => client.once('close', resolve));
  assert.match(text, /^HTTP\/1.1 403 [\s\S]*Connection: close[\s\S]*told forbidden\n$/);
});

test('a streamed answer to a body left unread past the limit closes the connection', { timeout: 8_000 }, async () => {
  const work = (_body: unknown, sink: ResponseSink) => sink.write(Buffer.alloc(100_000, 'y'));
  await using server = await startServer(serviceWith({ work }), { http: { drainBytesMax: 1024, idleTimeoutMs: 60_000 } });
  const text = await raw(server.port, head('receive-pack', 'Content-Length: 99999999') + 'x'.repeat(20_000));
  assert.match(text, /^HTTP\/1.1 200 [\s\S]*y\r\n0\r\n\r\n$/);
});

test('a service that reads the beginning of a body and answers leaves the connection usable', { timeout: 8_000 }, async () => {
  await using server = await startServer(
    serviceWith({
      work: async (body, sink) => {
        for await (const _ of body) break;
        await new Promise((wake) => setTimeout(wake, 50));
        await sink.write(Buffer.from('enough'));
      },
    }),
    { http: { idleTimeoutMs: 60_000 } },
  );
  const next = 'GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
  for (const bytes of [100, 100_000, 600_000, 640_000, 700_000, 5_000_000]) {
    const first = head('receive-pack', `Content-Length: ${bytes}`) + 'x'.repeat(bytes);
    const text = await raw(server.port, first, { later: [next], pauseMs: 150 });
    assert.match(text, /^HTTP\/1.1 200 [\s\S]*enoughHTTP\/1.1 200 OK/, String(bytes));
  }
});

test('a service that does not read is not flooded', async () => {
  const { promise: go, resolve: release } = Promise.withResolvers<void>();
  await using server = await startServer(
    serviceWith({
      work: async (body) => {
        for await (const _ of body) await go;
      },
    }),
  );
  const total = 64 << 20;
  let accepted = 0;
  const client = connect(server.port, '127.0.0.1', () => client.write(head('receive-pack', `Content-Length: ${total}`)));
  client.on('error', () => {});
  const piece = Buffer.alloc(1 << 20);
  const send = () => {
    while (accepted < total && client.write(piece)) accepted += piece.length;
    accepted += piece.length;
  };
  client.on('drain', send);
  client.on('connect', send);
  await new Promise((wake) => setTimeout(wake, 200));
  const stuckAt = client.bytesWritten - client.writableLength;
  assert.ok(stuckAt < 32 << 20, `${stuckAt} bytes were taken`);
  release();
  await new Promise((resolve) => client.once('data', resolve));
  client.destroy();
});

test('slow headers and silent connections are cut', async () => {
  await using server = await startServer(serviceWith(), { http: { idleTimeoutMs: 300 } });
  const drip = Array.from({ length: 40 }, (_, i) => `X-${i}: y\r\n`);
  const slow = await raw(server.port, 'GET /livez HTTP/1.1\r\nHost: x\r\n', { later: drip, pauseMs: 50 });
  assert.match(slow, /^HTTP\/1.1 408 /);
  assert.match(await raw(server.port, ''), /^(HTTP\/1.1 408 |$)/);
  const kept = await raw(server.port, 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.match(kept, /^HTTP\/1.1 200 /);
});

test('a body that stands still is 408; one that drips is too; a slow service is nobody’s fault', async () => {
  const { service, ends } = reader();
  await using server = await startServer(service, { http: { idleTimeoutMs: 200 } });
  assert.match(await raw(server.port, `${head('receive-pack', 'Content-Length: 100')}x`), /^HTTP\/1.1 408 /);
  const drip = Array.from({ length: 20 }, () => 'x');
  const dripped = await raw(server.port, head('receive-pack', 'Content-Length: 20', 'Connection: close'), {
    later: drip,
    pauseMs: 50,
  });
  assert.match(dripped, /^HTTP\/1.1 408 /);
  assert.deepEqual(ends, ['body-stalled', 'body-stalled']);

  await using slow = await startServer(
    serviceWith({
      work: async (body, sink) => {
        for await (const _ of body);
        await new Promise((wake) => setTimeout(wake, 700));
        await sink.write(Buffer.from('done'));
      },
    }),
    { http: { idleTimeoutMs: 200 } },
  );
  assert.equal(await (await post(slow.url, 'x')).text(), 'done');
});

test('a client that does not read its answer is cut; the write fails and the signal aborts', async () => {
  const ends: unknown[] = [];
  await using server = await startServer(
    serviceWith({
      work: async (_body, sink, { signal }) => {
        try {
          for (;;) await sink.write(Buffer.alloc(1 << 20));
        } catch (error) {
          ends.push(codeOf(error), signal.aborted, codeOf(signal.reason));
          throw error;
        }
      },
    }),
    { http: { idleTimeoutMs: 200 } },
  );
  const client = connect(server.port, '127.0.0.1', () => client.write(`${head('upload-pack', 'Content-Length: 1')}x`));
  client.on('error', () => {});
  client.pause();
  await until(() => ends.length > 0);
  assert.deepEqual(ends, ['client-gone', true, 'client-gone']);
  client.destroy();
});

test('a client that leaves in the middle aborts the work, and the server lives on', async () => {
  const ends: unknown[] = [];
  await using server = await startServer(
    serviceWith({
      work: async (_body, sink, { signal }) => {
        signal.addEventListener('abort', () => ends.push('aborted'));
        try {
          for (;;) await sink.write([Buffer.alloc(40_000), Buffer.alloc(40_000)]);
        } catch (error) {
          ends.push(codeOf(error));
          throw error;
        }
      },
    }),
  );
  const controller = new AbortController();
  const path = `${server.url}/o/r/git-upload-pack`;
  const answer = await fetch(path, {
    method: 'POST',
    body: 'x',
    headers: { 'Content-Type': 'application/x-git-upload-pack-request' },
    signal: controller.signal,
  });
  await answer.body?.getReader().read();
  controller.abort();
  await until(() => ends.length === 2);
  assert.deepEqual(new Set(ends), new Set(['aborted', 'client-gone']));
  await until(() => server.lines.some(({ cut }) => cut === true));
  assert.equal((await fetch(`${server.url}/livez`)).status, 200);
});

test('more requests at a time than allowed are told to come back, and the others are served', async () => {
  const { promise: go, resolve: release } = Promise.withResolvers<void>();
  let now = 0;
  let most = 0;
  await using server = await startServer(
    serviceWith({
      work: async (_body, sink) => {
        most = Math.max(most, ++now);
        await go;
        await sink.end();
        now -= 1;
      },
    }),
    { limits: { concurrentRequestsMax: 8 } },
  );
  let refused = 0;
  const statuses = Array.from({ length: 300 }, async () => {
    const { status } = await post(server.url, 'x');
    if (status === 503 && ++refused === 292) release();
    return status;
  });
  const counted = Map.groupBy(await Promise.all(statuses), (status) => status);
  assert.equal(counted.get(200)?.length, 8);
  assert.equal(counted.get(503)?.length, 292);
  assert.equal(most, 8);
  assert.equal((await post(server.url, 'x')).status, 200);
});

test('oversized headers are 431', async () => {
  await using server = await startServer(serviceWith());
  assert.match(await raw(server.port, `GET /livez HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(40_000)}\r\n\r\n`), /^HTTP\/1.1 431 /);
});

test('garbage on the wire is answered or closed, and the server lives on', async () => {
  await using server = await startServer(serviceWith());
  for (const bytes of [
    '\0\0\0\0\r\n\r\n',
    '\x16\x03\x01\x02\x00',
    'GET\r\n\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  ]) {
    assert.match(await raw(server.port, Buffer.from(bytes, 'latin1'), { halfClose: true }), /^(HTTP\/1.1 [45]\d\d |$)/);
  }
  assert.match(await raw(server.port, 'OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'), /^HTTP\/1.1 40\d /);
  assert.equal((await fetch(`${server.url}/livez`)).status, 200);
});

test('garbage after a whole request does not spoil its answer', async () => {
  await using server = await startServer(
    serviceWith({
      work: async (body, sink) => {
        for await (const _ of body);
        await new Promise((wake) => setTimeout(wake, 30));
        await sink.write(Buffer.from('fine'));
      },
    }),
  );
  const text = await raw(server.port, `${head('upload-pack', 'Content-Length: 1')}x\0\0\0garbage\r\n\r\n`);
  assert.match(text, /^HTTP\/1.1 200 [\s\S]*fine/);
});
