import type { Readable } from 'node:stream';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
} from '@aws-sdk/client-s3';
import { assert, PackhouseError } from '../base/mod.ts';
import { missing, short } from './faults.ts';
import { assertKey, assertPrefix, assertRange, isKey } from './keys.ts';
import { S3Ranges } from './s3-ranges.ts';
import {
  AnswerFault,
  createS3Requests,
  nameOf,
  type RequestContext,
  type S3ConnectionOptions,
  type S3Requests,
  statusOf,
  timeoutsOf,
} from './s3-requests.ts';
import { abortUpload, type UploadTarget, upload } from './s3-upload.ts';
import { type BucketAddress, presignGet, signGet } from './signature.ts';
import type { GetOptions, PackStore, PutOptions, PutSource, StoredObject } from './store.ts';

export interface S3StoreOptions extends S3ConnectionOptions {
  readonly bucket: string;
  /** Size of a part and of the largest object stored by one request; 8 MiB unless told, at least 5 MiB (S3's own rule). */
  readonly partSizeBytes?: number;
  /** Parts of one put on their way at a time; 4 unless told. A put holds `(concurrency + 1) × partSizeBytes` at most. */
  readonly concurrency?: number;
  /** Make the bucket when it is not there, before the first operation. */
  readonly createBucket?: boolean;
  /** The service as those reach it who get URLs; `endpoint` unless told. */
  readonly publicEndpoint?: string;
  /** Keys asked for at a time by `list`; 1000 unless told. */
  readonly listPageKeys?: number;
}

interface ListedPage {
  readonly objects: readonly StoredObject[];
  readonly goesOn: boolean;
}

const MIB = 1024 * 1024;
const PART_BYTES_MIN = 5 * MIB;

/**
 * Objects in a bucket of an S3 service; made for Ceph RGW, uses nothing beyond plain S3.
 * @public `s3.ts` loads it when there is a bucket
 */
export class S3Store implements PackStore {
  readonly kind = 's3';
  readonly #bucket: string;
  readonly #requests: S3Requests;
  readonly #target: UploadTarget;
  readonly #ranges: S3Ranges;
  readonly #address: BucketAddress;
  readonly #publicAddress: BucketAddress;
  readonly #listPageKeys: number;
  readonly #createBucket: boolean;
  #bucketReady: Promise<void> | undefined;

  constructor(options: S3StoreOptions) {
    const partSizeBytes = options.partSizeBytes ?? 8 * MIB;
    const concurrency = options.concurrency ?? 4;
    assert(partSizeBytes >= PART_BYTES_MIN, `a part has at least ${PART_BYTES_MIN} bytes, not ${partSizeBytes}`);
    assert(concurrency >= 1, `at least one part is sent at a time, not ${concurrency}`);
    this.#bucket = options.bucket;
    this.#requests = createS3Requests(options);
    this.#target = { requests: this.#requests, bucket: options.bucket, partSizeBytes, concurrency };
    const { endpoint, publicEndpoint, region, bucket, pathStyle = true } = options;
    this.#ranges = new S3Ranges(timeoutsOf(options));
    this.#address = { endpoint, region, bucket, pathStyle };
    this.#publicAddress = { ...this.#address, endpoint: publicEndpoint || endpoint };
    this.#listPageKeys = options.listPageKeys ?? 1000;
    this.#createBucket = options.createBucket ?? false;
  }

