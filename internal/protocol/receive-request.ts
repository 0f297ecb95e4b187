import { assert } from '../base/mod.ts';
import { type ObjectFormat, zeroOid } from '../object/mod.ts';
import { type Packet, PktReader } from '../pktline/mod.ts';
import { checkLimit, ProtocolError, shown, truncated } from './errors.ts';
import { after, Capabilities, lineOf, parseOid } from './lines.ts';
import type { ProtocolLimits, ReceiveRequest, RefCommand } from './types.ts';

export interface ReceiveParserOptions {
  /** The repository's format; null where the repository does not exist yet and the client chooses. */
  readonly format: ObjectFormat | null;
  readonly limits: Pick<ProtocolLimits, 'commandsMax' | 'commandBytesMax' | 'refNameBytesMax' | 'pushOptionsMax' | 'shallowsMax'>;
}

/**
 * Takes what a client sends to receive-pack before its pack (gitprotocol-pack, "Reference Update Request and Packfile Transfer"):
 *
 *     *shallow-line  1*command  flush  [ *push-option  flush ]  [ pack ]
 *
 * Feed it chunks until `push` answers with the request; what follows in the body is then `rest()` and the chunks never given.
 *
 * Invariant: `#state` tells the section the next packet belongs to; nothing is read past the packet that ends the last section.
 */
export class ReceiveRequestParser {
  readonly #options: ReceiveParserOptions;
  readonly #reader = new PktReader();
  readonly #commands: RefCommand[] = [];
  readonly #shallow: string[] = [];
  readonly #pushOptions: string[] = [];
  readonly #capabilities = new Capabilities();
  #format: ObjectFormat | null;
  #state: 'commands' | 'push-options' | 'done' = 'commands';

  constructor(options: ReceiveParserOptions) {
    this.#options = options;
    this.#format = options.format;
  }

  /**
   * Takes the next chunk of the body; answers the request once it is whole, null while more is needed.
   * @throws ProtocolError `protocol`, `protocol-limit`, `object-format`; PackhouseError `pkt-line`.
   */
  push(chunk: Uint8Array): ReceiveRequest | null {
    assert(this.#state !== 'done', 'nothing is pushed after the request is whole');
    this.#reader.push(chunk);
    for (let packet = this.#reader.next(); packet !== null; packet = this.#reader.next()) {
      this.#take(packet);
      if (this.#isDone()) return this.#request();
      checkLimit('bytes of ref updates', this.#reader.position, this.#options.limits.commandBytesMax);
    }
    return null;
  }

  /** The body has ended. @throws ProtocolError `protocol-truncated` when the request is not whole. */
  end(): void {
    if (!this.#isDone()) throw truncated();
  }

  /** Whether the client reads all that it is told in bands, as far as the request has come. */
  get sideband(): boolean {
    return this.#capabilities.has('side-band-64k');
  }

  /** What was pushed behind the request: the pack's first bytes. To be taken once. */
  rest(): Buffer {
    assert(this.#isDone(), 'the rest is known once the request is whole');
    return this.#reader.rest();
  }

  #isDone(): boolean {
    return this.#state === 'done';
  }

  #take(packet: Packet): void {
    if (this.#state === 'commands') {
      if (packet.kind === 'data') this.#takeCommandLine(lineOf(packet.data));
      else this.#state = this.#commands.length > 0 && this.#capabilities.has('push-options') ? 'push-options' : 'done';
    } else if (packet.kind === 'data') {
      checkLimit('push options', this.#pushOptions.length + 1, this.#options.limits.pushOptionsMax);
      this.#pushOptions.push(Buffer.from(upToNul(lineOf(packet.data)), 'latin1').toString('utf8'));
    } else {
      this.#state = 'done';
    }
  }

  #takeCommandLine(line: string): void {
    const shallow = after(line, 'shallow ');
    if (shallow !== null) {
      this.#takeShallow(shallow);
      return;
    }
    const nul = line.indexOf('\0');
    const command = nul < 0 ? line : line.slice(0, nul);
    if (nul >= 0) this.#takeCapabilities(upToNul(line.slice(nul + 1)));
    if (command === 'push-cert') throw new ProtocolError('protocol', 'push certificates are not supported');
    this.#takeCommand(command);
  }

  /** Where the client chooses the format, its first capability list comes after the shallow lines: they are checked against it at the end. */
  #takeShallow(text: string): void {
    const oid = this.#format === null ? (parseOid(text, 'sha1') ?? parseOid(text, 'sha256')) : parseOid(text, this.#format);
    if (oid === null) throw new ProtocolError('protocol', `protocol error: expected shallow sha, got '${shown(text)}'`);
    checkLimit('shallow lines', this.#shallow.length + 1, this.#options.limits.shallowsMax);
    this.#shallow.push(oid);
  }

  #takeCapabilities(text: string): void {
    const list = new Capabilities();
    list.add(text);
    this.#capabilities.add(text);
    const named = list.value('object-format') ?? 'sha1';
    const format = named === 'sha1' || named === 'sha256' ? named : null;
    if (format === null || (this.#format !== null && this.#format !== format)) {
      throw new ProtocolError('object-format', `unsupported object format '${shown(named)}'`, {
        server: this.#format,
        client: shown(named),
      });
    }
    this.#format = format;
  }

  #takeCommand(line: string): void {
    this.#format ??= 'sha1';
    const hexDigits = zeroOid(this.#format).length;
    const old = parseOid(line.slice(0, hexDigits), this.#format);
    const next = parseOid(line.slice(hexDigits + 1, 2 * hexDigits + 1), this.#format);
    if (old === null || next === null || line[hexDigits] !== ' ' || line[2 * hexDigits + 1] !== ' ') {
      throw new ProtocolError('protocol', `protocol error: expected old/new/ref, got '${shown(line)}'`);
    }
    const ref = line.slice(2 * hexDigits + 2);
    checkLimit('bytes in a ref name', ref.length, this.#options.limits.refNameBytesMax);
    checkLimit('ref updates', this.#commands.length + 1, this.#options.limits.commandsMax);
    this.#commands.push({ old, new: next, ref });
  }

  #request(): ReceiveRequest {
    const format = this.#format ?? 'sha1';
    const zero = zeroOid(format);
    const capabilities = this.#capabilities;
    const stray = this.#shallow.find((oid) => oid.length !== zero.length);
    if (stray !== undefined) throw new ProtocolError('protocol', `protocol error: expected shallow sha, got '${stray}'`);
    return {
      commands: this.#commands,
      shallow: this.#shallow,
      format,
      reportStatus: capabilities.has('report-status-v2') ? 2 : capabilities.has('report-status') ? 1 : 0,
      sideband: this.sideband,
      quiet: capabilities.has('quiet'),
      atomic: capabilities.has('atomic'),
      pushOptions: this.#pushOptions,
      agent: capabilities.value('agent'),
      sessionId: capabilities.value('session-id'),
      expectsPack: this.#commands.some((command) => command.new !== zero),
    };
  }
}

/** Git reads these lines as strings of C: a NUL ends them. */
function upToNul(text: string): string {
  const nul = text.indexOf('\0');
  return nul < 0 ? text : text.slice(0, nul);
}
