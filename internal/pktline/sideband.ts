import { assert } from '../base/mod.ts';
import { writePktLength } from './frame.ts';

/** Channels of a multiplexed answer (gitprotocol-pack, "Packfile Data"): pack data, progress for people, a fatal error. */
export type Band = 1 | 2 | 3;
export const BAND_DATA = 1;
export const BAND_PROGRESS = 2;
export const BAND_ERROR = 3;

/** Longest payload of one packet by capability: `side-band` keeps packets to 1000 bytes, `side-band-64k` to 65520. */
export const SIDEBAND_PAYLOAD_BYTES = 995;
export const SIDEBAND_64K_PAYLOAD_BYTES = 65515;

/** What upload-pack sends after five seconds of silence, so that proxies and clients keep waiting: an empty progress packet. */
export const KEEPALIVE: Buffer = Buffer.from('0005\u0002', 'latin1');

/**
 * `data` on `band` in packets of at most `payloadBytesMax` of payload, copied into one buffer; empty data gives an empty buffer.
 * A string is sent as UTF-8.
 */
export function encodeSideband(band: Band, data: string | Uint8Array, payloadBytesMax: number): Buffer {
  const pieces = sidebandPieces(band, typeof data === 'string' ? Buffer.from(data, 'utf8') : data, payloadBytesMax);
  return Buffer.concat(pieces);
}

/**
 * The same without copying: header and slice in turns, the slices views of `data`. For pack bytes, whose packets are written by
 * one `writev`; the caller must not reuse `data` before they are sent.
 */
export function sidebandPieces(band: Band, data: Uint8Array, payloadBytesMax: number): Uint8Array[] {
  assert(payloadBytesMax > 0 && payloadBytesMax <= SIDEBAND_64K_PAYLOAD_BYTES, 'a sideband payload is 1 to 65515 bytes');
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < data.length; at += payloadBytesMax) {
    const slice = data.subarray(at, at + payloadBytesMax);
    pieces.push(header(band, slice.length), slice);
  }
  return pieces;
}

// The header of a full packet is the one that repeats thousands of times in a clone.
const fullHeaders: readonly Buffer[] = [BAND_DATA, BAND_PROGRESS, BAND_ERROR].map((band) =>
  makeHeader(band, SIDEBAND_64K_PAYLOAD_BYTES),
);

function header(band: Band, payloadBytes: number): Buffer {
  if (payloadBytes === SIDEBAND_64K_PAYLOAD_BYTES) return fullHeaders[band - 1] as Buffer;
  return makeHeader(band, payloadBytes);
}

function makeHeader(band: number, payloadBytes: number): Buffer {
  const bytes = Buffer.allocUnsafe(5);
  writePktLength(bytes, 0, payloadBytes + 5);
  bytes[4] = band;
  return bytes;
}
