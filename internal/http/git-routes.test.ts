import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { PackhouseError } from '../base/mod.ts';
import type { Credentials, RequestContext } from './git-service.ts';
import { head, post, RECEIVE, raw, serviceWith, startServer, thrower, UPLOAD, until } from './http-testing.ts';

test('an advertisement has its media type, no-cache headers, a length and a request id', async () => {
  await using server = await startServer(serviceWith());
  for (const service of ['git-upload-pack', 'git-receive-pack']) {
    const answer = await fetch(`${server.url}/alice/demo.git/info/refs?service=${service}`);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-type'), `application/x-${service}-advertisement`);
    assert.equal(answer.headers.get('cache-control'), 'no-cache, max-age=0, must-revalidate');
    assert.equal(answer.headers.get('expires'), 'Fri, 01 Jan 1980 00:00:00 GMT');
    assert.equal(answer.headers.get('pragma'), 'no-cache');
    assert.match(answer.headers.get('x-request-id') ?? '', /^[0-9a-f-]{36}$/);
    const text = await answer.text();
    assert.equal(text, `# service=${service} alice/demo\n`);
    assert.equal(answer.headers.get('content-length'), String(text.length));
  }
});

test('HEAD has the headers of GET and no body; the connection goes on', async () => {
  await using server = await startServer(serviceWith());
  const ask = (method: string, more = '') =>
    `${method} /o/r/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
  const text = await raw(server.port, ask('HEAD') + ask('GET', 'Connection: close\r\n'));
  const [first, second, body] = text.split('\r\n\r\n');
  assert.match(first as string, /^HTTP\/1.1 200[\s\S]*Content-Length: 30/);
  assert.match(second as string, /^HTTP\/1.1 200[\s\S]*Content-Length: 30/);
  assert.equal(body, '# service=git-upload-pack o/r\n');
});

test('refusals before the work: method, service, media type, encoding, dumb paths', async () => {
  const seen: string[] = [];
  await using server = await startServer(
    serviceWith({
      authorize: async (_credentials, address) => {
        seen.push(address.name);
        return { kind: 'anonymous' };
      },
    }),
  );
  const status = async (method: string, path: string, headers: Record<string, string> = {}) => {
    const answer = await fetch(server.url + path, { method, headers, ...(method === 'POST' ? { body: 'x' } : {}) });
    await answer.arrayBuffer();
    return [answer.status, answer.headers.get('allow')];
  };
  assert.deepEqual(await status('GET', '/o/r/info/refs'), [403, null]);
  assert.deepEqual(await status('GET', '/o/r/info/refs?service=git-upload-archive'), [403, null]);
  assert.deepEqual(await status('GET', '/o/r/info/refs?service=upload-pack'), [403, null]);
  assert.deepEqual(await status('POST', '/o/r/info/refs?service=git-upload-pack'), [405, 'GET, HEAD']);
  assert.deepEqual(await status('GET', '/o/r/git-upload-pack'), [405, 'POST']);
  assert.deepEqual(await status('PUT', '/o/r/git-receive-pack'), [405, 'POST']);
  assert.deepEqual(await status('POST', '/o/r/git-upload-pack'), [415, null]);
  assert.deepEqual(await status('POST', '/o/r/git-upload-pack', { 'Content-Type': RECEIVE }), [415, null]);
  assert.deepEqual(await status('POST', '/o/r/git-upload-pack', { 'Content-Type': `${UPLOAD}; charset=utf-8` }), [415, null]);
  assert.deepEqual(await status('POST', '/o/r/git-upload-pack', { 'Content-Type': UPLOAD, 'Content-Encoding': 'br' }), [
    415,
    null,
  ]);
  assert.deepEqual(await status('POST', '/o/r/git-upload-archive', { 'Content-Type': 'x/y' }), [403, null]);
  assert.deepEqual(await status('GET', '/o/r/HEAD'), [403, null]);
  assert.deepEqual(await status('GET', '/o/r/objects/info/packs'), [403, null]);
  assert.deepEqual(await status('GET', '/o/r/config'), [404, null]);
  assert.deepEqual(await status('GET', '/o/r%00/info/refs?service=git-upload-pack'), [400, null]);
  assert.deepEqual(await status('GET', '/o/.git/info/refs?service=git-upload-pack'), [404, null]);
  assert.deepEqual(seen, [], 'none of these reached the service');
});

test('traversal on the raw request line reaches no repository', async () => {
  const seen: string[] = [];
  const advertise = async (address: { owner: string; name: string }) => {
    seen.push(`${address.owner}/${address.name}`);
    return Buffer.from('x');
  };
  await using server = await startServer(serviceWith({ advertise }));
  for (const path of ['/a/../o/r.git', '/o/%2e%2e', '/o/..%2fr', '//o/r', '/./o/r', '/o/r/../r2']) {
    const text = await raw(
      server.port,
      `GET ${path}/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    );
    assert.match(text, /^HTTP\/1.1 40[04]/, path);
  }
  assert.deepEqual(seen, []);
});

