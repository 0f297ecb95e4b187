import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** Seconds, from a cached advertisement to a clone of a large repository. */
const REQUEST_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800];
const STORE_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

export type PushResult = 'ok' | 'partial' | 'rejected' | 'failed';
export type FetchKind = 'clone' | 'fetch' | 'shallow' | 'empty' | 'ls-refs' | 'object-info' | 'failed';

export interface RequestSample {
  readonly route: string;
  readonly method: string;
  readonly status: number;
  readonly seconds: number;
  /** Of the request's body, as it came over the wire. */
  readonly bytesIn: number;
  /** Written to the socket, headers included. */
  readonly bytesOut: number;
}

/** Every metric there is, as calls with types; label values come from code, never from a request. */
export interface Metrics {
  push(result: PushResult): void;
  fetch(kind: FetchKind): void;
  objects(direction: 'received' | 'sent', count: number): void;
  /** `operation` as the store calls it: put, get, head, list, delete. `bytes` moved, 0 where none are. */
  storeRequest(operation: string, seconds: number, bytes: number, ok: boolean): void;
  cache(name: string, hit: boolean, count?: number): void;
  request(sample: RequestSample): void;
  /** A connection that never became a request; `code` is Node's (HPE_…, ERR_HTTP_REQUEST_TIMEOUT). */
  connectionError(code: string): void;
  inFlight(change: 1 | -1): void;
  /** A job of maintenance that ended, and how long it took; `lost`: its process ended, and nobody knows. */
  maintenanceJob(kind: string, result: 'done' | 'failed' | 'stopped' | 'lost', seconds: number): void;
  /** The text of `/metrics` and its media type. */
  render(): Promise<{ readonly contentType: string; readonly text: string }>;
}

/**
 * Metrics in a registry of their own, so that two servers in one process do not share counts. `processMetrics` adds Node's (heap,
 * event loop, garbage collection), which observe the process for as long as it runs.
 */
export function createMetrics(options: { readonly processMetrics?: boolean } = {}): Metrics {
  const registry = new Registry();
  if (options.processMetrics) collectDefaultMetrics({ register: registry });
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter({ name, help, labelNames, registers: [registry] });
  const seconds = <L extends string>(name: string, help: string, labelNames: readonly L[], buckets: number[]) =>
    new Histogram({ name, help, labelNames, buckets, registers: [registry] });

  const pushes = counter('packhouse_pushes_total', 'Pushes, by result.', ['result']);
  const fetches = counter('packhouse_fetches_total', 'Fetch requests, by kind.', ['kind']);
  const objects = counter('packhouse_objects_total', 'Git objects received in pushes and sent in fetches.', ['direction']);
  const storeRequests = counter('packhouse_store_requests_total', 'Requests to the pack store.', ['operation', 'outcome']);
  const storeBytes = counter('packhouse_store_bytes_total', 'Bytes moved to and from the pack store.', ['operation']);
  const storeSeconds = seconds('packhouse_store_request_seconds', 'Store latency.', ['operation'], STORE_SECONDS);
  const cacheLookups = counter('packhouse_cache_lookups_total', 'Cache look-ups, by result.', ['cache', 'result']);
  const requests = counter('packhouse_http_requests_total', 'HTTP requests.', ['route', 'method', 'status']);
  const requestSeconds = seconds('packhouse_http_request_seconds', 'First byte in to last byte out.', ['route'], REQUEST_SECONDS);
  const bytes = counter('packhouse_http_bytes_total', 'Body bytes in, bytes out with headers.', ['route', 'direction']);
  const connectionErrors = counter('packhouse_http_connection_errors_total', 'Connections refused unread.', ['code']);
  const jobs = counter('packhouse_maintenance_jobs_total', 'Jobs of maintenance, by kind and result.', ['kind', 'result']);
  const jobSeconds = seconds('packhouse_maintenance_job_seconds', 'Length of jobs of maintenance.', ['kind'], REQUEST_SECONDS);
  const inFlight = new Gauge({ name: 'packhouse_http_requests_in_flight', help: 'Git requests now.', registers: [registry] });

  return {
    push: (result) => pushes.inc({ result }),
    fetch: (kind) => fetches.inc({ kind }),
    objects: (direction, count) => objects.inc({ direction }, count),
    storeRequest(operation, duration, moved, ok) {
      storeRequests.inc({ operation, outcome: ok ? 'ok' : 'error' });
      if (moved > 0) storeBytes.inc({ operation }, moved);
      storeSeconds.observe({ operation }, duration);
    },
    cache: (name, hit, count = 1) => cacheLookups.inc({ cache: name, result: hit ? 'hit' : 'miss' }, count),
    request({ route, method, status, seconds: duration, bytesIn, bytesOut }) {
      requests.inc({ route, method: METHODS.has(method) ? method : 'other', status: String(status) });
      requestSeconds.observe({ route }, duration);
      if (bytesIn > 0) bytes.inc({ route, direction: 'in' }, bytesIn);
      if (bytesOut > 0) bytes.inc({ route, direction: 'out' }, bytesOut);
    },
    connectionError: (code) => connectionErrors.inc({ code }),
    inFlight: (change) => inFlight.inc(change),
    maintenanceJob(kind, result, duration) {
      jobs.inc({ kind, result });
      if (result !== 'lost') jobSeconds.observe({ kind }, duration);
    },
    render: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
  };
}

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']);
