import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { PackhouseError } from '../base/mod.ts';
import { createS3Store, type S3StoreOptions } from './s3.ts';
import type { PackStore } from './store.ts';

type S3TestSettings = Pick<S3StoreOptions, 'endpoint' | 'region' | 'bucket' | 'accessKeyId' | 'secretAccessKey'>;

/**
 * The real service that tests use, from PACKHOUSE_TEST_S3_*; undefined when there is none. Test files run side by side, and
 * some remove every open upload of their bucket, so each names a bucket of its own: `<bucket>-<suffix>`.
 */
export function s3TestSettings(suffix: string): S3TestSettings | undefined {
  const { env } = process;
  const endpoint = env.PACKHOUSE_TEST_S3_ENDPOINT;
  if (endpoint === undefined || endpoint === '') return undefined;
  return {
    endpoint,
    region: env.PACKHOUSE_TEST_S3_REGION ?? 'us-east-1',
    bucket: `${env.PACKHOUSE_TEST_S3_BUCKET ?? 'packhouse-test'}-${suffix}`,
    accessKeyId: env.PACKHOUSE_TEST_S3_ACCESS_KEY ?? '',
    secretAccessKey: env.PACKHOUSE_TEST_S3_SECRET_KEY ?? '',
  };
}

/** Credentials for stubs, searched for in every error. */
export const SECRET = 'wJalrXUtnFEMI+bPxRfiCYEXAMPLEKEY';
export const ACCESS = 'AKIAEXAMPLEACCESS';

export type Handler = (incoming: IncomingMessage, outgoing: ServerResponse) => void;

/** Runs a stub of a service on loopback: only to inject faults that no real service would show. */
export async function withServer(handler: Handler, run: (endpoint: string) => Promise<void>): Promise<void> {
  const server: Server = createServer(handler);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  try {
    await run(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
}

/** A store that hardly waits between tries. */
export function storeAt(endpoint: string, options: Partial<S3StoreOptions> = {}): PackStore {
  return createS3Store({
    endpoint,
    region: 'us-east-1',
    bucket: 'b',
    accessKeyId: ACCESS,
    secretAccessKey: SECRET,
    retryDelayMilliseconds: 1,
    ...options,
  });
}

/** The error of an operation, after making sure that nothing of it tells a credential. */
export async function errorOf(work: Promise<unknown>): Promise<PackhouseError> {
  const error = await work.then(
    () => assert.fail('it should have failed'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof PackhouseError, String(error));
  const everything = inspect(error, { depth: 20, showHidden: true }) + JSON.stringify(error.data);
  assert.ok(!everything.includes(SECRET) && !everything.includes(ACCESS), 'no credential in the error');
  return error;
}
