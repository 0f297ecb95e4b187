import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { test } from 'node:test';
import { listed, oddChunks } from './conformance.ts';
import { errorOf, type Handler, storeAt, withServer } from './s3-testing.ts';

const MIB = 1024 * 1024;
const PART_BYTES = 5 * MIB;
const XML = { 'content-type': 'application/xml' };
const BEGUN = '<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>';
const COMPLETED = '<CompleteMultipartUploadResult><ETag>"e"</ETag></CompleteMultipartUploadResult>';
const GONE = '<Error><Code>NoSuchUpload</Code><Message>gone</Message></Error>';

type Answer = (outgoing: ServerResponse, incoming: IncomingMessage) => void;

interface Script {
  readonly part?: Answer;
  /** What each try to complete gets, in order; the last one again and again. */
  readonly complete?: readonly Answer[];
  readonly head?: Answer;
}

/** A service that takes uploads as told, and the kinds of requests it has seen. */
function scripted(script: Script): { handler: Handler; seen: string[] } {
  const seen: string[] = [];
  let completions = 0;
  const part: Answer = script.part ?? ((outgoing) => void outgoing.writeHead(200, { etag: '"e"' }).end());
  const answer = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    const url = incoming.url ?? '';
    if (incoming.method === 'POST' && url.includes('uploads')) {
      seen.push('begin');
      outgoing.writeHead(200, XML).end(BEGUN);
    } else if (incoming.method === 'POST') {
      seen.push('complete');
      const steps = script.complete ?? [(done) => void done.writeHead(200, XML).end(COMPLETED)];
      steps[Math.min(completions, steps.length - 1)]?.(outgoing, incoming);
      completions += 1;
    } else if (incoming.method === 'PUT') {
      seen.push('part');
      part(outgoing, incoming);
    } else if (incoming.method === 'HEAD') {
      seen.push('head');
      (script.head ?? ((done) => void done.writeHead(404).end()))(outgoing, incoming);
    } else {
      seen.push('abort');
      outgoing.writeHead(204).end();
    }
  };
  return { handler: (incoming, outgoing) => void incoming.resume().on('end', () => answer(incoming, outgoing)), seen };
}

const hangUp: Answer = (outgoing) => void outgoing.destroy();
const gone: Answer = (outgoing) => void outgoing.writeHead(404, XML).end(GONE);

test('s3 upload: completed, answer lost, upload gone: the object itself tells that the put is done', async () => {
  const head: Answer = (outgoing) => void outgoing.writeHead(200, { 'content-length': 12 * MIB }).end();
  const { handler, seen } = scripted({ complete: [hangUp, gone], head });
  await withServer(handler, async (endpoint) => {
    const store = storeAt(endpoint, { partSizeBytes: PART_BYTES });
    assert.equal(await store.put('a', oddChunks(12 * MIB)), 12 * MIB);
    assert.deepEqual(seen, ['begin', 'part', 'part', 'part', 'complete', 'complete', 'head']);
    await store.close();
  });
});

test('s3 upload: an upload gone without its object, or with another length, is a failed put', async () => {
  const shorter: Answer = (outgoing) => void outgoing.writeHead(200, { 'content-length': 12 * MIB - 1 }).end();
  for (const script of [{ complete: [hangUp, gone] }, { complete: [gone], head: shorter }]) {
    const { handler, seen } = scripted(script);
    await withServer(handler, async (endpoint) => {
      const store = storeAt(endpoint, { partSizeBytes: PART_BYTES });
      const error = await errorOf(store.put('a', oddChunks(12 * MIB)));
      assert.equal(error.code, 'store-refused');
      assert.equal(error.data.fault, 'NoSuchUpload');
      assert.equal(seen.at(-1), 'abort');
      await store.close();
    });
  }
});

test('s3 upload: an error inside a good answer, and an answer that makes no sense, are tried again', async () => {
  const inside: Answer = (outgoing) => void outgoing.writeHead(200, XML).end('<Error><Code>InternalError</Code></Error>');
  const nonsense: Answer = (outgoing) => void outgoing.writeHead(200, XML).end('<CompleteMultipartUploadRes');
  const good: Answer = (outgoing) => void outgoing.writeHead(200, XML).end(COMPLETED);
  const { handler, seen } = scripted({ complete: [inside, nonsense, good] });
  await withServer(handler, async (endpoint) => {
    const store = storeAt(endpoint, { partSizeBytes: PART_BYTES });
    assert.equal(await store.put('a', oddChunks(6 * MIB)), 6 * MIB);
    assert.deepEqual(seen, ['begin', 'part', 'part', 'complete', 'complete', 'complete']);
    await store.close();
  });
});