test('the service learns who asks, for what, and which protocol', async () => {
  const asked: unknown[] = [];
  const contexts: RequestContext[] = [];
  await using server = await startServer(
    serviceWith({
      authorize: async (credentials, address, access) => {
        asked.push([credentials, address, access]);
        return { kind: 'token', id: 't1' };
      },
      advertise: async (_address, _service, context) => {
        contexts.push(context);
        return Buffer.from('');
      },
    }),
  );
  const headers = { Authorization: `Basic ${Buffer.from('u:hush-hush').toString('base64')}`, 'Git-Protocol': 'version=2' };
  const answer = await fetch(`${server.url}/o/r.git/info/refs?service=git-receive-pack`, { headers });
  await fetch(`${server.url}/o/r/info/refs?service=git-upload-pack`);
  const address = { owner: 'o', name: 'r' };
  const credentials: Credentials = { user: 'u', password: 'hush-hush' };
  assert.deepEqual(asked, [
    [credentials, address, 'write'],
    [null, address, 'read'],
  ]);
  assert.deepEqual(
    contexts.map(({ gitProtocol, principal }) => [gitProtocol, principal]),
    [
      ['version=2', { kind: 'token', id: 't1' }],
      ['', { kind: 'token', id: 't1' }],
    ],
  );
  assert.equal(contexts[0]?.requestId, answer.headers.get('x-request-id'));
});

test('the log has one line a request, with the id the client got, and never a credential', async () => {
  await using server = await startServer(serviceWith());
  const secret = Buffer.from('u:hush-hush').toString('base64');
  const headers = { Authorization: `Basic ${secret}`, 'Content-Type': UPLOAD, 'User-Agent': 'git/2.39.5' };
  const answer = await fetch(`${server.url}/o/r.git/git-upload-pack?token=hush-hush`, { method: 'POST', headers, body: '0000' });
  assert.equal(await answer.text(), '0000');
  await until(() => server.lines.length > 0);
  const { ms, bytesOut, ...line } = server.lines[0] as Record<string, unknown>;
  assert.ok(typeof ms === 'number' && typeof bytesOut === 'number' && bytesOut > 4);
  assert.deepEqual(JSON.parse(JSON.stringify(line)), {
    level: 'info',
    message: 'request',
    requestId: answer.headers.get('x-request-id'),
    route: 'upload-pack',
    method: 'POST',
    status: 200,
    path: '/o/r.git/git-upload-pack',
    agent: 'git/2.39.5',
    bytesIn: 4,
  });
  assert.doesNotMatch(JSON.stringify(server.lines), new RegExp(`hush|${secret}`));
  assert.match(
    (await server.metrics.render()).text,
    /packhouse_http_requests_total\{route="upload-pack",method="POST",status="200"\} 1/,
  );
});

test('codes become statuses, at every stage before the answer has begun', async () => {
  const table: Record<string, number> = {
    'bad-request': 400,
    'body-truncated': 400,
    unauthenticated: 401,
    forbidden: 403,
    'repository-not-found': 404,
    'body-stalled': 408,
    'too-large': 413,
    unsupported: 415,
    overloaded: 503,
    'shutting-down': 503,
    'catalog-unavailable': 503,
    'store-unavailable': 503,
    'store-damaged': 503,
    'push-unknown': 503,
    'catalog-broken': 500,
  };
  for (const [code, status] of Object.entries(table)) {
    const fail = thrower(code);
    const stages = [
      serviceWith({ authorize: fail }),
      serviceWith({ work: fail }),
      serviceWith({
        work: async (_body, sink) => {
          await sink.write(Buffer.from('held, and then dropped'));
          await fail();
        },
      }),
    ];
    for (const service of stages) {
      await using server = await startServer(service);
      const answer = await post(server.url, 'x');
      assert.equal(answer.status, status, code);
      const text = await answer.text();
      if (status === 401) assert.equal(answer.headers.get('www-authenticate'), 'Basic realm="packhouse"');
      // Whether a push has happened is to be looked at first.
      if (status === 503) assert.equal(answer.headers.get('retry-after'), code === 'push-unknown' ? null : '1');
      if (/^(catalog|store|push)-/.test(code)) assert.match(text, /; request [0-9a-f-]{36}\n$/);
      if (status === 404) assert.equal(text, 'repository not found\n');
      if (status === 500) assert.equal(text, `internal error; request ${answer.headers.get('x-request-id')}\n`);
    }
  }
});