  async put(key: string, source: PutSource, { signal }: PutOptions = {}): Promise<number> {
    assertKey(key);
    await this.#ready();
    return await upload(this.#target, key, source, signal);
  }

  async get(key: string, { offset, lengthBytes, signal, passedOn }: GetOptions): Promise<Buffer> {
    assertKey(key);
    assertRange(key, offset, lengthBytes);
    await this.#ready();
    const context: RequestContext = { operation: 'get', key, signal };
    if (lengthBytes === 0) return await this.#getNothing(context, offset);
    const range = `bytes=${offset}-${offset + lengthBytes - 1}`;
    const input = { Bucket: this.#bucket, Key: key, Range: range };
    return await this.#requests.run(context, async (client, options) => {
      const signer = { ...(await this.#requests.credentials()), now: this.#requests.now() };
      const bytes = await this.#ranges.read({
        ...signGet({ ...this.#address, ...signer, key, range }),
        lengthBytes,
        assertFits: (ContentRange, ContentLength) => assertAnswerFits({ ContentRange, ContentLength }, key, offset, lengthBytes),
        signal,
        allocate: passedOn ?? Buffer.allocUnsafeSlow,
      });
      if (bytes !== null) return bytes;
      const answer = await client.send(new GetObjectCommand(input), options).catch((error: unknown) => {
        if (nameOf(error) === 'NoSuchKey') throw missing(key);
        if (statusOf(error) === 416) throw short(key, offset, lengthBytes, undefined);
        throw error;
      });
      return await readAnswer(answer, key, offset, lengthBytes);
    });
  }

  async head(key: string): Promise<StoredObject | null> {
    assertKey(key);
    await this.#ready();
    return await this.#describe({ operation: 'head', key });
  }

  async presignGet(key: string, lifeSeconds: number): Promise<string> {
    assertKey(key);
    return presignGet({
      ...this.#publicAddress,
      ...(await this.#requests.credentials()),
      key,
      lifeSeconds,
      now: this.#requests.now(),
    });
  }

  async delete(key: string): Promise<void> {
    assertKey(key);
    await this.#ready();
    await this.#requests.run({ operation: 'delete', key }, async (client, options) => {
      await client.send(new DeleteObjectCommand({ Bucket: this.#bucket, Key: key }), options).catch((error: unknown) => {
        if (nameOf(error) !== 'NoSuchKey') throw error;
      });
    });
  }

  /** Each page asks for what comes after the last key seen, so that a page can be tried again and nothing in the store expires. */
  async *list(prefix: string): AsyncGenerator<StoredObject> {
    assertPrefix(prefix);
    await this.#ready();
    for (let after = ''; ; ) {
      const page = await this.#listPage(prefix, after);
      for (const object of page.objects) {
        if (!(object.key > after)) throw outOfOrder(prefix, after, object.key);
        after = object.key;
        if (isKey(object.key)) yield object;
      }
      if (!page.goesOn) return;
      if (page.objects.length === 0) throw outOfOrder(prefix, after, undefined);
    }
  }

  async removeUnfinished(olderThanSeconds: number): Promise<number> {
    await this.#ready();
    const context: RequestContext = { operation: 'remove-unfinished', key: '' };
    let removed = 0;
    for (let marker: { KeyMarker?: string; UploadIdMarker?: string } = {}; ; ) {
      const page = await this.#requests.run(context, (client, options) =>
        client.send(new ListMultipartUploadsCommand({ Bucket: this.#bucket, ...marker }), options),
      );
      // After an answer: it may have put our clock right.
      const begunBefore = this.#requests.now().getTime() - olderThanSeconds * 1000;
      for (const { Key: key, UploadId: uploadId, Initiated: begun } of page.Uploads ?? []) {
        if (!key || !uploadId || !begun || !isKey(key) || begun.getTime() >= begunBefore) continue;
        await abortUpload(this.#target, key, uploadId);
        removed += 1;
      }
      if (!page.IsTruncated || !page.NextKeyMarker) return removed;
      marker = { KeyMarker: page.NextKeyMarker, ...(page.NextUploadIdMarker && { UploadIdMarker: page.NextUploadIdMarker }) };
    }
  }

  async check(): Promise<void> {
    await this.#ready();
    await this.#assertBucket({ operation: 'check', key: '', triesMax: 3 });
  }

  async close(): Promise<void> {
    this.#ranges.close();
    this.#requests.close();
  }

  #ready(): Promise<void> {
    if (!this.#createBucket) return Promise.resolve();
    this.#bucketReady ??= this.#makeBucket().catch((error: unknown) => {
      this.#bucketReady = undefined;
      throw error;
    });
    return this.#bucketReady;
  }

  async #makeBucket(): Promise<void> {
    await this.#requests.run({ operation: 'check', key: '' }, async (client, options) => {
      const found = await client.send(new HeadBucketCommand({ Bucket: this.#bucket }), options).catch((error: unknown) => {
        if (statusOf(error) !== 404) throw error;
        return null;
      });
      if (found !== null) return;
      await client.send(new CreateBucketCommand({ Bucket: this.#bucket }), options).catch((error: unknown) => {
        if (nameOf(error) !== 'BucketAlreadyOwnedByYou') throw error;
      });
    });
  }

  async #assertBucket(context: RequestContext): Promise<void> {
    await this.#requests.run(context, async (client, options) => {
      await client.send(new HeadBucketCommand({ Bucket: this.#bucket }), options).catch((error: unknown) => {
        if (statusOf(error) !== 404) throw error;
        const data = { operation: context.operation, key: context.key, bucket: this.#bucket, attempts: 1, status: 404 };
        throw new PackhouseError('store-refused', `there is no bucket ${this.#bucket}`, data);
      });
    });
  }

  /** A HEAD's 404 has no body that would tell a missing object from a missing bucket, so the bucket is asked for too. */
  async #describe(context: RequestContext): Promise<StoredObject | null> {
    const found = await this.#requests.run(context, async (client, options) => {
      const input = { Bucket: this.#bucket, Key: context.key };
      const answer = await client.send(new HeadObjectCommand(input), options).catch((error: unknown) => {
        if (statusOf(error) !== 404) throw error;
        return null;
      });
      return answer === null ? null : described(context.key, answer.ContentLength, answer.LastModified);
    });
    if (found === null) await this.#assertBucket(context);
    return found;
  }

  /** A range header cannot ask for no bytes. */
  async #getNothing(context: RequestContext, offset: number): Promise<Buffer> {
    const found = await this.#describe(context);
    if (found === null) throw missing(context.key);
    if (offset > found.lengthBytes) throw short(context.key, offset, 0, found.lengthBytes);
    return Buffer.alloc(0);
  }

  #listPage(prefix: string, after: string): Promise<ListedPage> {
    const input = {
      Bucket: this.#bucket,
      MaxKeys: this.#listPageKeys,
      ...(prefix !== '' && { Prefix: prefix }),
      ...(after !== '' && { StartAfter: after }),
    };
    return this.#requests.run({ operation: 'list', key: prefix }, async (client, options) => {
      const { IsTruncated, Contents } = await client.send(new ListObjectsV2Command(input), options);
      // Every list says whether it goes on: an answer that does not is none, and must not pass for an empty bucket.
      if (IsTruncated === undefined) throw new AnswerFault('the answer is no list');
      const objects = (Contents ?? []).map(({ Key, Size, LastModified }) => described(Key, Size, LastModified));
      return { objects, goesOn: IsTruncated };
    });
  }
}

