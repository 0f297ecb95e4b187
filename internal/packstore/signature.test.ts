import assert from 'node:assert/strict';
import { test } from 'node:test';
import { presignGet, signGet } from './signature.ts';

/** The example of the S3 API reference, "Authenticating Requests: Using Query Parameters". */
const EXAMPLE = {
  endpoint: 'https://s3.amazonaws.com',
  region: 'us-east-1',
  bucket: 'examplebucket',
  key: 'test.txt',
  pathStyle: false,
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
  lifeSeconds: 86_400,
  now: new Date('2013-05-24T00:00:00Z'),
};

test('a URL is signed as the reference of S3 signs its example', () => {
  assert.equal(
    presignGet(EXAMPLE),
    'https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256' +
      '&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400' +
      '&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
  );
});

test('bucket, folder of the endpoint, token and life are where they belong', () => {
  const url = new URL(
    presignGet({
      ...EXAMPLE,
      endpoint: 'http://10.0.0.1:8000/s3/',
      pathStyle: true,
      key: "a b/c'd",
      sessionToken: 'x/y',
      lifeSeconds: 1e9,
    }),
  );
  assert.equal(url.host, '10.0.0.1:8000');
  assert.equal(url.pathname, '/s3/examplebucket/a%20b/c%27d');
  assert.equal(url.searchParams.get('X-Amz-Security-Token'), 'x/y');
  assert.equal(url.searchParams.get('X-Amz-Expires'), '604800');
  assert.throws(() => presignGet({ ...EXAMPLE, lifeSeconds: 0 }), RangeError);
});

test('a range is signed as the reference of S3 signs its example', () => {
  const { lifeSeconds: _, ...example } = EXAMPLE;
  const { path, headers } = signGet({ ...example, range: 'bytes=0-9' });
  assert.equal(path, '/test.txt');
  assert.equal(
    headers.authorization,
    'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request' +
      ',SignedHeaders=host;range;x-amz-content-sha256;x-amz-date' +
      ',Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  );
  const lent = signGet({ ...example, range: 'bytes=0-9', sessionToken: 'x/y' });
  assert.equal(lent.headers['x-amz-security-token'], 'x/y');
  assert.match(lent.headers.authorization!, /SignedHeaders=host;range;x-amz-content-sha256;x-amz-date;x-amz-security-token,/);
});