test('work that knows when there will be room again says so', async () => {
  const fail = async (): Promise<never> => {
    throw new PackhouseError('overloaded', 'too many large requests', { retryAfterSeconds: 30 });
  };
  await using server = await startServer(serviceWith({ work: fail }));
  const answer = await post(server.url, 'x');
  assert.equal(answer.status, 503);
  assert.equal(answer.headers.get('retry-after'), '30');
  await answer.text();
});

test('an internal error is in the log, whole, and not in the answer', async () => {
  const error = new Error('relation "packs" does not exist');
  await using server = await startServer(serviceWith({ advertise: () => Promise.reject(error) }));
  const answer = await fetch(`${server.url}/o/r/info/refs?service=git-upload-pack`);
  assert.equal(answer.status, 500);
  assert.doesNotMatch(await answer.text(), /relation/);
  assert.equal(server.lines.find(({ level }) => level === 'error')?.err, error);
});

test('an error after the answer has begun cuts the connection and the server lives on', async () => {
  await using server = await startServer(
    serviceWith({
      work: async (_body, sink) => {
        await sink.write(Buffer.alloc(100_000));
        assert.equal(sink.started, true);
        throw new Error('too late for a status');
      },
    }),
  );
  await assert.rejects(post(server.url, 'x').then((answer) => answer.arrayBuffer()));
  assert.equal((await fetch(`${server.url}/livez`)).status, 200);
});

test('who sends a broken Authorization header is nobody, which is not the same as not to say who', async () => {
  const seen: unknown[] = [];
  await using server = await startServer(
    serviceWith({
      authorize: async (credentials) => {
        seen.push(credentials);
        if (credentials !== null) throw new PackhouseError('unauthenticated', 'who are you');
        return { kind: 'anonymous' };
      },
    }),
  );
  const status = async (headers: Record<string, string>) =>
    (await fetch(`${server.url}/o/r/info/refs?service=git-upload-pack`, { headers })).status;
  assert.equal(await status({ Authorization: 'Bearer x' }), 401);
  assert.equal(await status({}), 200);
  assert.deepEqual(seen, [{ user: '', password: '' }, null]);
});

test('a small answer has a length and keeps the connection; a slow or large one is streamed', async () => {
  await using server = await startServer(
    serviceWith({
      work: async (body, sink) => {
        let text = '';
        for await (const chunk of body) text += chunk;
        const [pieces, bytes, pauseMs] = text.split(' ').map(Number) as [number, number, number];
        for (let i = 0; i < pieces; i++) {
          await sink.write([Buffer.alloc(bytes, i), Buffer.alloc(0)]);
          if (pauseMs > 0) await new Promise((wake) => setTimeout(wake, pauseMs));
        }
        await sink.end();
      },
    }),
  );
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ports = new Set<number | undefined>();
  const ask = (body: string) =>
    new Promise<[string | undefined, number]>((resolve, reject) => {
      const options = { method: 'POST', agent, headers: { 'Content-Type': UPLOAD } };
      const sent = request(`${server.url}/o/r/git-upload-pack`, options, (answer) => {
        ports.add(answer.socket.localPort);
        let bytes = 0;
        answer.on('data', (chunk: Buffer) => (bytes += chunk.length));
        answer.on('end', () => resolve([answer.headers['content-length'], bytes]));
      });
      sent.on('error', reject);
      sent.end(body);
    });
  assert.deepEqual(await ask('3 100 0'), ['300', 300]);
  assert.deepEqual(await ask('0 0 0'), ['0', 0]);
  assert.deepEqual(await ask('2 50000 0'), [undefined, 100_000]);
  assert.deepEqual(await ask('2 100 60'), [undefined, 200]);
  assert.deepEqual(await ask('40 1000000 0'), [undefined, 40_000_000]);
  agent.destroy();
  assert.equal(ports.size, 1, 'all on one connection');
});

