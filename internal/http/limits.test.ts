import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { clientOf } from './admission.ts';
import { head, post, raw, reader, serviceWith, startServer, until } from './http-testing.ts';

test('one address, or one token, cannot take all places: others are served meanwhile', async () => {
  const { promise: go, resolve: release } = Promise.withResolvers<void>();
  const waiting: string[] = [];
  const service = serviceWith({
    authorize: async (credentials) => (credentials === null ? { kind: 'anonymous' } : { kind: 'token', id: credentials.user }),
    work: async (_body, sink, { principal }) => {
      waiting.push(principal.kind === 'token' ? principal.id : '');
      await go;
      await sink.end();
    },
  });
  await using server = await startServer(service, {
    http: { forwardedHeader: 'X-Forwarded-For' },
    limits: { concurrentRequestsMax: 12, requestsPerAddressMax: 4, requestsPerTokenMax: 3 },
  });
  const ask = async (forwarded: string, user = ''): Promise<string> => {
    const authorization = user === '' ? {} : { Authorization: `Basic ${Buffer.from(`${user}:x`).toString('base64')}` };
    const answer = await post(server.url, 'x', { 'X-Forwarded-For': forwarded, ...authorization });
    return `${answer.status} ${answer.headers.get('retry-after') ?? ''} ${await answer.text()}`;
  };
  const served: Promise<string>[] = [];
  const serve = async (forwarded: string, user?: string): Promise<void> => {
    const before = waiting.length;
    served.push(ask(forwarded, user));
    await until(() => waiting.length > before);
  };
  for (let i = 0; i < 4; i++) await serve(`10.0.0.${i}, 192.0.2.1`);
  assert.equal(await ask('203.0.113.9, 192.0.2.1'), '503 1 too many requests at a time from your address; try again\n');
  for (let i = 0; i < 3; i++) await serve(`192.0.2.${i + 2}`, 'ci');
  assert.equal(await ask('192.0.2.9', 'ci'), '503 1 too many requests at a time with your token; try again\n');
  await serve('192.0.2.9', 'other');
  for (let i = 0; i < 4; i++) await serve(`2001:db8:0:1::${i}`);
  assert.equal(await ask('192.0.2.10'), '503 1 too many requests at a time; try again\n');
  release();
  for (const answer of await Promise.all(served)) assert.match(answer, /^200 /);
  assert.match(await ask('2001:db8:0:1::9'), /^200 /);
});

test('the address that counts is the one that the proxy has seen, and a network of IPv6', () => {
  for (const [remote, forwarded, expected] of [
    ['192.0.2.1', undefined, '192.0.2.1'],
    ['::ffff:192.0.2.1', undefined, '192.0.2.1'],
    ['192.0.2.1', '198.51.100.7, 203.0.113.4', '203.0.113.4'],
    ['192.0.2.1', '203.0.113.4:4711', '203.0.113.4'],
    ['192.0.2.1', 'unknown', '192.0.2.1'],
    ['192.0.2.1', '', '192.0.2.1'],
    ['192.0.2.1', '[2001:DB8::1]:443', '2001:db8:0:0::/64'],
    ['2001:db8:1:2:3:4:5:6', undefined, '2001:db8:1:2::/64'],
    ['2001:db8:1:2:ffff::', undefined, '2001:db8:1:2::/64'],
    ['fe80::1%eth0', undefined, 'fe80:0:0:0::/64'],
    ['::1', undefined, '0:0:0:0::/64'],
    [undefined, undefined, ''],
  ] as const) {
    assert.equal(clientOf(remote, forwarded), expected, `${remote} ${forwarded}`);
  }
});

test('a push that drips for ever ends at its longest time, whatever it still sends', async () => {
  const { service, ends } = reader();
  await using server = await startServer(service, { push: { maxDurationMs: 300 } });
  const drip = Array.from({ length: 60 }, () => 'x'.repeat(2000));
  const head_ = head('receive-pack', 'Content-Length: 120000', 'Connection: close');
  assert.match(
    await raw(server.port, head_, { later: drip, pauseMs: 20 }),
    /^HTTP\/1.1 408 [\s\S]*the push took longer than 300 ms/,
  );
  assert.deepEqual(ends, ['too-slow']);
});

test('a compressed push, which could hold a thousand times its bytes of bombs, may not decode to more than a fetch asks', async () => {
  const { service, ends, bytes } = reader();
  await using server = await startServer(service, { limits: { requestBytesMax: 1 << 30, fetchRequestBytesMax: 1 << 20 } });
  const push = (body: Uint8Array<ArrayBuffer>, headers = {}): Promise<Response> =>
    post(server.url, body, headers, 'receive-pack');
  assert.equal((await push(gzipSync(Buffer.alloc(1 << 20)), { 'Content-Encoding': 'gzip' })).status, 200);
  assert.equal((await push(gzipSync(Buffer.alloc(64 << 20)), { 'Content-Encoding': 'gzip' })).status, 413);
  assert.equal(bytes(), 2 << 20);
  assert.equal((await push(Buffer.alloc(2 << 20))).status, 200);
  assert.deepEqual(ends, ['end', 'too-large', 'end']);
});
