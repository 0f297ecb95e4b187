import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AnswerReader } from './answer-reader.ts';

const BODY = 'what the server says, 0000';
const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n';
const CHUNKS = [5, 1, BODY.length - 6];

function chunked(): string {
  let at = 0;
  const chunks = CHUNKS.map((size, i) => {
    const text = BODY.slice(at, at + size);
    at += size;
    return `${size.toString(16)}${i === 1 ? ' ;x=y' : ''}\r\n${text}\r\n`;
  });
  return `${HEAD}Transfer-Encoding: chunked\r\n\r\n${chunks.join('')}0\r\nTrailer: of no interest\r\n\r\n`;
}

function read(answer: string, cuts: readonly number[] = []): { body: string; status: number; isWhole: boolean } {
  let body = '';
  const reader = new AnswerReader((bytes) => {
    body += bytes.toString('latin1');
  });
  const ends = [...new Set(cuts.map((cut) => cut % answer.length)), answer.length].sort((a, b) => a - b);
  let from = 0;
  for (const to of ends) {
    reader.take(Buffer.from(answer.slice(from, to), 'latin1'));
    from = to;
  }
  return { body, status: reader.status, isWhole: reader.isWhole };
}

test('answers come whole, however they are cut', () => {
  for (const answer of [chunked(), `${HEAD}content-length: ${BODY.length}\r\n\r\n${BODY}`])
    fc.assert(
      fc.property(fc.array(fc.nat(answer.length - 1), { maxLength: 20 }), (cuts) => {
        assert.deepEqual(read(answer, cuts), { body: BODY, status: 200, isWhole: true });
      }),
    );
  const refusal = 'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n';
  assert.deepEqual(read(refusal), { body: '', status: 503, isWhole: true });
});

test('the beginning of an answer is not a whole one', () => {
  const answer = chunked();
  for (let end = 1; end < answer.length; end++) assert.equal(read(answer.slice(0, end)).isWhole, false);
});

test('what is no answer, or of another kind, is refused', () => {
  const refused = [
    `${HEAD}\r\n${BODY}`,
    'SSH-2.0-x\r\n\r\n',
    `${HEAD}Content-Length: 3\r\n\r\n${BODY}`,
    chunked().replace('\r\n5\r\n', '\r\nfive\r\n'),
    chunked().replace('\r\n5\r\n', '\r\n4\r\n'),
    `HTTP/1.1 200 OK\r\n${'a'.repeat(70_000)}`,
    `${HEAD}Transfer-Encoding: chunked\r\n\r\n${'1'.repeat(300)}`,
  ];
  for (const answer of refused) assert.throws(() => read(answer), Error, answer.slice(0, 100));
});
