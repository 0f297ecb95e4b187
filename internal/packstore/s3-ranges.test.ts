import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../testkit/mod.ts';
import { errorOf, type Handler, storeAt, withServer } from './s3-testing.ts';

/** What the service says to the n-th request of a connection, n from 1; it is told the request's head. */
type Talk = (socket: Socket, number: number, head: string) => void;

/** A service that says bytes of our choice. `run` is told how often it was connected to. */
async function withTalk(talk: Talk, run: (endpoint: string, connections: () => number) => Promise<void>): Promise<void> {
  const sockets = new Set<Socket>();
  let connections = 0;
  const server: Server = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    let head = '';
    let number = 0;
    socket.on('data', (bytes: Buffer) => {
      head += bytes.toString('latin1');
      if (!head.endsWith('\r\n\r\n')) return;
      talk(socket, ++number, head);
      head = '';
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  try {
    await run(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, () => connections);
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((done) => server.close(done));
  }
}

const GOOD = 'HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\nContent-Range: bytes 0-3/9\r\n\r\nabcd';
const range = { offset: 0, lengthBytes: 4 };

test('ranges one after the other take one connection, ranges side by side as many as they are', async () => {
  const talk: Talk = (socket) => setTimeout(() => socket.write(GOOD), 5);
  await withTalk(talk, async (endpoint, connections) => {
    const store = storeAt(endpoint);
    for (let i = 0; i < 5; i++) assert.equal((await store.get('a', range)).toString(), 'abcd');
    assert.equal(connections(), 1);
    await Promise.all(Array.from({ length: 4 }, () => store.get('a', range)));
    assert.equal(connections(), 4);
    await store.close();
  });
});

test('an answer may come in any pieces', async () => {
  const talk: Talk = (socket, number) => {
    if (number === 1) for (const byte of Buffer.from(GOOD)) socket.write(Buffer.of(byte));
    else {
      socket.write(GOOD.slice(0, -2));
      setTimeout(() => socket.write(GOOD.slice(-2)), 20);
    }
  };
  await withTalk(talk, async (endpoint, connections) => {
    const store = storeAt(endpoint, { triesMax: 1 });
    for (let i = 0; i < 3; i++) assert.equal((await store.get('a', range)).toString(), 'abcd');
    assert.equal(connections(), 1);
    await store.close();
  });
});

test('a connection that the service closes between two answers costs no try; one that it closes before its first does', async () => {
  let mayAnswer = true;
  const talk: Talk = (socket, number) => {
    if (!mayAnswer || number === 2) return void socket.destroy();
    socket.write(GOOD);
  };
  await withTalk(talk, async (endpoint, connections) => {
    const store = storeAt(endpoint, { triesMax: 1 });
    for (let i = 0; i < 3; i++) assert.equal((await store.get('a', range)).toString(), 'abcd');
    assert.equal(connections(), 3);
    mayAnswer = false;
    assert.equal((await errorOf(store.get('a', range))).code, 'store-unavailable');
    assert.equal(connections(), 4);
    await store.close();
  });
});

test('a connection that is to be closed, and one on which more came than was asked for, serves no other range', async () => {
  for (const answer of [GOOD.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'), `${GOOD}e`]) {
    let isFirst = true;
    const talk: Talk = (socket) => {
      socket.write(isFirst ? answer : GOOD);
      isFirst = false;
    };
    await withTalk(talk, async (endpoint, connections) => {
      const store = storeAt(endpoint);
      for (let i = 0; i < 2; i++) assert.equal((await store.get('a', range)).toString(), 'abcd');
      assert.equal(connections(), 2);
      await store.close();
    });
  }
});

test('heads without an end, and what is no head, are given up', async () => {
  for (const answer of [`HTTP/1.1 206 Partial Content\r\nX: ${'y'.repeat(20_000)}`, 'SSH-2.0-x\r\n\r\n']) {
    await withTalk(
      (socket) => socket.end(answer),
      async (endpoint) => {
        const error = await errorOf(storeAt(endpoint, { triesMax: 2 }).get('a', range));
        assert.equal(error.code, 'store-unavailable');
      },
    );
  }
});

test('a service that is not well is asked again, once a try', async () => {
  let requests = 0;
  const handler: Handler = (_, outgoing) => {
    requests += 1;
    if (requests < 3) outgoing.writeHead(503, { 'content-length': 0 }).end();
    else outgoing.writeHead(206, { 'content-range': 'bytes 0-3/9', 'content-length': 4 }).end('abcd');
  };
  await withServer(handler, async (endpoint) => {
    const store = storeAt(endpoint);
    assert.equal((await store.get('a', range)).toString(), 'abcd');
    assert.equal(requests, 3);
    requests = -9;
    const { code, data } = await errorOf(store.get('a', range));
    assert.deepEqual([code, data.attempts, data.status], ['store-unavailable', 5, 503]);
    await store.close();
  });
});

test('a service that never gives a length is soon asked once for each range', async () => {
  let requests = 0;
  const handler: Handler = (_, outgoing) => {
    requests += 1;
    outgoing.writeHead(206, { 'content-range': 'bytes 0-3/9' }).end('abcd');
  };
  await withServer(handler, async (endpoint) => {
    const store = storeAt(endpoint);
    for (let i = 0; i < 10; i++) assert.equal((await store.get('a', range)).toString(), 'abcd');
    assert.equal(requests, 10 + 3);
    await store.close();
  });
});

function hasOpenssl(): boolean {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

test('ranges come through TLS, from a service whose certificate holds', {
  skip: hasOpenssl() ? false : 'openssl is not installed',
}, async (context) => {
  const folder = scratchFolder('tls');
  const files = { key: join(folder, 'key.pem'), cert: join(folder, 'cert.pem') };
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  const making = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  execFileSync('openssl', [...making, ...subject, '-keyout', files.key, '-out', files.cert], { stdio: 'ignore' });
  const body = Buffer.alloc(3_000_000, 'packed');
  const server = createHttpsServer({ key: readFileSync(files.key), cert: readFileSync(files.cert) }, (_, outgoing) => {
    const contentRange = `bytes 0-${body.length - 1}/${body.length}`;
    outgoing.writeHead(206, { 'content-range': contentRange, 'content-length': body.length }).end(body);
  });
  await new Promise<void>((done) => server.listen(0, 'localhost', done));
  const store = storeAt(`https://localhost:${(server.address() as AddressInfo).port}`, { triesMax: 1 });
  const whole = { offset: 0, lengthBytes: body.length };
  const error = await errorOf(store.get('a', whole));
  assert.equal(error.code, 'store-unavailable');
  assert.match(error.message, /DEPTH_ZERO_SELF_SIGNED_CERT/);
  const before = process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  context.mock.method(process, 'emitWarning', () => {});
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  try {
    for (let i = 0; i < 2; i++) assert((await store.get('a', whole)).equals(body));
  } finally {
    if (before === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    else process.env.NODE_TLS_REJECT_UNAUTHORIZED = before;
    await store.close();
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
});
