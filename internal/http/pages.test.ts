import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '../base/mod.ts';
import { serviceWith } from './http-testing.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { createHttpServer } from './server.ts';

const config = {
  http: {
    listen: '127.0.0.1:0',
    idleTimeoutMs: 1000,
    drainDelayMs: 0,
    drainTimeoutMs: 100,
    drainBytesMax: 1024,
    forwardedHeader: '',
  },
  push: { maxDurationMs: 1000 },
  limits: {
    requestBytesMax: 1024,
    fetchRequestBytesMax: 1024,
    concurrentRequestsMax: 4,
    requestsPerAddressMax: 4,
    requestsPerTokenMax: 4,
  },
};

function server(ready: () => Promise<void> = async () => {}, metrics: Metrics = createMetrics()) {
  return createHttpServer({ service: serviceWith({ ready }), config, log: createLogger('silent'), metrics });
}

test('livez answers, whatever the state of the rest', async () => {
  const answer = await server(() => Promise.reject(new Error('down'))).app.request('/livez');
  assert.equal(answer.status, 200);
  assert.equal(await answer.text(), 'ok\n');
});

test('readyz asks the service, once for all who ask at a time, and keeps the reason to the log', async () => {
  let asked = 0;
  const { app } = server(async () => {
    asked += 1;
    if (asked > 1) throw new Error('password authentication failed for user');
  });
  const answers = await Promise.all([1, 2, 3].map(async () => app.request('/readyz')));
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 200],
  );
  assert.equal(asked, 1);
  const later = await app.request('/readyz');
  assert.equal(later.status, 503);
  assert.equal(await later.text(), 'not ready\n');
});

test('metrics are Prometheus text, from the registry of this server alone', async () => {
  const metrics = createMetrics();
  metrics.push('ok');
  metrics.fetch('clone');
  metrics.objects('received', 7);
  metrics.storeRequest('get', 0.002, 4096, true);
  metrics.storeRequest('get', 0.002, 0, false);
  metrics.cache('blocks', true, 3);
  metrics.cache('blocks', false);
  metrics.request({ route: 'info-refs', method: 'BREW', status: 405, seconds: 0.004, bytesIn: 0, bytesOut: 10 });
  const { app } = server(undefined, metrics);
  const answer = await app.request('/metrics');
  assert.match(answer.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  const text = await answer.text();
  for (const line of [
    'packhouse_pushes_total{result="ok"} 1',
    'packhouse_fetches_total{kind="clone"} 1',
    'packhouse_objects_total{direction="received"} 7',
    'packhouse_store_requests_total{operation="get",outcome="error"} 1',
    'packhouse_store_bytes_total{operation="get"} 4096',
    'packhouse_store_request_seconds_bucket{le="0.0025",operation="get"} 2',
    'packhouse_cache_lookups_total{cache="blocks",result="hit"} 3',
    'packhouse_http_requests_total{route="info-refs",method="other",status="405"} 1',
    'packhouse_http_request_seconds_count{route="info-refs"} 1',
  ]) {
    assert.ok(text.includes(`${line}\n`), line);
  }
  assert.doesNotMatch(await (await server().app.request('/metrics')).text(), /packhouse_pushes_total\{/);
});

test('unknown pages are 404, other methods 405 with Allow', async () => {
  const { app } = server();
  assert.equal((await app.request('/')).status, 404);
  assert.equal((await app.request('/livez/x')).status, 404);
  const answer = await app.request('/livez', { method: 'POST' });
  assert.equal(answer.status, 405);
  assert.equal(answer.headers.get('allow'), 'GET, HEAD');
  assert.equal((await app.request('/livez', { method: 'HEAD' })).status, 200);
});

test('Node metrics come only when asked for', async () => {
  assert.match((await createMetrics({ processMetrics: true }).render()).text, /process_cpu_seconds_total/);
  assert.doesNotMatch((await createMetrics().render()).text, /process_cpu_seconds_total/);
});
