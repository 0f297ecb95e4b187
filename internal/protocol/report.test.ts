import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BAND_DATA, PktReader } from '../pktline/mod.ts';
import { encodeReport, type PushReport } from './mod.ts';

const REPORT: PushReport = {
  unpack: 'ok',
  refs: [
    { ref: 'refs/heads/main', error: null, options: { refname: 'refs/heads/x', oldOid: 'aa', newOid: 'bb', forcedUpdate: true } },
    { ref: 'refs/heads/\xff', error: 'funny\nrefname' },
  ],
};

function lines(bytes: Buffer): string[] {
  const reader = new PktReader(bytes);
  const texts: string[] = [];
  for (let packet = reader.next(); packet !== null; packet = reader.next()) {
    texts.push(packet.kind === 'data' ? packet.data.toString('latin1') : packet.kind);
  }
  assert.equal(reader.pendingBytes, 0);
  return texts;
}

describe('push report', () => {
  it('is a line a ref, and a reason stays on its line', () => {
    assert.deepEqual(lines(encodeReport(REPORT, { version: 1, sideband: false })), [
      'unpack ok\n',
      'ok refs/heads/main\n',
      'ng refs/heads/\xff funny refname\n',
      'flush',
    ]);
  });

  it('tells in version 2 what was really done', () => {
    assert.deepEqual(lines(encodeReport(REPORT, { version: 2, sideband: false })).slice(1, 6), [
      'ok refs/heads/main\n',
      'option refname refs/heads/x\n',
      'option old-oid aa\n',
      'option new-oid bb\n',
      'option forced-update\n',
    ]);
  });

  it('travels whole on band 1, over as many packets as it takes', () => {
    const refs = Array.from({ length: 5000 }, (_, i) => ({ ref: `refs/heads/branch-${i}`, error: null }));
    const plain = encodeReport({ unpack: 'ok', refs }, { version: 1, sideband: false });
    const packets = lines(encodeReport({ unpack: 'ok', refs }, { version: 1, sideband: true }));
    assert.ok(packets.length > 1 && packets.every((packet) => packet.charCodeAt(0) === BAND_DATA));
    assert.equal(packets.map((packet) => packet.slice(1)).join(''), plain.toString('latin1'));
  });

  it('cuts a reason that no packet holds', () => {
    const [unpack] = lines(encodeReport({ unpack: 'é'.repeat(70_000), refs: [] }, { version: 1, sideband: false }));
    assert.equal(unpack?.length, 65516);
  });
});
