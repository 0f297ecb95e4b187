import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  BAND_DATA,
  BAND_PROGRESS,
  encodeSideband,
  KEEPALIVE,
  PktReader,
  SIDEBAND_64K_PAYLOAD_BYTES,
  SIDEBAND_PAYLOAD_BYTES,
  sidebandPieces,
} from './mod.ts';

function demultiplex(bytes: Buffer, band: number): Buffer {
  const reader = new PktReader(bytes);
  const parts: Buffer[] = [];
  for (let packet = reader.next(); packet !== null; packet = reader.next()) {
    assert.equal(packet.kind, 'data');
    if (packet.kind === 'data' && packet.data[0] === band) parts.push(packet.data.subarray(1));
  }
  assert.equal(reader.pendingBytes, 0);
  return Buffer.concat(parts);
}

describe('sideband', () => {
  it('cuts data into packets no longer than the capability allows', () => {
    for (const [payloadBytesMax, packetBytesMax] of [
      [SIDEBAND_PAYLOAD_BYTES, 1000],
      [SIDEBAND_64K_PAYLOAD_BYTES, 65520],
    ] as const) {
      for (const dataBytes of [0, 1, payloadBytesMax - 1, payloadBytesMax, payloadBytesMax + 1, payloadBytesMax * 3]) {
        const data = Buffer.alloc(dataBytes, 'ab');
        const pieces = sidebandPieces(BAND_DATA, data, payloadBytesMax);
        assert.equal(pieces.length, 2 * Math.ceil(dataBytes / payloadBytesMax));
        for (let i = 0; i < pieces.length; i += 2) {
          assert.ok((pieces[i] as Buffer).length + (pieces[i + 1] as Buffer).length <= packetBytesMax);
        }
        assert.deepEqual(demultiplex(encodeSideband(BAND_DATA, data, payloadBytesMax), BAND_DATA), data);
      }
    }
  });

  it('gives views of the data, not copies', () => {
    const data = Buffer.alloc(70_000);
    for (const slice of sidebandPieces(BAND_DATA, data, SIDEBAND_64K_PAYLOAD_BYTES).filter((_, i) => i % 2 === 1)) {
      assert.equal(slice.buffer, data.buffer);
    }
  });

  it('brings text back on its own band', () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 30 }), (text, max) => {
        assert.equal(demultiplex(encodeSideband(BAND_PROGRESS, `é${text}`, max), BAND_PROGRESS).toString(), `é${text}`);
      }),
    );
  });

  it('keeps alive by an empty progress packet', () => {
    assert.deepEqual(new PktReader(KEEPALIVE).next(), { kind: 'data', data: Buffer.from([BAND_PROGRESS]) });
  });
});
