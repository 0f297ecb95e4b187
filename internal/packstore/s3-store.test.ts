import assert from 'node:assert/strict';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { type Trick, type TrickFor, withFaultyLine } from '../testkit/mod.ts';
import { hasCode, listed, oddChunks, readWhole } from './conformance.ts';
import { createS3Store } from './s3.ts';
import { ACCESS, errorOf, type Handler, SECRET, s3TestSettings, storeAt, withServer } from './s3-testing.ts';
import type { PackStore } from './store.ts';

const MIB = 1024 * 1024;
const range = { offset: 0, lengthBytes: 4 };

test('s3: an endpoint where nobody listens is unavailable after the tries', async () => {
  let endpoint = '';
  await withServer(
    () => {},
    async (address) => {
      endpoint = address;
    },
  );
  const store = storeAt(endpoint, { triesMax: 3 });
  const error = await errorOf(store.get('crates/a', range));
  assert.equal(error.code, 'store-unavailable');
  assert.deepEqual(
    { ...error.data },
    { operation: 'get', key: 'crates/a', attempts: 3, status: undefined, fault: 'ECONNREFUSED' },
  );
  assert.match(error.message, /store get of crates\/a at 127\.0\.0\.1:\d+ failed after 3 tries: ECONNREFUSED/);
  await errorOf(store.put('crates/a', Buffer.from('x')));
  await errorOf(store.check());
  await store.close();
});

test('s3: an endpoint that never answers is given up', async () => {
  let requests = 0;
  const silent: Handler = () => {
    requests += 1;
  };
  await withServer(silent, async (endpoint) => {
    for (const limits of [{ idleTimeoutMs: 300 }, { answerTimeoutMilliseconds: 300 }]) {
      requests = 0;
      const store = storeAt(endpoint, { triesMax: 2, ...limits });
      const error = await errorOf(store.get('a', range));
      assert.equal(error.code, 'store-unavailable');
      assert.equal(requests, 2);
      await store.close();
    }
  });
});

test('s3: a body that stalls or breaks off is asked for again, and given up after the tries', async () => {
  const halves: Handler[] = [
    (_, outgoing) => outgoing.write('ab'),
    (_, outgoing) => outgoing.write('ab', () => outgoing.destroy()),
  ];
  for (const half of halves) {
    let requests = 0;
    const handler: Handler = (incoming, outgoing) => {
      requests += 1;
      outgoing.writeHead(206, { 'content-length': 4, 'content-range': 'bytes 0-3/9' });
      if (requests < 3 || incoming.url?.includes('never')) half(incoming, outgoing);
      else outgoing.end('abcd');
    };
    await withServer(handler, async (endpoint) => {
      const store = storeAt(endpoint, { idleTimeoutMs: 100 });
      assert.equal((await store.get('a', range)).toString(), 'abcd');
      assert.equal(requests, 3);
      requests = 0;
      const error = await errorOf(store.get('never', range));
      assert.equal(error.code, 'store-unavailable');
      assert.equal(error.data.attempts, 5);
      await store.close();
    });
  }
});

test('s3: an answer to another range is not believed', async () => {
  const answers: [number, Record<string, string | number>, string][] = [
    [206, { 'content-range': 'bytes 1-4/9' }, 'bcde'],
    [206, { 'content-range': 'bytes 0-2/9' }, 'abc'],
    [206, { 'content-range': 'nonsense' }, 'abcd'],
    [200, {}, 'abcdefghi'],
    [200, { 'content-length': 3 }, 'abc'],
    [206, { 'content-range': 'bytes 0-3/9' }, 'abcdefghi'],
  ];
  for (const [status, headers, body] of answers) {
    let requests = 0;
    const handler: Handler = (_, outgoing) => {
      requests += 1;
      outgoing.writeHead(
        requests === 1 ? status : 206,
        requests === 1 ? headers : { 'content-range': 'bytes 0-3/9', 'content-length': 4 },
      );
      outgoing.end(requests === 1 ? body : 'abcd');
    };
    await withServer(handler, async (endpoint) => {
      const store = storeAt(endpoint);
      assert.equal((await store.get('a', range)).toString(), 'abcd', `${status} ${JSON.stringify(headers)}`);
      assert.equal(requests, 2, `${status} ${JSON.stringify(headers)}`);
      await store.close();
    });
  }
});

test('s3: ranges past 2^32 are asked for to the byte', async () => {
  const offset = 2 ** 40 + 3;
  let asked = '';
  const handler: Handler = (incoming, outgoing) => {
    asked = incoming.headers.range ?? '';
    outgoing.writeHead(206, { 'content-range': `bytes ${offset}-${offset + 3}/${2 ** 41}` }).end('abcd');
  };
  await withServer(handler, async (endpoint) => {
    const store = storeAt(endpoint);
    assert.equal((await store.get('a', { offset, lengthBytes: 4 })).toString(), 'abcd');
    assert.equal(asked, 'bytes=1099511627779-1099511627782');
    await store.close();
  });
});