test('progress is not held back while the service works on', async () => {
  const { promise: go, resolve: release } = Promise.withResolvers<void>();
  await using server = await startServer(
    serviceWith({
      work: async (_body, sink) => {
        await sink.write(Buffer.from('progress'));
        await go;
        await sink.end();
      },
    }),
  );
  const answer = await post(server.url, 'x');
  const reader = answer.body?.getReader();
  assert.equal(Buffer.from((await reader?.read())?.value ?? []).toString(), 'progress');
  release();
  assert.equal((await reader?.read())?.done, true);
});

test('gzip, x-gzip and chunked bodies arrive as they were meant', async () => {
  await using server = await startServer(serviceWith());
  const plain = Buffer.from('0123456789'.repeat(5000));
  const pieces = (bytes: Buffer) =>
    new ReadableStream({
      start(controller) {
        for (let at = 0; at < bytes.length; at += 777) controller.enqueue(bytes.subarray(at, at + 777));
        controller.close();
      },
    });
  const zipped = gzipSync(plain);
  const cases: [NonNullable<RequestInit['body']>, Record<string, string>][] = [
    [plain, {}],
    [pieces(plain), {}],
    [zipped, { 'Content-Encoding': 'gzip' }],
    [zipped, { 'Content-Encoding': 'x-gzip' }],
    [pieces(zipped), { 'Content-Encoding': 'GZIP' }],
  ];
  for (const [body, headers] of cases) {
    const answer = await post(server.url, body, headers);
    assert.deepEqual(Buffer.from(await answer.arrayBuffer()), plain, JSON.stringify(headers));
  }
});

test('HTTP/1.0 clients get no chunks', async () => {
  await using server = await startServer(serviceWith({ work: async (_body, sink) => sink.write(Buffer.alloc(200_000, 'y')) }));
  const small = await raw(server.port, 'GET /o/r/info/refs?service=git-upload-pack HTTP/1.0\r\n\r\n');
  assert.match(small, /^HTTP\/1.1 200[\s\S]*\r\n\r\n# service=git-upload-pack o\/r\n$/);
  const big = await raw(server.port, `${head('upload-pack', 'Content-Length: 1').replace('HTTP/1.1', 'HTTP/1.0')}x`);
  assert.doesNotMatch(big, /transfer-encoding/i);
  assert.equal(big.split('\r\n\r\n')[1]?.length, 200_000);
});

test('a client that shuts its sending side after a whole request still gets the answer', async () => {
  await using server = await startServer(
    serviceWith({
      work: async (body, sink) => {
        for await (const _ of body);
        await new Promise((wake) => setTimeout(wake, 50));
        await sink.write(Buffer.from('late'));
      },
    }),
  );
  const text = await raw(server.port, `${head('upload-pack', 'Content-Length: 4')}0000`, { halfClose: true });
  assert.match(text, /^HTTP\/1.1 200[\s\S]*late$/);
});

test('Expect: 100-continue is answered when the body is wanted, and not before a refusal', async () => {
  await using server = await startServer(
    serviceWith({
      authorize: async (_credentials, { owner }) => {
        if (owner === 'private') throw new PackhouseError('unauthenticated', 'who are you');
        return { kind: 'anonymous' };
      },
    }),
  );
  const asked = head('upload-pack', 'Content-Length: 4', 'Expect: 100-continue', 'Connection: close');
  const welcome = await raw(server.port, asked, { later: ['0000'] });
  assert.match(welcome, /^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200 OK[\s\S]*0000$/);
  const refused = await raw(server.port, asked.replace('/o/', '/private/'), { halfClose: true });
  assert.match(refused, /^HTTP\/1.1 401 /);
  assert.match(refused, /Connection: close/);
});

test('requests of one connection are answered in their order', async () => {
  await using server = await startServer(serviceWith());
  const one = (text: string, last = false) =>
    head('upload-pack', `Content-Length: ${text.length}`, ...(last ? ['Connection: close'] : [])) + text;
  const text = await raw(server.port, one('first') + one('second') + one('third', true));
  assert.deepEqual(
    [...text.matchAll(/\r\n\r\n(first|second|third)/g)].map((found) => found[1]),
    ['first', 'second', 'third'],
  );
});
