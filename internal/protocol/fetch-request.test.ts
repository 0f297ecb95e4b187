import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { PackhouseError } from '../base/mod.ts';
import type { ObjectFormat } from '../object/mod.ts';
import { DELIM, encodePkt, FLUSH, RESPONSE_END } from '../pktline/mod.ts';
import { INFINITE_DEPTH, type ProtocolLimits, parseV0Request, parseV2Request, type V0Request, type V2Request } from './mod.ts';

const LIMITS: ProtocolLimits = {
  commandsMax: 4,
  commandBytesMax: 4096,
  refNameBytesMax: 100,
  pushOptionsMax: 4,
  wantsMax: 4,
  havesMax: 4,
  shallowsMax: 4,
  refPrefixesMax: 4,
  objectInfosMax: 4,
  serverOptionsMax: 4,
  deepenNotMax: 4,
  filterBytesMax: 100,
  filterDepthMax: 4,
};
const A = 'a'.repeat(40);
const B = 'b'.repeat(40);
const A64 = 'a'.repeat(64);

function body(...lines: (string | Buffer)[]): Buffer {
  return Buffer.concat(lines.map((line) => (typeof line === 'string' ? encodePkt(line) : line)));
}

function v0(bytes: Buffer, format: ObjectFormat = 'sha1'): V0Request {
  return parseV0Request(bytes, { format, limits: LIMITS });
}

function v2(bytes: Buffer, format: ObjectFormat = 'sha1'): V2Request {
  return parseV2Request(bytes, { format, limits: LIMITS });
}

const oids = (count: number): string[] => Array.from({ length: count }, (_, i) => i.toString(16).padStart(40, '0'));

/** Flips bytes of good bodies; nothing but a PackhouseError may come out, and never a broken invariant. */
function fuzz(goods: readonly Buffer[], parse: (bytes: Buffer) => unknown): void {
  const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(fc.constantFrom(...goods), edits, fc.nat(), (good, changes, cut) => {
      const bytes = Buffer.from(good);
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
      try {
        parse(cut % 3 === 0 ? bytes.subarray(0, cut % bytes.length) : bytes);
      } catch (error) {
        assert.ok(error instanceof PackhouseError && error.code !== 'assertion', String(error));
      }
    }),
    { numRuns: 2000 },
  );
}

const V0_FULL = body(
  `want ${A.toUpperCase()} multi_ack_detailed no-done side-band-64k thin-pack ofs-delta filter deepen-relative include-tag no-progress agent=git/1 session-id=s\n`,
  `want ${B}\n`,
  `want ${A}\n`,
  `shallow ${B}`,
  'deepen 3',
  'filter blob:limit=1k',
  FLUSH,
  `have ${B}\n`,
  `have ${A}\n`,
  FLUSH,
  'done\n',
);

