import { PackhouseError } from '../base/mod.ts';
import { PKT_BYTES_MAX } from './frame.ts';

export type Packet =
  | { readonly kind: 'data'; readonly data: Buffer }
  | { readonly kind: 'flush' }
  | { readonly kind: 'delim' }
  | { readonly kind: 'response-end' };

const FLUSH_PACKET: Packet = Object.freeze({ kind: 'flush' });
const DELIM_PACKET: Packet = Object.freeze({ kind: 'delim' });
const RESPONSE_END_PACKET: Packet = Object.freeze({ kind: 'response-end' });
const NO_BYTES = Buffer.alloc(0);

/**
 * Takes pkt-lines out of bytes that are there whole (`new PktReader(body)`) or arrive in chunks (`push`, then `next` until it
 * answers null).
 *
 * Invariant: `#buffer` from `#at` on is what has been pushed and not yet taken. `next` leaves a packet that is not whole in place, so at most
 * one incomplete packet (65520 bytes) is copied when a chunk is appended, into room for twice as much: a packet that arrives byte by byte is
 * copied a few times, not once for each. Packets are views of what was pushed; what is appended to the room lies behind them.
 */
export class PktReader {
  #buffer: Buffer;
  #at = 0;
  #droppedBytes = 0;
  /** Bytes of our own behind `#buffer`, in the same memory. */
  #spare: Buffer = NO_BYTES;

  constructor(bytes: Uint8Array = NO_BYTES) {
    this.#buffer = asBuffer(bytes);
  }

  /** Offset of the next byte to be taken, counted over everything ever pushed. */
  get position(): number {
    return this.#droppedBytes + this.#at;
  }

  /** Appends a chunk. */
  push(chunk: Uint8Array): void {
    const left = this.#buffer.subarray(this.#at);
    this.#droppedBytes += this.#at;
    this.#at = 0;
    if (left.length === 0) {
      this.#buffer = asBuffer(chunk);
      this.#spare = NO_BYTES;
      return;
    }
    const lengthBytes = left.length + chunk.length;
    let room = left;
    if (chunk.length > this.#spare.length) {
      room = Buffer.allocUnsafeSlow(lengthBytes + Math.min(lengthBytes, PKT_BYTES_MAX));
      room.set(left);
      this.#spare = room.subarray(left.length);
    }
    this.#spare.set(chunk);
    this.#spare = this.#spare.subarray(chunk.length);
    this.#buffer = Buffer.from(room.buffer, room.byteOffset, lengthBytes);
  }

  /**
   * The next packet, or null when what is there does not hold a whole one.
   * @throws PackhouseError `pkt-line`, naming the offset, on a length that is not hex, is 0003 or is over 65520; the reader stays
   * where it was.
   */
  next(): Packet | null {
    const { length: have } = this.#buffer;
    if (have - this.#at < 4) return null;
    const packetBytes = this.#packetLength();
    if (packetBytes < 4) {
      this.#at += 4;
      return packetBytes === 0 ? FLUSH_PACKET : packetBytes === 1 ? DELIM_PACKET : RESPONSE_END_PACKET;
    }
    const end = this.#at + packetBytes;
    if (end > have) return null;
    const data = this.#buffer.subarray(this.#at + 4, end);
    this.#at = end;
    return { kind: 'data', data };
  }

  /** Everything that has not been taken; the reader is empty afterwards. What follows the commands of a push is its pack. */
  rest(): Buffer {
    const left = this.#buffer.subarray(this.#at);
    this.#droppedBytes += this.#buffer.length;
    this.#buffer = NO_BYTES;
    this.#spare = NO_BYTES;
    this.#at = 0;
    return left;
  }

  /** Bytes that are there and not taken. */
  get pendingBytes(): number {
    return this.#buffer.length - this.#at;
  }

  #packetLength(): number {
    let value = 0;
    for (let i = 0; i < 4; i++) {
      const digit = hexDigit(this.#buffer[this.#at + i] as number);
      if (digit < 0) {
        const shown = this.#buffer.toString('latin1', this.#at, this.#at + 4);
        throw this.#error(`bad line length character: ${JSON.stringify(shown)}`);
      }
      value = (value << 4) | digit;
    }
    if (value === 3 || value > PKT_BYTES_MAX) throw this.#error(`bad line length ${value}`);
    return value;
  }

  #error(what: string): PackhouseError {
    return new PackhouseError('pkt-line', `protocol error: ${what} (at byte ${this.position})`, { offset: this.position });
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
