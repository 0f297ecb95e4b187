import { setTimeout as sleep } from 'node:timers/promises';
import { S3Client } from '@aws-sdk/client-s3';
import { codeOf, messageOf, PackhouseError } from '../base/mod.ts';
import type { StoreOperation } from './faults.ts';
import { createGate } from './gate.ts';
import type { SigningKey } from './signature.ts';

export interface S3ConnectionOptions {
  /** `http://host:port` or `https://…`, without the bucket. */
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Bucket in the path, not in the host name; true unless told (Ceph RGW without wildcard DNS needs it). */
  readonly pathStyle?: boolean;
  /** Requests in flight at a time, over all operations; 64 unless told. */
  readonly requestsMax?: number;
  /** How often a request is tried before the operation fails; 5 unless told. */
  readonly triesMax?: number;
  /** The first wait between tries, doubled each time up to 5 s, shortened at random; 100 unless told. */
  readonly retryDelayMilliseconds?: number;
  /** 5,000 unless told. */
  readonly connectTimeoutMilliseconds?: number;
  /** A connection on which nothing moves for so long is given up; 30,000 unless told. */
  readonly idleTimeoutMs?: number;
  /** From a request's first byte to its answer's head; 120,000 unless told. */
  readonly answerTimeoutMilliseconds?: number;
}

/** What one request of the store needs to know, and what its error will tell. */
export interface RequestContext {
  readonly operation: StoreOperation;
  readonly key: string;
  readonly signal?: AbortSignal | undefined;
  readonly triesMax?: number;
}

export interface Timeouts {
  readonly connectTimeoutMs: number;
  /** A connection on which nothing moves for so long is given up. */
  readonly idleTimeoutMs: number;
  /** From a request to its answer's head. */
  readonly answerTimeoutMs: number;
}

/** How long what may take. */
export function timeoutsOf(options: S3ConnectionOptions): Timeouts {
  return {
    connectTimeoutMs: options.connectTimeoutMilliseconds ?? 5_000,
    idleTimeoutMs: options.idleTimeoutMs ?? 30_000,
    answerTimeoutMs: options.answerTimeoutMilliseconds ?? 120_000,
  };
}

export type Attempt<T> = (client: S3Client, options: { readonly abortSignal?: AbortSignal }) => Promise<T>;

const RETRY_DELAY_MILLISECONDS_MAX = 5_000;

/** Answers that say "not now", or that our bytes were damaged on their way, whatever their status. */
const TRANSIENT_NAMES = new Set([
  'BadDigest',
  'IncompleteBody',
  'OperationAborted',
  'RequestTimeTooSkewed',
  'RequestTimeout',
  'SlowDown',
  'TimeoutError',
  'XAmzContentSHA256Mismatch',
]);
const TRANSIENT_STATUS = new Set([408, 425, 429]);

/** A fault found in an answer that looked good: shorter than announced, not the range asked for. Tried again. */
export class AnswerFault extends Error {
  override readonly name = 'AnswerFault';
}

export function statusOf(error: unknown): number | undefined {
  return (error as { $metadata?: { httpStatusCode?: number } } | null)?.$metadata?.httpStatusCode;
}

export function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : 'unknown';
}

/** Stores refuse what was signed for another time than their own by 15 minutes. */
const SKEW_MILLISECONDS = 5 * 60_000;

/**
 * Names the skew where the answer cannot: to a HEAD it has no body, only its date. The SDK signs the next request by that date, but
 * does not say so of a clock that was put right, or jumped while the request was under way.
 */
function nameSkew(error: unknown, request: HttpMessage): void {
  const { age, date = '' } = (error as { $response?: HttpMessage }).$response?.headers ?? {};
  // An answer that a cache has kept says nothing of now.
  if (age !== undefined) return;
  const signedFor = amzDate(request.headers['x-amz-date']);
  const answeredAt = Date.parse(date);
  if (statusOf(error) === 403 && Math.abs(answeredAt - signedFor) > SKEW_MILLISECONDS)
    (error as Error).name = 'RequestTimeTooSkewed';
}

interface HttpMessage {
  readonly headers: Readonly<Record<string, string | undefined>>;
}

