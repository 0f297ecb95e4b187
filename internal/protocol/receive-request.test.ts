import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { PackhouseError } from '../base/mod.ts';
import { encodePkt, FLUSH } from '../pktline/mod.ts';
import { type ReceiveParserOptions, type ReceiveRequest, ReceiveRequestParser } from './mod.ts';

const LIMITS = { commandsMax: 8, commandBytesMax: 10_000, refNameBytesMax: 100, pushOptionsMax: 3, shallowsMax: 3 };
const SHA1: ReceiveParserOptions = { format: 'sha1', limits: LIMITS };
const SHA256: ReceiveParserOptions = { format: 'sha256', limits: LIMITS };
const UNDECIDED: ReceiveParserOptions = { format: null, limits: LIMITS };

const ZERO = '0'.repeat(40);
const A = 'a'.repeat(40);
const A64 = 'a'.repeat(64);
const ZERO64 = '0'.repeat(64);
const CAPS = '\0 report-status side-band-64k agent=git/2.39.5';

function body(...lines: (string | Buffer)[]): Buffer {
  return Buffer.concat(lines.map((line) => (typeof line === 'string' ? encodePkt(line) : line)));
}

function parse(bytes: Buffer, options: ReceiveParserOptions = SHA1): ReceiveRequest {
  const parser = new ReceiveRequestParser(options);
  const request = parser.push(bytes);
  if (request === null) parser.end();
  assert.ok(request);
  return request;
}

