import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { PktReader } from '../pktline/mod.ts';
import {
  type AdvertisedRef,
  encodeAck,
  encodeAcknowledgments,
  encodeError,
  encodeLsRefs,
  encodeObjectInfo,
  encodePackfileHeader,
  encodePackfileUris,
  encodeShallowInfo,
  encodeShallowUpdate,
  encodeWantedRefs,
  NAK,
} from './mod.ts';

function lines(bytes: Buffer): string[] {
  const reader = new PktReader(bytes);
  const texts: string[] = [];
  for (let packet = reader.next(); packet !== null; packet = reader.next()) {
    texts.push(packet.kind === 'data' ? packet.data.toString('latin1') : packet.kind);
  }
  assert.equal(reader.pendingBytes, 0);
  return texts;
}

const PLAIN = { sidebandAll: false };
const ALL = { peel: true, symrefs: true, unborn: true, refPrefixes: [] };
const REFS: AdvertisedRef[] = [
  { name: 'refs/heads/main', oid: 'aa', peeled: null },
  { name: 'refs/tags/v1', oid: 'bb', peeled: 'aa' },
  { name: 'refs/tags/\xff', oid: 'cc', peeled: null },
];
const HEAD = { target: 'refs/heads/main', oid: 'aa' };

describe('ls-refs answer', () => {
  it('has HEAD first, symref targets and peeled tags as asked', () => {
    const withAll = [
      'aa HEAD symref-target:refs/heads/main\n',
      'aa refs/heads/main\n',
      'bb refs/tags/v1 peeled:aa\n',
      'cc refs/tags/\xff\n',
      'flush',
    ];
    assert.deepEqual(lines(encodeLsRefs({ refs: REFS, head: HEAD }, ALL)), withAll);
    const bare = ['aa HEAD\n', 'aa refs/heads/main\n', 'bb refs/tags/v1\n', 'cc refs/tags/\xff\n', 'flush'];
    assert.deepEqual(lines(encodeLsRefs({ refs: REFS, head: HEAD }, { ...ALL, peel: false, symrefs: false })), bare);
  });

  it('shows an unborn HEAD only to who asks for it and for symrefs', () => {
    const empty = { refs: [], head: { target: 'refs/heads/main', oid: null } };
    assert.deepEqual(lines(encodeLsRefs(empty, ALL)), ['unborn HEAD symref-target:refs/heads/main\n', 'flush']);
    assert.deepEqual(lines(encodeLsRefs(empty, { ...ALL, symrefs: false })), ['flush']);
    assert.deepEqual(lines(encodeLsRefs(empty, { ...ALL, unborn: false })), ['flush']);
    assert.deepEqual(lines(encodeLsRefs(empty, { ...ALL, refPrefixes: ['refs/'] })), ['flush']);
  });

  it('shows each ref once that some prefix begins, in order', () => {
    const name = fc.array(fc.constantFrom('a', 'b', '/', 'refs', '\xff'), { maxLength: 4 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(fc.uniqueArray(name), fc.array(name, { maxLength: 5 }), (names, refPrefixes) => {
        const refs = names.sort().map((each) => ({ name: each, oid: 'aa', peeled: null }));
        const expected = names.filter(
          (each) => refPrefixes.length === 0 || refPrefixes.some((prefix) => each.startsWith(prefix)),
        );
        const answer = encodeLsRefs({ refs, head: { target: 'x', oid: null } }, { ...ALL, unborn: false, refPrefixes });
        assert.deepEqual(lines(answer), [...expected.map((each) => `aa ${each}\n`), 'flush']);
      }),
    );
  });
});

describe('fetch answer', () => {
  it('frames acknowledgments, shallow-info, wanted-refs and the pack’s header as sections', () => {
    assert.deepEqual(lines(encodeAcknowledgments([], false, PLAIN)), ['acknowledgments\n', 'NAK\n']);
    assert.deepEqual(lines(encodeAcknowledgments(['aa', 'bb'], true, PLAIN)), [
      'acknowledgments\n',
      'ACK aa\n',
      'ACK bb\n',
      'ready\n',
    ]);
    assert.deepEqual(lines(encodeShallowInfo({ shallow: ['aa'], unshallow: ['bb'] }, PLAIN)), [
      'shallow-info\n',
      'shallow aa',
      'unshallow bb',
    ]);
    assert.deepEqual(lines(encodeWantedRefs([{ name: 'refs/heads/\xff', oid: 'aa' }], PLAIN)), [
      'wanted-refs\n',
      'aa refs/heads/\xff\n',
    ]);
    assert.deepEqual(lines(encodePackfileUris([{ checksum: 'cc', uri: 'https://x/y?z' }], PLAIN)), [
      'packfile-uris\n',
      'cc https://x/y?z\n',
    ]);
    assert.deepEqual(lines(encodePackfileHeader(PLAIN)), ['packfile\n']);
  });

  it('puts each line on band 1 under sideband-all, and an error on band 3', () => {
    const framing = { sidebandAll: true };
    assert.deepEqual(lines(encodeAcknowledgments(['aa'], false, framing)), ['\x01acknowledgments\n', '\x01ACK aa\n']);
    assert.deepEqual(lines(encodePackfileHeader(framing)), ['\x01packfile\n']);
    assert.deepEqual(lines(encodeError('no', framing)), ['\x03no']);
    assert.deepEqual(lines(encodeError('no')), ['ERR no']);
    assert.equal(lines(encodeError('é'.repeat(70_000)))[0]?.length, 65516);
  });

  it('has the acknowledgements and the shallow section of v0', () => {
    assert.deepEqual(lines(Buffer.concat([encodeAck('aa', 'common'), encodeAck('aa'), NAK])), [
      'ACK aa common\n',
      'ACK aa\n',
      'NAK\n',
    ]);
    assert.deepEqual(lines(encodeShallowUpdate({ shallow: ['aa'], unshallow: ['bb'] })), ['shallow aa', 'unshallow bb', 'flush']);
  });
});

describe('object-info answer', () => {
  it('has a size after each oid, none for what is missing', () => {
    const infos = [
      { oid: 'aa', sizeBytes: 5_000_000_000 },
      { oid: 'bb', sizeBytes: null },
    ];
    assert.deepEqual(lines(encodeObjectInfo(infos, { size: true })), ['size', 'aa 5000000000', 'bb ', 'flush']);
    assert.deepEqual(lines(encodeObjectInfo(infos, { size: false })), ['aa', 'bb', 'flush']);
    assert.deepEqual(lines(encodeObjectInfo([], { size: true })), ['flush']);
  });
});