/** An answer that lacks a size or a time is a fault: a guess (empty, very old) could get the object deleted. */
function described(key: string | undefined, lengthBytes: number | undefined, modifiedAt: Date | undefined): StoredObject {
  if (key !== undefined && lengthBytes !== undefined && modifiedAt !== undefined) return { key, lengthBytes, modifiedAt };
  throw new AnswerFault(`the answer lacks key, size or time of ${key ?? 'an object'}`);
}

function outOfOrder(prefix: string, after: string, key: string | undefined): PackhouseError {
  const message = `the store's list of ${prefix || 'everything'} does not go on after ${after || 'its start'}: ${key ?? 'no key'}`;
  return new PackhouseError('store-refused', message, { operation: 'list', prefix, after, key });
}

/** Reads exactly the range that was asked for, whatever the answer claims; an answer that breaks off is an `AnswerFault`. */
async function readAnswer(answer: GetObjectCommandOutput, key: string, offset: number, lengthBytes: number): Promise<Buffer> {
  const body = answer.Body as Readable;
  try {
    assertAnswerFits(answer, key, offset, lengthBytes);
    const bytes = Buffer.allocUnsafeSlow(lengthBytes);
    let filled = 0;
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      if (filled + chunk.length > lengthBytes) throw new AnswerFault(`more than ${lengthBytes} bytes came`);
      bytes.set(chunk, filled);
      filled += chunk.length;
    }
    if (filled < lengthBytes) throw new AnswerFault(`${filled} of ${lengthBytes} bytes came`);
    return bytes;
  } catch (error) {
    body.once('error', () => {});
    body.destroy();
    throw error;
  }
}

function assertAnswerFits(
  { ContentRange, ContentLength }: Pick<GetObjectCommandOutput, 'ContentRange' | 'ContentLength'>,
  key: string,
  offset: number,
  lengthBytes: number,
): void {
  if (ContentRange === undefined) {
    // The whole object came: good only if that is what was asked for.
    if (offset === 0 && ContentLength === lengthBytes) return;
    throw new AnswerFault(`a range from ${offset} was asked for, the answer has none and ${ContentLength} bytes`);
  }
  const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(ContentRange);
  if (range === null || Number(range[1]) !== offset) throw new AnswerFault(`asked for bytes from ${offset}, got ${ContentRange}`);
  const total = Number(range[3]);
  if (offset + lengthBytes > total) throw short(key, offset, lengthBytes, total);
  if (Number(range[2]) !== offset + lengthBytes - 1) throw new AnswerFault(`asked for ${lengthBytes} bytes, got ${ContentRange}`);
}