/** Milliseconds since the epoch of `20130524T000000Z`, as requests are signed; NaN of anything else. */
function amzDate(text = ''): number {
  return Date.parse(text.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5'));
}

export function isTransientStatus(status: number): boolean {
  return status >= 500 || TRANSIENT_STATUS.has(status);
}

function isTransient(error: unknown): boolean {
  if (error instanceof AnswerFault || TRANSIENT_NAMES.has(nameOf(error))) return true;
  const status = statusOf(error);
  // Without a status there was no answer: a fault of the network, which Node marks with a code.
  if (status === undefined) return codeOf(error) !== undefined;
  // A good status on an error: the answer's body broke off or made no sense.
  return status < 300 || isTransientStatus(status);
}

export interface S3Requests {
  /**
   * Runs `attempt` until it succeeds, its fault is final, the tries are used up or the signal is aborted. A PackhouseError thrown
   * by `attempt` is final and passes through.
   */
  run<T>(context: RequestContext, attempt: Attempt<T>): Promise<T>;
  /** The store's clock: this process's, put right by what the store has answered when they were minutes apart. */
  now(): Date;
  /** What requests are signed with now. */
  credentials(): Promise<SigningKey>;
  close(): void;
}

export function createS3Requests(options: S3ConnectionOptions): S3Requests {
  const client = createClient(options);
  const gate = createGate(options.requestsMax ?? 64);
  const retryDelay = options.retryDelayMilliseconds ?? 100;

  async function tryOnce<T>(context: RequestContext, attempt: Attempt<T>): Promise<T> {
    const leave = await gate.enter(context.signal);
    try {
      return await attempt(client, context.signal === undefined ? {} : { abortSignal: context.signal });
    } finally {
      leave();
    }
  }

  async function pause(number: number, signal: AbortSignal | undefined): Promise<void> {
    const longest = Math.min(retryDelay * 2 ** (number - 1), RETRY_DELAY_MILLISECONDS_MAX);
    const wait = longest * (0.5 + Math.random() / 2);
    // The timer's own AbortError says less than the signal's reason, which the next round throws.
    await sleep(wait, undefined, signal === undefined ? {} : { signal }).catch(() => {});
  }

  async function run<T>(context: RequestContext, attempt: Attempt<T>): Promise<T> {
    const triesMax = context.triesMax ?? options.triesMax ?? 5;
    for (let number = 1; ; number += 1) {
      context.signal?.throwIfAborted();
      try {
        return await tryOnce(context, attempt);
      } catch (error) {
        context.signal?.throwIfAborted();
        if (error instanceof PackhouseError) throw error;
        const transient = isTransient(error);
        if (!transient || number >= triesMax) throw failure(options, context, error, number, transient);
      }
      await pause(number, context.signal);
    }
  }

  return {
    run,
    now: () => new Date(Date.now() + client.config.systemClockOffset),
    credentials: () => client.config.credentials(),
    close: () => client.destroy(),
  };
}

function createClient(options: S3ConnectionOptions): S3Client {
  // The gate bounds the requests in flight, so that none waits inside the agent, where waiting would count as a slow connection.
  const agent = { keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, maxFreeSockets: options.requestsMax ?? 64 };
  const timeouts = timeoutsOf(options);
  const client = new S3Client({
    endpoint: options.endpoint,
    region: options.region,
    // Without a key the SDK looks where it usually does.
    ...(options.accessKeyId !== '' && {
      credentials: { accessKeyId: options.accessKeyId, secretAccessKey: options.secretAccessKey },
    }),
    forcePathStyle: options.pathStyle ?? true,
    // Tries are counted here, not there: a short body needs them too, and the error must tell their number.
    maxAttempts: 1,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // With `Expect: 100-continue` the SDK opens a connection for each request.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: timeouts.connectTimeoutMs,
      socketTimeout: timeouts.idleTimeoutMs,
      requestTimeout: timeouts.answerTimeoutMs,
      throwOnRequestTimeout: true,
      httpAgent: agent,
      httpsAgent: agent,
    },
  });
  client.middlewareStack.add(
    (next) => (args) =>
      next(args).catch((error: unknown) => {
        nameSkew(error, args.request as HttpMessage);
        throw error;
      }),
    { step: 'deserialize', priority: 'high', name: 'nameSkew' },
  );
  return client;
}

/**
 * The error of an operation that is given up. The SDK's error is not kept as the cause: it carries the request's headers and, for
 * a refused signature, the key id and the string that was signed. Its name, message and status are.
 */
function failure(
  { endpoint, accessKeyId, secretAccessKey }: S3ConnectionOptions,
  { operation, key }: RequestContext,
  error: unknown,
  attempts: number,
  transient: boolean,
): PackhouseError {
  const status = statusOf(error);
  const fault = codeOf(error) ?? nameOf(error);
  const reason = [accessKeyId, secretAccessKey]
    .filter((secret) => secret !== '')
    .reduce((text, secret) => text.replaceAll(secret, '***'), messageOf(error) || fault);
  const tries = attempts === 1 ? 'at the first try' : `after ${attempts} tries`;
  const answer = status === undefined ? '' : ` (HTTP ${status})`;
  const message = `store ${operation} of ${key || 'the bucket'} at ${new URL(endpoint).host} failed ${tries}: ${fault}${answer}: ${reason}`;
  return new PackhouseError(transient ? 'store-unavailable' : 'store-refused', message, {
    operation,
    key,
    attempts,
    status,
    fault,
  });
}
