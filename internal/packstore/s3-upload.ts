import { createHash } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { codeOf, failpoint, PackhouseError } from '../base/mod.ts';
import { AnswerFault, nameOf, type RequestContext, type S3Requests } from './s3-requests.ts';
import { cutParts, type Part } from './source.ts';
import type { PutSource } from './store.ts';

/** S3's own limit. */
const PARTS_MAX = 10_000;

export interface UploadTarget {
  readonly requests: S3Requests;
  readonly bucket: string;
  readonly partSizeBytes: number;
  /** Parts of one put on their way at a time. */
  readonly concurrency: number;
}

interface Upload {
  readonly target: UploadTarget;
  readonly key: string;
  readonly uploadId: string;
  /** Aborted by the caller or by the first failure, with its error as the reason. */
  readonly signal: AbortSignal;
}

interface SentPart {
  readonly PartNumber: number;
  readonly ETag: string;
}

/**
 * Sends the SHA-256 of the body in `x-amz-content-sha256`, which the signature covers and the store verifies: a byte damaged on
 * its way is refused, and sent again. Given here, it also spares the SDK from hashing the whole body in one go.
 */
function withBodyDigest<
  C extends { middlewareStack: PutObjectCommand['middlewareStack'] | UploadPartCommand['middlewareStack'] },
>(command: C, sha256Hex: string): C {
  (command.middlewareStack as PutObjectCommand['middlewareStack']).add(
    (next) => (args) => {
      (args.request as { headers: Record<string, string> }).headers['x-amz-content-sha256'] = sha256Hex;
      return next(args);
    },
    { step: 'build', name: 'packhouseBodyDigest' },
  );
  return command;
}

/** Stores a source: one request when it fits into a part, else a multipart upload. Resolves with the bytes stored. */
export async function upload(target: UploadTarget, key: string, source: PutSource, caller?: AbortSignal): Promise<number> {
  const failed = new AbortController();
  const signal = caller === undefined ? failed.signal : AbortSignal.any([caller, failed.signal]);
  const startHash = () => createHash('sha256');
  const parts = cutParts(source, { partSizeBytes: target.partSizeBytes, signal, startHash });
  try {
    const first = await parts.next();
    if (first.done) throw new PackhouseError('assertion', 'a source is at least one part', { key });
    const second = first.value.bytes.length < target.partSizeBytes ? undefined : await parts.next();
    if (second === undefined || second.done) return await putWhole(target, key, first.value, signal);
    return await putParts({ target, key, signal }, failed, startingWith([first.value, second.value], parts));
  } finally {
    await parts.return(undefined);
  }
}

async function* startingWith(first: readonly Part[], rest: AsyncIterable<Part>): AsyncGenerator<Part> {
  yield* first;
  yield* rest;
}

async function putWhole(target: UploadTarget, key: string, { bytes, digest }: Part, signal: AbortSignal): Promise<number> {
  await target.requests.run({ operation: 'put', key, signal }, (client, options) =>
    client.send(withBodyDigest(new PutObjectCommand({ Bucket: target.bucket, Key: key, Body: bytes }), digest), options),
  );
  return bytes.length;
}

async function putParts(
  { target, key, signal }: Omit<Upload, 'uploadId'>,
  failed: AbortController,
  parts: AsyncIterable<Part>,
): Promise<number> {
  const uploadId = await begin(target, key, signal);
  const opened: Upload = { target, key, uploadId, signal };
  const inFlight = new Set<Promise<void>>();
  try {
    await failpoint('s3.multipart-made');
    const { sent, lengthBytes } = await sendAll(opened, failed, parts, inFlight);
    await failpoint('s3.before-complete');
    await complete(opened, sent, lengthBytes);
    await failpoint('s3.after-complete');
    return lengthBytes;
  } catch (error) {
    failed.abort(error);
    // A part that arrives after the abort could stay behind: wait until none is on its way.
    await Promise.all(inFlight);
    await abandon(target, key, uploadId);
    throw signal.reason;
  }
}