test('s3 upload: each body comes with the SHA-256 of its bytes', async () => {
  const { createHash } = await import('node:crypto');
  const claims: string[] = [];
  const digests: string[] = [];
  const handler: Handler = (incoming, outgoing) => {
    const hash = createHash('sha256');
    incoming.on('data', (chunk: Buffer) => hash.update(chunk));
    incoming.on('end', () => {
      if (incoming.method === 'PUT') {
        claims.push(String(incoming.headers['x-amz-content-sha256']));
        digests.push(hash.digest('hex'));
      }
      const isBegin = incoming.method === 'POST' && incoming.url?.includes('uploads');
      outgoing.writeHead(200, { ...XML, etag: '"e"' }).end(isBegin ? BEGUN : incoming.method === 'POST' ? COMPLETED : '');
    });
  };
  await withServer(handler, async (endpoint) => {
    const store = storeAt(endpoint, { partSizeBytes: PART_BYTES });
    await store.put('small', oddChunks(1_000));
    await store.put('large', oddChunks(12 * MIB));
    await store.put('array', Buffer.alloc(PART_BYTES + 1, 1));
    assert.equal(claims.length, 6);
    assert.deepEqual(claims, digests);
    await store.close();
  });
});

test('s3 upload: no more parts are on their way, and no more is read ahead, than allowed', async () => {
  let now = 0;
  let most = 0;
  const part: Answer = (outgoing) => {
    now += 1;
    most = Math.max(most, now);
    setTimeout(() => {
      now -= 1;
      outgoing.writeHead(200, { etag: '"e"' }).end();
    }, 20);
  };
  const { handler, seen } = scripted({ part });
  let readAhead = 0;
  async function* watched(): AsyncGenerator<Buffer> {
    for (let number = 1; number <= 8; number += 1) {
      readAhead = Math.max(readAhead, number - (seen.filter((kind) => kind === 'part').length - now));
      yield Buffer.alloc(PART_BYTES);
    }
  }
  await withServer(handler, async (endpoint) => {
    const store = storeAt(endpoint, { partSizeBytes: PART_BYTES, concurrency: 2 });
    await store.put('a', watched());
    assert.equal(most, 2);
    assert.ok(readAhead <= 3, `${readAhead} parts held at a time`);
    await store.close();
  });
});

test('s3: a list that breaks off inside a good answer is asked for again', async () => {
  const page =
    '<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key><Size>3</Size>' +
    '<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>';
  let requests = 0;
  const handler: Handler = (_, outgoing) => {
    requests += 1;
    outgoing.writeHead(200, XML).end(requests === 1 ? page.slice(0, 90) : page);
  };
  await withServer(handler, async (endpoint) => {
    const store = storeAt(endpoint);
    assert.deepEqual(await listed(store, ''), [{ key: 'a', lengthBytes: 3, modifiedAt: new Date('2024-01-01') }]);
    assert.equal(requests, 2);
    await store.close();
  });
});

test('s3: a list that does not move on is an error, not an endless loop or a short list', async () => {
  const object = '<Contents><Key>a</Key><Size>3</Size><LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>';
  for (const contents of [object, '']) {
    const body = `<ListBucketResult><IsTruncated>true</IsTruncated>${contents}</ListBucketResult>`;
    const handler: Handler = (_, outgoing) => void outgoing.writeHead(200, XML).end(body);
    await withServer(handler, async (endpoint) => {
      const store = storeAt(endpoint);
      assert.equal((await errorOf(listed(store, ''))).code, 'store-refused');
      await store.close();
    });
  }
});

test('s3: an answer that lacks what it must tell is never taken for an empty bucket or an old object', async () => {
  const bodies = [
    '',
    '<html></html>',
    '<ListBucketResult></ListBucketResult>',
    '<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key><Size>3</Size></Contents></ListBucketResult>',
  ];
  for (const body of bodies) {
    const handler: Handler = (_, outgoing) => void outgoing.writeHead(200, XML).end(body);
    await withServer(handler, async (endpoint) => {
      const store = storeAt(endpoint, { triesMax: 2 });
      const error = await errorOf(listed(store, ''));
      assert.equal(error.code, 'store-unavailable', `${body}: ${error.message}`);
      assert.equal(error.data.attempts, 2);
      await store.close();
    });
  }
});
