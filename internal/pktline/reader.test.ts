import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { PackhouseError } from '../base/mod.ts';
import { DELIM, encodePkt, encodePkts, FLUSH, type Packet, PKT_PAYLOAD_BYTES_MAX, PktReader, RESPONSE_END } from './mod.ts';

const packets = fc.array(
  fc.oneof(
    fc.constantFrom('flush', 'delim', 'response-end').map((kind) => ({ kind }) as Packet),
    fc.uint8Array({ maxLength: 300 }).map((bytes): Packet => ({ kind: 'data', data: Buffer.from(bytes) })),
  ),
  { maxLength: 20 },
);

function encode(packet: Packet): Buffer {
  if (packet.kind === 'data') return encodePkt(packet.data);
  return { flush: FLUSH, delim: DELIM, 'response-end': RESPONSE_END }[packet.kind];
}

function takeAll(reader: PktReader): Packet[] {
  const taken: Packet[] = [];
  for (let packet = reader.next(); packet !== null; packet = reader.next()) taken.push(packet);
  return taken;
}

describe('pkt-line reader', () => {
  it('gives back what was encoded, however the bytes are cut into chunks', () => {
    fc.assert(
      fc.property(packets, fc.array(fc.nat(500), { maxLength: 30 }), fc.uint8Array({ maxLength: 3 }), (sent, cuts, tail) => {
        const bytes = Buffer.concat([...sent.map(encode), tail]);
        const reader = new PktReader();
        const taken: Packet[] = [];
        let at = 0;
        for (const cut of [...cuts, bytes.length]) {
          reader.push(bytes.subarray(at, at + cut));
          at = Math.min(at + cut, bytes.length);
          taken.push(...takeAll(reader));
        }
        assert.deepEqual(taken, sent);
        assert.equal(reader.position, bytes.length - tail.length);
        assert.deepEqual(reader.rest(), Buffer.from(tail));
        assert.equal(reader.position, bytes.length);
        assert.equal(reader.pendingBytes, 0);
      }),
    );
  });

  it('reads length digits in either case and an empty packet', () => {
    assert.deepEqual(takeAll(new PktReader(Buffer.from('000Aabcdef0004'))), [
      { kind: 'data', data: Buffer.from('abcdef') },
      { kind: 'data', data: Buffer.alloc(0) },
    ]);
  });

  it('takes a packet of 65520 bytes and refuses one of 65521', () => {
    const largest = Buffer.concat([Buffer.from('fff0'), Buffer.alloc(PKT_PAYLOAD_BYTES_MAX, 7)]);
    assert.equal(takeAll(new PktReader(largest))[0]?.kind, 'data');
    assert.throws(() => new PktReader(Buffer.from('fff1')).next(), { code: 'pkt-line', message: /bad line length 65521/ });
    assert.throws(() => encodePkt(Buffer.alloc(PKT_PAYLOAD_BYTES_MAX + 1)), { code: 'pkt-line' });
    assert.throws(() => encodePkts(['', 'x'.repeat(PKT_PAYLOAD_BYTES_MAX + 1)]), { code: 'pkt-line' });
  });

  it('does not copy a large packet once for each byte that arrives', () => {
    const reader = new PktReader();
    const largest = Buffer.concat([Buffer.from('fff0'), Buffer.alloc(PKT_PAYLOAD_BYTES_MAX, 7)]);
    const before = process.threadCpuUsage();
    for (let n = 0; n < 8; n++) {
      for (let at = 0; at < largest.length; at++) {
        assert.equal(reader.next(), null);
        reader.push(largest.subarray(at, at + 1));
      }
      assert.deepEqual(reader.next(), { kind: 'data', data: largest.subarray(4) });
    }
    const { user, system } = process.threadCpuUsage(before);
    assert.ok(user + system < 2_000_000, `${(user + system) / 1000} ms of the processor`);
  });

  it('takes 0001 and 0002 for delimiters, refuses 0003 and lengths that are not hex, naming the offset over all chunks', () => {
    assert.deepEqual(takeAll(new PktReader(Buffer.from('000000010002'))), [
      { kind: 'flush' },
      { kind: 'delim' },
      { kind: 'response-end' },
    ]);
    for (const bad of ['0003', 'zzzz', '00 5', '-001', '0x10', '000g', '00\u00000', '\u0010004']) {
      const reader = new PktReader(Buffer.from('0005a'));
      reader.next();
      reader.push(Buffer.from(bad, 'latin1'));
      assert.throws(
        () => reader.next(),
        (error) => error instanceof PackhouseError && error.code === 'pkt-line' && error.data.offset === 5,
      );
      assert.equal(reader.pendingBytes, bad.length, 'the reader stays where it was');
    }
  });

  it('never throws anything but a pkt-line error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          takeAll(new PktReader(bytes));
        } catch (error) {
          assert.ok(error instanceof PackhouseError && error.code === 'pkt-line');
        }
      }),
    );
  });

  it('encodes many lines as one by one, bytes above 0x7f included', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), (lines) => {
        const texts = lines.map((line) => Buffer.from(line).toString('latin1'));
        assert.deepEqual(encodePkts(texts), Buffer.concat(lines.map((line) => encodePkt(line))));
        assert.deepEqual(
          texts.map(encodePkt),
          lines.map((line) => encodePkt(line)),
        );
      }),
    );
  });
});