describe('fetch request, v0', () => {
  it('gives wants, capabilities, depth, filter and one round of haves', () => {
    assert.deepEqual(v0(V0_FULL), {
      wants: [A, B],
      haves: [B, A],
      shallow: [B],
      deepen: { depth: 3, relative: true, since: null, not: [] },
      filter: { kind: 'blob:limit', limitBytes: 1024 },
      thinPack: true,
      ofsDelta: true,
      noProgress: true,
      includeTag: true,
      multiAck: 'multi_ack_detailed',
      sidebandPayloadBytes: 65515,
      noDone: true,
      agent: 'git/1',
      sessionId: 's',
      end: 'flush',
    });
  });

  it('tells how the body ends', () => {
    const want = `want ${A}`;
    assert.equal(v0(body(want, FLUSH, 'done')).end, 'done');
    assert.equal(v0(body(want, FLUSH, `have ${B}`, 'done\n', 'garbage')).end, 'done');
    assert.equal(v0(body(want, 'deepen 1', FLUSH)).end, 'none');
    assert.deepEqual([v0(FLUSH).wants, v0(FLUSH).end], [[], 'none']);
    assert.throws(() => v0(body(want, FLUSH, `have ${B}`)), { code: 'protocol-truncated' });
    assert.throws(() => v0(body(want)), { code: 'protocol-truncated' });
    assert.throws(() => v0(Buffer.alloc(0)), { code: 'protocol-truncated' });
  });

  it('offers each kind of sideband and acknowledgement', () => {
    const chosen = (list: string) => v0(body(`want ${A}${list}`, FLUSH, 'done'));
    assert.equal(chosen(' side-band').sidebandPayloadBytes, 995);
    assert.equal(chosen('').sidebandPayloadBytes, 0);
    assert.equal(chosen(' multi_ack').multiAck, 'multi_ack');
    assert.equal(chosen(' multi_ack_detailed multi_ack').multiAck, 'multi_ack_detailed');
    assert.equal(chosen(' multi_ackx').multiAck, 'none');
  });

  it('refuses malformed lines with upload-pack’s words', () => {
    const refusals: [Buffer, string][] = [
      [body(`want ${A}x`, FLUSH), `git upload-pack: protocol error, expected to get object ID, not 'want ${A}x'`],
      [body('want abc', FLUSH), "git upload-pack: protocol error, expected to get object ID, not 'want abc'"],
      [body('have', FLUSH), "git upload-pack: protocol error, expected to get object ID, not 'have'"],
      [body(`want ${A}`, 'filter blob:none', FLUSH), 'git upload-pack: filtering capability not negotiated'],
      [body(`want ${A} filter`, 'filter blob:none', 'filter tree:1', FLUSH), 'multiple filter-specs cannot be combined'],
      [body(`want ${A}`, FLUSH, `want ${A}`), `git upload-pack: expected SHA1 list, got 'want ${A}'`],
      [body(`want ${A}`, FLUSH, 'have abc'), "git upload-pack: expected SHA1 object, got 'abc'"],
      [body(`want ${A}`, 'shallow abc', FLUSH), 'invalid shallow line: shallow abc'],
    ];
    for (const [bytes, message] of refusals) assert.throws(() => v0(bytes), { code: 'protocol', message });
    assert.throws(() => v0(body(`want ${A}`, FLUSH, 'done'), 'sha256'), { code: 'protocol' });
    assert.deepEqual(v0(body(`want ${A64} ofs-delta`, FLUSH, 'done'), 'sha256').wants, [A64]);
  });

  it('reads depths as git’s clients write them', () => {
    const deepen = (...lines: string[]) => v0(body(`want ${A}`, ...lines, FLUSH)).deepen;
    assert.equal(deepen('deepen 2147483647').depth, INFINITE_DEPTH);
    assert.equal(deepen('deepen 99999999999').depth, INFINITE_DEPTH);
    assert.deepEqual(deepen('deepen-since 5', 'deepen-not refs/tags/v1', 'deepen-not x', 'deepen-not x'), {
      depth: 0,
      relative: false,
      since: 5,
      not: ['refs/tags/v1', 'x'],
    });
    for (const line of [
      'deepen 0',
      'deepen -1',
      'deepen x',
      'deepen ',
      'deepen 1 ',
      'deepen-since -1',
      'deepen-since ',
      `deepen-since ${'9'.repeat(30)}`,
    ]) {
      assert.throws(() => deepen(line), {
        code: 'protocol',
        message: `Invalid ${line.startsWith('deepen-since') ? 'deepen-since' : 'deepen'}: ${line}`,
      });
    }
    for (const other of ['deepen-since 5', 'deepen-not x']) {
      assert.throws(() => deepen('deepen 1', other), { code: 'protocol', message: /cannot be used together/ });
    }
  });

  it('is bounded', () => {
    const want = `want ${A}`;
    for (const bytes of [
      body(...oids(5).map((oid) => `want ${oid}`), FLUSH),
      body(want, FLUSH, ...oids(5).map((oid) => `have ${oid}`), 'done'),
      body(want, ...oids(5).map((oid) => `shallow ${oid}`), FLUSH),
      body(want, ...oids(5).map((oid) => `deepen-not ${oid}`), FLUSH),
      body(`${want} filter`, `filter sparse:oid=${'x'.repeat(100)}`, FLUSH),
    ]) {
      assert.throws(() => v0(bytes), { code: 'protocol-limit' });
    }
  });

  it('never fails by anything but a PackhouseError', () => fuzz([V0_FULL, body(`want ${A}`, FLUSH, 'done')], v0));
});