describe('receive-pack request', () => {
  it('gives commands, capabilities and push options, and hands the pack back', () => {
    const bytes = body(
      `shallow ${A}`,
      `${ZERO} ${A.toUpperCase()} refs/heads/main\0report-status report-status-v2 side-band-64k atomic quiet push-options ` +
        'object-format=sha1 agent=git/2.39.5 session-id=s1 something-new=1\n',
      `${A} ${ZERO} refs/heads/\xff\n`,
      FLUSH,
      'ci.skip',
      'reviewer=é'.replace('é', Buffer.from('é').toString('latin1')),
      FLUSH,
      Buffer.from('PACK0000'),
    );
    const parser = new ReceiveRequestParser(SHA1);
    assert.deepEqual(parser.push(bytes), {
      commands: [
        { old: ZERO, new: A, ref: 'refs/heads/main' },
        { old: A, new: ZERO, ref: 'refs/heads/\xff' },
      ],
      shallow: [A],
      format: 'sha1',
      reportStatus: 2,
      sideband: true,
      quiet: true,
      atomic: true,
      pushOptions: ['ci.skip', 'reviewer=é'],
      agent: 'git/2.39.5',
      sessionId: 's1',
      expectsPack: true,
    });
    assert.equal(parser.rest().toString(), 'PACK0000');
  });

  it('is the same however the body is cut', () => {
    const bytes = body(
      `${ZERO} ${A} refs/heads/a${CAPS} push-options`,
      `${A} ${ZERO} refs/heads/b`,
      FLUSH,
      'o',
      FLUSH,
      Buffer.from('PACK'),
    );
    const whole = parse(bytes);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 60 })), (cuts) => {
        const parser = new ReceiveRequestParser(SHA1);
        let at = 0;
        let request: ReceiveRequest | null = null;
        for (const cut of [...cuts, bytes.length]) {
          request = parser.push(bytes.subarray(at, at + cut));
          at = Math.min(at + cut, bytes.length);
          if (request !== null) break;
          assert.throws(() => parser.end(), { code: 'protocol-truncated' });
        }
        assert.deepEqual(request, whole);
        assert.equal(parser.rest().toString() + bytes.subarray(at).toString(), 'PACK');
      }),
    );
  });

  it('knows the probe, and a push that only deletes', () => {
    const probe = parse(FLUSH);
    assert.deepEqual([probe.commands, probe.expectsPack], [[], false]);
    assert.equal(parse(body(`${A} ${ZERO} refs/heads/a${CAPS}`, FLUSH)).expectsPack, false);
    assert.equal(parse(body(`${ZERO} ${A} refs/heads/a`, FLUSH)).reportStatus, 0, 'no capabilities: no report');
  });

  it('does not wait for push options that were not agreed on', () => {
    const parser = new ReceiveRequestParser(SHA1);
    assert.deepEqual(parser.push(body(`${ZERO} ${A} refs/heads/a${CAPS}`, FLUSH, Buffer.from('PACK')))?.pushOptions, []);
    assert.equal(parser.rest().toString(), 'PACK');
  });

  it('keeps to the repository’s object format, and lets the client choose where there is none', () => {
    const sha256 = body(`${ZERO64} ${A64} refs/heads/a\0object-format=sha256`, FLUSH);
    assert.equal(parse(sha256, SHA256).format, 'sha256');
    assert.equal(parse(sha256, UNDECIDED).format, 'sha256');
    assert.equal(parse(body(`${ZERO} ${A} refs/heads/a${CAPS}`, FLUSH), UNDECIDED).format, 'sha1');
    const refused = { code: 'object-format' };
    assert.throws(() => parse(sha256, SHA1), { ...refused, message: "unsupported object format 'sha256'" });
    assert.throws(() => parse(body(`${ZERO} ${A} refs/heads/a${CAPS}`, FLUSH), SHA256), {
      ...refused,
      message: "unsupported object format 'sha1'",
    });
    assert.throws(() => parse(body(`${ZERO} ${A} refs/heads/a\0object-format=md5`, FLUSH), UNDECIDED), refused);
    const strayShallow = body(`shallow ${A}`, `${ZERO64} ${A64} refs/heads/a\0object-format=sha256`, FLUSH);
    assert.throws(() => parse(strayShallow, UNDECIDED), { code: 'protocol' });
  });

  it('refuses malformed lines with git’s words', () => {
    for (const line of [
      `${ZERO} ${A}`,
      `${ZERO}  ${A} refs/heads/a`,
      `${A64} ${A64} refs/heads/a`,
      'x',
      '',
      `${ZERO} ${'g'.repeat(40)} r`,
      'shallow',
    ]) {
      assert.throws(
        () => parse(body(line, FLUSH)),
        { code: 'protocol', message: /^protocol error: expected old\/new\/ref, got '/ },
        line,
      );
    }
    assert.throws(() => parse(body('shallow abc', FLUSH)), {
      code: 'protocol',
      message: "protocol error: expected shallow sha, got 'abc'",
    });
    assert.throws(() => parse(body('push-cert\0x', FLUSH)), { code: 'protocol', message: /push certificates/ });
  });

  it('is bounded', () => {
    const command = `${ZERO} ${A} refs/heads/a`;
    const options = body(`${command}\0push-options`, FLUSH, ...Array(4).fill('o'), FLUSH);
    for (const bytes of [
      body(...Array(9).fill(command)),
      body(...Array(4).fill(`shallow ${A}`)),
      options,
      body(`${command}${'b'.repeat(100)}`),
      body(`${command}\0${'b '.repeat(8_000)}`),
    ]) {
      assert.throws(() => parse(bytes), { code: 'protocol-limit' });
    }
  });

  it('never fails by anything but a PackhouseError, whatever is changed in a good body', () => {
    const good = body(`shallow ${A}`, `${ZERO} ${A} refs/heads/a${CAPS} push-options`, FLUSH, 'o', FLUSH, Buffer.from('PACK'));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.constantFrom(SHA1, UNDECIDED),
        (edits, options) => {
          const bytes = Buffer.from(good);
          for (const [at, byte] of edits) bytes[at] = byte;
          try {
            parse(bytes, options);
          } catch (error) {
            assert.ok(error instanceof PackhouseError && error.code !== 'assertion', String(error));
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});