test('s3: what the service refuses is refused at once, without telling the key', async () => {
  let requests = 0;
  const xml = `<Error><Code>InvalidAccessKeyId</Code><Message>no ${ACCESS} here</Message><AWSAccessKeyId>${ACCESS}</AWSAccessKeyId></Error>`;
  const handler: Handler = (incoming, outgoing) => {
    requests += 1;
    incoming.resume().on('end', () => outgoing.writeHead(403, { 'content-type': 'application/xml' }).end(xml));
  };
  await withServer(handler, async (endpoint) => {
    const store = storeAt(endpoint);
    // Who reads ranges does not read refusals: it is asked again by who does.
    for (const [work, asked] of [
      [() => store.get('a', range), 2],
      [() => store.put('a', Buffer.from('x')), 1],
      [() => listed(store, ''), 1],
    ] as const) {
      requests = 0;
      const error = await errorOf(work());
      assert.equal(error.code, 'store-refused');
      assert.equal(error.data.status, 403);
      assert.equal(requests, asked);
    }
    assert.equal((await errorOf(store.check())).code, 'store-refused');
    await store.close();
  });
});

test('s3: no more requests are on their way than allowed', async () => {
  let most = 0;
  let now = 0;
  const handler: Handler = (_, outgoing) => {
    now += 1;
    most = Math.max(most, now);
    setTimeout(() => {
      now -= 1;
      outgoing.writeHead(206, { 'content-range': 'bytes 0-3/9' }).end('abcd');
    }, 3);
  };
  await withServer(handler, async (endpoint) => {
    const store = storeAt(endpoint, { requestsMax: 3 });
    await Promise.all(Array.from({ length: 30 }, () => store.get('a', range)));
    assert.equal(most, 3);
    await store.close();
  });
});

test('s3: an abort ends a read in its body, between tries, and in the queue', async () => {
  const handler: Handler = (incoming, outgoing) => {
    if (incoming.url?.includes('stall')) outgoing.writeHead(206, { 'content-range': 'bytes 0-3/9' }).write('ab');
    else outgoing.writeHead(503).end();
  };
  await withServer(handler, async (endpoint) => {
    const store = storeAt(endpoint, { requestsMax: 1, retryDelayMilliseconds: 600_000 });
    for (const keys of [['stall'], ['unwell'], ['stall', 'queued']]) {
      const abort = new AbortController();
      const reading = keys.map((key) => store.get(key, { ...range, signal: abort.signal }));
      setTimeout(() => abort.abort(new Error('enough')), 40);
      await Promise.all(reading.map((read) => assert.rejects(read, /enough/)));
    }
    await store.close();
  });
});

const real = s3TestSettings('faults');
const skip = real === undefined ? 'PACKHOUSE_TEST_S3_ENDPOINT is not set' : false;

/** A store over a faulty line to the real service, and one without faults beside it. */
async function withFaultyStore(
  trickFor: TrickFor,
  run: (faulty: PackStore, direct: PackStore, key: string) => Promise<void>,
): Promise<void> {
  assert.ok(real !== undefined);
  await withFaultyLine(real.endpoint, trickFor, async (endpoint) => {
    const settings = { ...real, partSizeBytes: 5 * MIB, retryDelayMilliseconds: 5 };
    const direct = createS3Store({ ...settings, createBucket: true });
    const faulty = createS3Store({ ...settings, endpoint });
    const key = `faults/${randomUUID()}`;
    try {
      await direct.check();
      await run(faulty, direct, key);
      await direct.delete(key);
    } finally {
      await Promise.all([faulty.close(), direct.close()]);
    }
  });
}

/** Plays `trick` on the first `times` requests that match. */
function firstTimes(times: number, what: RegExp, trick: Trick): TrickFor & { count: () => number } {
  let matched = 0;
  const choose = (line: string) => {
    if (!what.test(line)) return undefined;
    matched += 1;
    return matched <= times ? trick : undefined;
  };
  return Object.assign(choose, { count: () => matched });
}

for (const trick of ['refuse', 'hang-up', 'lose-answer', 'damage-body', 'cut-answer'] as const) {
  // Cutting an answer matters where it has a body: in the XML of begin and complete.
  for (const lengthBytes of trick === 'cut-answer' ? [12 * MIB] : [100_000, 12 * MIB]) {
    test(`s3, real service: a put of ${lengthBytes} bytes survives: ${trick}`, { skip }, async () => {
      const tricks = firstTimes(2, trick === 'damage-body' ? /^PUT / : /^(PUT|POST) /, trick);
      const bytes = randomBytes(lengthBytes);
      await withFaultyStore(tricks, async (faulty, direct, key) => {
        assert.equal(await faulty.put(key, bytes), lengthBytes);
        assert.ok(tricks.count() > 2, 'there was a fault and another try');
        assert.ok((await readWhole(direct, key, lengthBytes)).equals(bytes));
        // The upload whose id was lost with its answer is the one thing that stays.
        if (trick !== 'lose-answer' && trick !== 'cut-answer') assert.equal(await direct.removeUnfinished(-60), 0);
        else await direct.removeUnfinished(-60);
      });
    });
  }
}