/** Sends parts as they come. The tasks in `inFlight` never reject: the first failure aborts `failed` and with it everything else. */
async function sendAll(
  opened: Upload,
  failed: AbortController,
  parts: AsyncIterable<Part>,
  inFlight: Set<Promise<void>>,
): Promise<{ sent: SentPart[]; lengthBytes: number }> {
  const sent: SentPart[] = [];
  let lengthBytes = 0;
  let number = 0;
  for await (const part of parts) {
    number += 1;
    lengthBytes += part.bytes.length;
    if (number > PARTS_MAX) throw tooLarge(opened, lengthBytes);
    const task: Promise<void> = sendPart(opened, number, part)
      .then(
        (done) => void sent.push(done),
        (error: unknown) => failed.abort(error),
      )
      .finally(() => inFlight.delete(task));
    inFlight.add(task);
    if (inFlight.size >= opened.target.concurrency) await Promise.race(inFlight);
    opened.signal.throwIfAborted();
  }
  await Promise.all(inFlight);
  opened.signal.throwIfAborted();
  return { sent: sent.sort((a, b) => a.PartNumber - b.PartNumber), lengthBytes };
}

function tooLarge({ key, target }: Upload, lengthBytes: number): PackhouseError {
  const most = PARTS_MAX * target.partSizeBytes;
  const message = `object ${key} is larger than ${PARTS_MAX} parts of ${target.partSizeBytes} bytes`;
  return new PackhouseError('store-too-large', message, { key, lengthBytes, lengthBytesMax: most });
}

async function begin(target: UploadTarget, key: string, signal: AbortSignal): Promise<string> {
  return await target.requests.run({ operation: 'put', key, signal }, async (client, options) => {
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket: target.bucket, Key: key }), options);
    if (UploadId === undefined) throw new AnswerFault('no upload id in the answer');
    return UploadId;
  });
}

async function sendPart({ target, key, uploadId, signal }: Upload, number: number, { bytes, digest }: Part): Promise<SentPart> {
  const input = { Bucket: target.bucket, Key: key, UploadId: uploadId, PartNumber: number, Body: bytes };
  const sent = await target.requests.run({ operation: 'put', key, signal }, async (client, options) => {
    const { ETag } = await client.send(withBodyDigest(new UploadPartCommand(input), digest), options);
    if (ETag === undefined) throw new AnswerFault(`no etag for part ${number} in the answer`);
    return { PartNumber: number, ETag };
  });
  await failpoint('s3.part-sent');
  return sent;
}

/**
 * Makes the object visible. When the answer to a first try was lost, the next one finds no such upload although the object is there:
 * any failure is therefore checked against the object itself.
 */
async function complete(
  { target, key, uploadId, signal }: Upload,
  parts: readonly SentPart[],
  lengthBytes: number,
): Promise<void> {
  const input = { Bucket: target.bucket, Key: key, UploadId: uploadId, MultipartUpload: { Parts: [...parts] } };
  const context: RequestContext = { operation: 'put', key, signal };
  try {
    await target.requests.run(context, (client, options) => client.send(new CompleteMultipartUploadCommand(input), options));
  } catch (error) {
    signal.throwIfAborted();
    if (!(await isStored(target, context, lengthBytes))) throw error;
  }
}

async function isStored(target: UploadTarget, context: RequestContext, lengthBytes: number): Promise<boolean> {
  return await target.requests
    .run(context, (client, options) => client.send(new HeadObjectCommand({ Bucket: target.bucket, Key: context.key }), options))
    .then(
      ({ ContentLength }) => ContentLength === lengthBytes,
      () => false,
    );
}

/**
 * Frees the parts of a failed upload, whatever the caller's signal says. When this fails too, the parts stay until
 * `removeUnfinished`; the caller hears of the first failure, not of this one.
 */
async function abandon(target: UploadTarget, key: string, uploadId: string): Promise<void> {
  await abortUpload(target, key, uploadId, 2).catch(() => {});
}

export async function abortUpload(target: UploadTarget, key: string, uploadId: string, triesMax?: number): Promise<void> {
  const context: RequestContext = { operation: 'remove-unfinished', key, ...(triesMax === undefined ? {} : { triesMax }) };
  await target.requests.run(context, async (client, options) => {
    try {
      await client.send(new AbortMultipartUploadCommand({ Bucket: target.bucket, Key: key, UploadId: uploadId }), options);
    } catch (error) {
      if (nameOf(error) !== 'NoSuchUpload' && codeOf(error) !== 'NoSuchUpload') throw error;
    }
  });
}
