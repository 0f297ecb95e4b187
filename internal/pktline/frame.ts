import { PackhouseError } from '../base/mod.ts';

/** Longest pkt-line with its four length digits (gitprotocol-common, "pkt-line Format"). */
export const PKT_BYTES_MAX = 65520;
/** Longest payload of a pkt-line. */
export const PKT_PAYLOAD_BYTES_MAX = PKT_BYTES_MAX - 4;

/** Ends a section or a message. */
export const FLUSH: Buffer = Buffer.from('0000', 'latin1');
/** Parts sections of a protocol v2 message. */
export const DELIM: Buffer = Buffer.from('0001', 'latin1');
/** Ends a response of a stateless connection; a proxy's word, a server only meets it. */
export const RESPONSE_END: Buffer = Buffer.from('0002', 'latin1');

const HEX_DIGITS = Buffer.from('0123456789abcdef', 'latin1');

/** Writes the four length digits of a packet of `packetBytes` (prefix included) at `at`. */
export function writePktLength(out: Uint8Array, at: number, packetBytes: number): void {
  out[at] = HEX_DIGITS[packetBytes >>> 12] as number;
  out[at + 1] = HEX_DIGITS[(packetBytes >>> 8) & 15] as number;
  out[at + 2] = HEX_DIGITS[(packetBytes >>> 4) & 15] as number;
  out[at + 3] = HEX_DIGITS[packetBytes & 15] as number;
}

/**
 * One pkt-line around `data`; a string is taken as binary, one char a byte. No newline is added.
 * @throws PackhouseError `pkt-line` when the payload is longer than 65516 bytes.
 */
export function encodePkt(data: string | Uint8Array): Buffer {
  checkPayload(data.length);
  const packet = Buffer.allocUnsafe(data.length + 4);
  writePktLength(packet, 0, packet.length);
  if (typeof data === 'string') packet.write(data, 4, 'latin1');
  else packet.set(data, 4);
  return packet;
}

// Text is gathered up to this size before it becomes bytes: large enough to make few buffers, small enough to stay cheap to flatten.
const BATCH_CHARS = 1 << 18;

/**
 * The pkt-lines of many binary strings in one buffer: what ref advertisements of a million lines are made by. Memory in use at
 * once is the answer twice over.
 * @throws PackhouseError `pkt-line` when a payload is longer than 65516 bytes.
 */
export function encodePkts(lines: Iterable<string>): Buffer {
  const batches: Buffer[] = [];
  let text = '';
  for (const line of lines) {
    checkPayload(line.length);
    text += (line.length + 4).toString(16).padStart(4, '0') + line;
    if (text.length < BATCH_CHARS) continue;
    batches.push(Buffer.from(text, 'latin1'));
    text = '';
  }
  batches.push(Buffer.from(text, 'latin1'));
  return batches.length === 1 ? (batches[0] as Buffer) : Buffer.concat(batches);
}

function checkPayload(payloadBytes: number): void {
  if (payloadBytes > PKT_PAYLOAD_BYTES_MAX) {
    throw new PackhouseError('pkt-line', `a packet of ${payloadBytes} bytes is over the limit of ${PKT_PAYLOAD_BYTES_MAX}`, {
      payloadBytes,
      limit: PKT_PAYLOAD_BYTES_MAX,
    });
  }
}