for (const trick of ['lose-answer', 'hang-up', 'refuse', 'cut-answer'] as const) {
  test(`s3, real service: completing a multipart upload survives: ${trick}`, { skip }, async () => {
    const complete = firstTimes(2, /^POST .*uploadId=/, trick);
    await withFaultyStore(complete, async (faulty, direct, key) => {
      assert.equal(await faulty.put(key, oddChunks(12 * MIB)), 12 * MIB);
      assert.ok(complete.count() >= 2);
      const wanted = createHash('sha256');
      for await (const chunk of oddChunks(12 * MIB)) wanted.update(chunk);
      const got = createHash('sha256').update(await readWhole(direct, key, 12 * MIB));
      assert.equal(got.digest('hex'), wanted.digest('hex'));
    });
  });

  test(`s3, real service: a get survives: ${trick}`, { skip }, async () => {
    const gets = firstTimes(3, /^GET /, trick);
    await withFaultyStore(gets, async (faulty, direct, key) => {
      const bytes = randomBytes(300_000);
      await direct.put(key, bytes);
      assert.deepEqual(await faulty.get(key, { offset: 1_000, lengthBytes: 250_000 }), bytes.subarray(1_000, 251_000));
      assert.equal(gets.count(), 4);
    });
  });
}

test('s3, real service: a part that never arrives fails the put, and the upload is aborted', { skip }, async () => {
  const parts = firstTimes(Number.POSITIVE_INFINITY, /^PUT .*partNumber=3/, 'hang-up');
  await withFaultyStore(parts, async (faulty, direct, key) => {
    await direct.removeUnfinished(-60);
    const error = await errorOf(faulty.put(key, oddChunks(40 * MIB)));
    assert.equal(error.code, 'store-unavailable');
    assert.equal(error.data.attempts, 5);
    assert.equal(await direct.head(key), null);
    assert.equal(await direct.removeUnfinished(-60), 0);
  });
});

test('s3, real service: an upload that could not be aborted is removed later', { skip }, async () => {
  const trickFor: TrickFor = (what) => (/^DELETE |^PUT .*partNumber=2/.test(what) ? 'refuse' : undefined);
  await withFaultyStore(trickFor, async (faulty, direct, key) => {
    await direct.removeUnfinished(-60);
    await assert.rejects(faulty.put(key, oddChunks(12 * MIB)), hasCode('store-unavailable'));
    assert.equal(await direct.removeUnfinished(3_600), 0);
    assert.equal(await direct.removeUnfinished(-60), 1);
    assert.equal(await direct.removeUnfinished(-60), 0);
  });
});

test('s3, real service: a bucket that is not there makes nothing missing', { skip }, async () => {
  assert.ok(real !== undefined);
  const store = createS3Store({ ...real, bucket: `none-${randomUUID()}` });
  for (const work of [
    () => store.head('a'),
    () => store.get('a', range),
    () => store.delete('a'),
    () => store.put('a', Buffer.from('x')),
    () => listed(store, ''),
    () => store.check(),
  ]) {
    assert.equal((await errorOf(work())).code, 'store-refused');
  }
  await store.close();
});

test('s3, real service: a wrong secret is refused and not told', { skip }, async () => {
  assert.ok(real !== undefined);
  const store = createS3Store({ ...real, secretAccessKey: SECRET });
  assert.equal((await errorOf(store.put('a', Buffer.from('x')))).code, 'store-refused');
  assert.equal((await errorOf(store.check())).code, 'store-refused');
  await store.close();
});

test('s3, real service: objects with foreign names are passed over', { skip }, async () => {
  assert.ok(real !== undefined);
  const { S3Client, PutObjectCommand, DeleteObjectCommand } = await import('@aws-sdk/client-s3');
  const store = createS3Store({ ...real, createBucket: true, listPageKeys: 1 });
  await store.check();
  const { accessKeyId, secretAccessKey } = real;
  const client = new S3Client({ ...real, forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } });
  const foreign = { Bucket: real.bucket, Key: 'foreign/Not Ours.TXT' };
  await client.send(new PutObjectCommand({ ...foreign, Body: 'x' }));
  await store.put('foreign/ours', Buffer.from('x'));
  assert.deepEqual(
    (await listed(store, 'foreign/')).map(({ key }) => key),
    ['foreign/ours'],
  );
  await client.send(new DeleteObjectCommand(foreign));
  await store.delete('foreign/ours');
  client.destroy();
  await store.close();
});
