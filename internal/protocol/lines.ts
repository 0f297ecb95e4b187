import type { ObjectFormat } from '../object/mod.ts';
import type { Packet, PktReader } from '../pktline/mod.ts';
import { truncated } from './errors.ts';

/** The payload as a binary string, without one trailing newline: senders may leave it out (gitprotocol-common). */
export function lineOf(data: Buffer): string {
  const end = data.length > 0 && data[data.length - 1] === 0x0a ? data.length - 1 : data.length;
  return data.toString('latin1', 0, end);
}

/** The next packet of a body that is there whole. @throws ProtocolError `protocol-truncated` when it ends before. */
export function nextPacket(reader: PktReader): Packet {
  const packet = reader.next();
  if (packet === null) throw truncated();
  return packet;
}

/** The lines up to the packet that ends their section, which the generator returns. */
export function* sectionLines(reader: PktReader): Generator<string, Exclude<Packet['kind'], 'data'>> {
  for (;;) {
    const packet = nextPacket(reader);
    if (packet.kind !== 'data') return packet.kind;
    yield lineOf(packet.data);
  }
}

const OID_PATTERN: Readonly<Record<ObjectFormat, RegExp>> = { sha1: /^[0-9a-fA-F]{40}$/, sha256: /^[0-9a-fA-F]{64}$/ };

/** The oid in lower case when `text` is exactly one in either case, else null. */
export function parseOid(text: string, format: ObjectFormat): string | null {
  return OID_PATTERN[format].test(text) ? text.toLowerCase() : null;
}

/** What follows `prefix`, or null when the line does not begin with it. */
export function after(line: string, prefix: string): string | null {
  return line.startsWith(prefix) ? line.slice(prefix.length) : null;
}

/**
 * The capabilities a v0 client chose (gitprotocol-capabilities): words, some with `=value`. Clients send them on one line, git takes
 * them from any; the first of a name counts, unknown ones are ignored.
 */
export class Capabilities {
  readonly #values = new Map<string, string>();

  add(list: string): void {
    for (const word of list.split(/[ \t\n\v\f\r]+/)) {
      const equals = word.indexOf('=');
      const name = equals < 0 ? word : word.slice(0, equals);
      if (!this.#values.has(name)) this.#values.set(name, equals < 0 ? '' : word.slice(equals + 1));
    }
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** The value of `name=value`, '' for a bare `name`, null when it is absent. */
  value(name: string): string | null {
    return this.#values.get(name) ?? null;
  }
}
