/**
 * pktline: git's framing (gitprotocol-common, "pkt-line Format"), bytes to packets and back.
 *
 * A packet is four hex digits, the length of the whole packet, then the payload. Lengths below 4 carry no payload: 0000 flush,
 * 0001 delimiter, 0002 end of response; 0003 means nothing and is refused. 0004 is an empty packet. No packet is longer than
 * 65520 bytes. Length digits are read in either case and written in lower case.
 *
 * A sideband packet's first payload byte names its channel: 1 data, 2 progress, 3 fatal error.
 */
export {
  DELIM,
  encodePkt,
  encodePkts,
  FLUSH,
  PKT_PAYLOAD_BYTES_MAX,
  RESPONSE_END,
} from './frame.ts';
export { type Packet, PktReader } from './reader.ts';
export {
  BAND_DATA,
  BAND_ERROR,
  BAND_PROGRESS,
  type Band,
  encodeSideband,
  KEEPALIVE,
  SIDEBAND_64K_PAYLOAD_BYTES,
  SIDEBAND_PAYLOAD_BYTES,
  sidebandPieces,
} from './sideband.ts';