const V2_FETCH = body(
  'command=fetch',
  'agent=git/1',
  'object-format=sha1',
  'server-option=a=b',
  'server-option=é',
  'session-id=s',
  DELIM,
  'thin-pack\n',
  'ofs-delta',
  'no-progress',
  'include-tag',
  'sideband-all',
  'wait-for-done',
  'deepen-relative',
  'deepen 1',
  `shallow ${B}`,
  'filter combine:blob:none+tree:1',
  `want ${A}`,
  `want ${A}`,
  'want-ref refs/heads/\xff',
  `have ${B}`,
  `have ${B}`,
  'done',
  FLUSH,
);
const V2_LS_REFS = body(
  'command=ls-refs\n',
  'object-format=sha1',
  DELIM,
  'peel\n',
  'symrefs',
  'unborn',
  'ref-prefix refs/heads/',
  'ref-prefix HEAD',
  FLUSH,
);
const V2_OBJECT_INFO = body('command=object-info', DELIM, 'size', `oid ${A}`, `oid ${A}`, FLUSH);

describe('fetch request, v2', () => {
  it('gives every argument of fetch', () => {
    assert.deepEqual(v2(V2_FETCH), {
      command: 'fetch',
      agent: 'git/1',
      sessionId: 's',
      serverOptions: ['a=b', Buffer.from('é', 'latin1').toString('utf8')],
      wants: [A],
      wantRefs: ['refs/heads/\xff'],
      haves: [B, B],
      shallow: [B],
      deepen: { depth: 1, relative: true, since: null, not: [] },
      filter: { kind: 'combine', filters: [{ kind: 'blob:none' }, { kind: 'tree', depth: 1 }] },
      thinPack: true,
      ofsDelta: true,
      noProgress: true,
      includeTag: true,
      done: true,
      waitForDone: true,
      sidebandAll: true,
      packfileUris: [],
    });
  });

  it('takes packfile-uris where they were advertised', () => {
    const parse = (...lines: readonly string[]): V2Request =>
      parseV2Request(body('command=fetch', DELIM, ...lines, FLUSH), { format: 'sha1', limits: LIMITS, packfileUris: true });
    assert.partialDeepStrictEqual(parse('packfile-uris https,http'), { packfileUris: ['https', 'http'] });
    assert.partialDeepStrictEqual(parse('done'), { packfileUris: [] });
    assert.throws(() => parse('packfile-uris a', 'packfile-uris b'), /multiple packfile-uris lines forbidden/);
  });

  it('gives ls-refs and object-info', () => {
    const capabilities = { agent: null, sessionId: null, serverOptions: [] };
    const lsRefs = {
      ...capabilities,
      command: 'ls-refs',
      peel: true,
      symrefs: true,
      unborn: true,
      refPrefixes: ['refs/heads/', 'HEAD'],
    };
    assert.deepEqual(v2(V2_LS_REFS), lsRefs);
    const bare = { ...lsRefs, peel: false, symrefs: false, unborn: false, refPrefixes: [] };
    assert.deepEqual(v2(body('command=ls-refs', FLUSH)), bare, 'no arguments');
    assert.deepEqual(
      v2(body('command=ls-refs', DELIM, ...oids(5).map((oid) => `ref-prefix ${oid}`), FLUSH)),
      bare,
      'too many prefixes are none',
    );
    assert.deepEqual(v2(V2_OBJECT_INFO), { ...capabilities, command: 'object-info', size: true, oids: [A, A] });
  });

  it('takes an empty body and a lone flush for no request, and one request of a body', () => {
    assert.deepEqual(v2(Buffer.alloc(0)), { command: 'none' });
    assert.deepEqual(v2(FLUSH), { command: 'none' });
    assert.equal(v2(Buffer.concat([V2_LS_REFS, V2_FETCH])).command, 'ls-refs');
  });

  it('holds the client to the repository’s object format', () => {
    const asked = (...keys: string[]) => body('command=ls-refs', ...keys, FLUSH);
    assert.equal(v2(asked('object-format=sha256'), 'sha256').command, 'ls-refs');
    assert.throws(() => v2(asked('object-format=sha256')), {
      code: 'object-format',
      message: 'mismatched object format: server sha1; client sha256',
    });
    assert.throws(() => v2(asked(), 'sha256'), {
      code: 'object-format',
      message: 'mismatched object format: server sha256; client sha1',
    });
    assert.throws(() => v2(asked('object-format=md5')), { code: 'object-format', message: "unknown object format 'md5'" });
    assert.throws(() => v2(asked('object-format')), {
      code: 'protocol',
      message: 'object-format capability requires an argument',
    });
  });

  it('refuses what it does not know with git’s words', () => {
    const refusals: [Buffer, string][] = [
      [body('agent=x', FLUSH), 'no command requested'],
      [DELIM, 'no command requested'],
      [body('command=push', FLUSH), "invalid command 'push'"],
      [body('command=ls-refs=x', FLUSH), "invalid command 'ls-refs=x'"],
      [body('command=agent', FLUSH), "invalid command 'agent'"],
      [body('command=fetch', 'command=ls-refs', FLUSH), "command 'ls-refs' requested after already requesting command 'fetch'"],
      [body('command=fetch', 'packfile-uris', FLUSH), "unknown capability 'packfile-uris'"],
      [body('ls-refs', FLUSH), "unknown capability 'ls-refs'"],
      [body('command=ls-refs', DELIM, 'peeled', FLUSH), "unexpected line: 'peeled'"],
      [body('command=fetch', DELIM, 'packfile-uris https', FLUSH), "unexpected line: 'packfile-uris https'"],
      [body('command=fetch', DELIM, 'done\0', FLUSH), "unexpected line: 'done\\x00'"],
      [
        body('command=fetch', DELIM, `want ${A}x`, FLUSH),
        `git upload-pack: protocol error, expected to get oid, not 'want ${A}x'`,
      ],
      [body('command=fetch', DELIM, 'have x', FLUSH), "git upload-pack: expected SHA1 object, got 'x'"],
      [body('command=fetch', DELIM, 'filter sparse:path=x', FLUSH), 'sparse:path filters support has been dropped'],
      [body('command=fetch', DELIM, 'done', DELIM), 'expected flush after fetch arguments'],
      [body('command=ls-refs', DELIM, 'peel', RESPONSE_END), 'expected flush after ls-refs arguments'],
      [body('command=object-info', DELIM, DELIM), 'object-info: expected flush after arguments'],
      [body('command=object-info', DELIM, 'type', FLUSH), "object-info: unexpected line: 'type'"],
      [body('command=object-info', DELIM, 'oid x', FLUSH), "object-info: protocol error, expected to get oid, not 'x'"],
    ];
    for (const [bytes, message] of refusals) assert.throws(() => v2(bytes), { code: 'protocol', message });
    for (const bytes of [body('command=fetch'), body('command=fetch', DELIM, 'done'), V2_FETCH.subarray(0, -1)]) {
      assert.throws(() => v2(bytes), { code: 'protocol-truncated' });
    }
  });

  it('is bounded', () => {
    const fetch = (...lines: string[]) => body('command=fetch', DELIM, ...lines, FLUSH);
    for (const bytes of [
      fetch(...oids(5).map((oid) => `want ${oid}`)),
      fetch(...oids(5).map((oid) => `want-ref ${oid}`)),
      fetch(...oids(5).map((oid) => `have ${oid}`)),
      fetch(...oids(5).map((oid) => `shallow ${oid}`)),
      body('command=object-info', DELIM, ...oids(5).map((oid) => `oid ${oid}`), FLUSH),
      body('command=fetch', ...oids(5).map((oid) => `server-option=${oid}`), FLUSH),
    ]) {
      assert.throws(() => v2(bytes), { code: 'protocol-limit' });
    }
  });

  it('never fails by anything but a PackhouseError', () => fuzz([V2_FETCH, V2_LS_REFS, V2_OBJECT_INFO], v2));
});
