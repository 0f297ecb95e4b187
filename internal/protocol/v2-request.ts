import type { ObjectFormat } from '../object/mod.ts';
import { type Packet, PktReader } from '../pktline/mod.ts';
import { checkLimit, ProtocolError, shown } from './errors.ts';
import { FetchArgs } from './fetch-args.ts';
import { after, lineOf, nextPacket, parseOid, sectionLines } from './lines.ts';
import type { ProtocolLimits, V2Capabilities, V2FetchRequest, V2LsRefsRequest, V2ObjectInfoRequest, V2Request } from './types.ts';

export interface V2RequestOptions {
  readonly format: ObjectFormat;
  readonly limits: ProtocolLimits;
  /** Whether the advertisement has `packfile-uris`. */
  readonly packfileUris?: boolean;
}

type Command = Exclude<V2Request['command'], 'none'>;

/**
 * The body of one POST in protocol v2 (gitprotocol-v2, "Command Request"):
 *
 *     command=<name> *capability  [ delim *argument ]  flush
 *
 * A POST carries one request; what follows its flush is not read. An empty body and a lone flush are the request `none`.
 * @throws ProtocolError, PackhouseError `pkt-line`; messages are git's.
 */
export function parseV2Request(body: Uint8Array, options: V2RequestOptions): V2Request {
  if (body.length === 0) return { command: 'none' };
  const reader = new PktReader(body);
  const keys = new RequestKeys(options);
  let packet = nextPacket(reader);
  for (; packet.kind === 'data'; packet = nextPacket(reader)) keys.take(lineOf(packet.data));
  if (packet.kind === 'response-end') throw new ProtocolError('protocol', 'unexpected response end packet');
  if (packet.kind === 'flush' && keys.isEmpty) return { command: 'none' };
  const command = keys.command();
  const hasArguments = packet.kind === 'delim';
  const lines = hasArguments ? sectionLines(reader) : noLines();
  const capabilities = keys.capabilities();
  switch (command) {
    case 'ls-refs':
      return parseLsRefs(lines, capabilities, options.limits);
    case 'fetch':
      return parseFetch(lines, capabilities, options);
    case 'object-info':
      return parseObjectInfo(lines, capabilities, options);
  }
}

type Lines = Generator<string, Exclude<Packet['kind'], 'data'>>;

// biome-ignore lint/correctness/useYield: the arguments of a request that has none, ended as those of any other
function* noLines(): Lines {
  return 'flush';
}

/** Gives each line of `lines` to `take` and holds that a flush ends them. */
function takeArguments(lines: Lines, refusal: string, take: (line: string) => void): void {
  for (let step = lines.next(); ; step = lines.next()) {
    if (!step.done) {
      take(step.value);
      continue;
    }
    if (step.value !== 'flush') throw new ProtocolError('protocol', refusal);
    return;
  }
}

function unexpected(line: string): ProtocolError {
  return new ProtocolError('protocol', `unexpected line: '${shown(line)}'`);
}

/** The lines before the delimiter: which command, and the capabilities the client uses. */
class RequestKeys {
  readonly #options: V2RequestOptions;
  readonly #serverOptions: string[] = [];
  #command: Command | null = null;
  #clientFormat = 'sha1';
  #agent: string | null = null;
  #sessionId: string | null = null;
  isEmpty = true;

  constructor(options: V2RequestOptions) {
    this.#options = options;
  }

  take(line: string): void {
    this.isEmpty = false;
    const name = after(line, 'command=');
    if (name !== null) this.#takeCommand(name);
    else this.#takeCapability(line);
  }

  #takeCapability(line: string): void {
    const equals = line.indexOf('=');
    const value = equals < 0 ? null : line.slice(equals + 1);
    switch (equals < 0 ? line : line.slice(0, equals)) {
      case 'agent':
        this.#agent = value;
        return;
      case 'session-id':
        this.#sessionId = value;
        return;
      case 'server-option':
        checkLimit('server options', this.#serverOptions.length + 1, this.#options.limits.serverOptionsMax);
        if (value !== null) this.#serverOptions.push(Buffer.from(value, 'latin1').toString('utf8'));
        return;
      case 'object-format':
        this.#takeFormat(value);
        return;
      default:
        throw new ProtocolError('protocol', `unknown capability '${shown(line)}'`);
    }
  }

  /** @throws ProtocolError when none was named, or the client's objects are of another format. */
  command(): Command {
    if (this.#command === null) throw new ProtocolError('protocol', 'no command requested');
    const { format } = this.#options;
    if (this.#clientFormat !== format) {
      throw new ProtocolError('object-format', `mismatched object format: server ${format}; client ${this.#clientFormat}`, {
        server: format,
        client: this.#clientFormat,
      });
    }
    return this.#command;
  }

  capabilities(): V2Capabilities {
    return { agent: this.#agent, sessionId: this.#sessionId, serverOptions: this.#serverOptions };
  }

  #takeCommand(name: string): void {
    if (this.#command !== null) {
      const message = `command '${shown(name)}' requested after already requesting command '${this.#command}'`;
      throw new ProtocolError('protocol', message);
    }
    if (name !== 'ls-refs' && name !== 'fetch' && name !== 'object-info') {
      throw new ProtocolError('protocol', `invalid command '${shown(name)}'`);
    }
    this.#command = name;
  }

  #takeFormat(value: string | null): void {
    if (value === null) throw new ProtocolError('protocol', 'object-format capability requires an argument');
    if (value !== 'sha1' && value !== 'sha256') {
      throw new ProtocolError('object-format', `unknown object format '${shown(value)}'`, { client: shown(value) });
    }
    this.#clientFormat = value;
  }
}

function parseLsRefs(lines: Lines, capabilities: V2Capabilities, limits: ProtocolLimits): V2LsRefsRequest {
  const flags = new Set<string>();
  const prefixes = new Set<string>();
  takeArguments(lines, 'expected flush after ls-refs arguments', (line) => {
    const prefix = after(line, 'ref-prefix ');
    if (prefix !== null) {
      // One over the limit is kept to tell that there were too many.
      if (prefixes.size <= limits.refPrefixesMax) prefixes.add(prefix);
    } else if (line === 'peel' || line === 'symrefs' || line === 'unborn') flags.add(line);
    else throw unexpected(line);
  });
  return {
    ...capabilities,
    command: 'ls-refs',
    peel: flags.has('peel'),
    symrefs: flags.has('symrefs'),
    unborn: flags.has('unborn'),
    refPrefixes: prefixes.size > limits.refPrefixesMax ? [] : [...prefixes],
  };
}

const FETCH_FLAGS: ReadonlySet<string> = new Set([
  'thin-pack',
  'ofs-delta',
  'no-progress',
  'include-tag',
  'done',
  'wait-for-done',
  'deepen-relative',
  'sideband-all',
]);

function parseFetch(lines: Lines, capabilities: V2Capabilities, options: V2RequestOptions): V2FetchRequest {
  const args = new FetchArgs(options.format, options.limits);
  const flags = new Set<string>();
  const wantRefs = new Set<string>();
  const packfileUris: string[] = [];
  takeArguments(lines, 'expected flush after fetch arguments', (line) => {
    const protocols = options.packfileUris ? after(line, 'packfile-uris ') : null;
    if (protocols !== null && packfileUris.length > 0)
      throw new ProtocolError('protocol', 'multiple packfile-uris lines forbidden');
    if (protocols !== null) packfileUris.push(...protocols.split(','));
    else if (FETCH_FLAGS.has(line)) flags.add(line);
    else if (!takeFetchLine(line, args, wantRefs, options.limits)) throw unexpected(line);
  });
  args.deepenRelative = flags.has('deepen-relative');
  return {
    ...capabilities,
    command: 'fetch',
    wants: [...args.wants],
    wantRefs: [...wantRefs],
    haves: args.haves,
    shallow: [...args.shallow],
    deepen: args.deepen(),
    filter: args.filter,
    thinPack: flags.has('thin-pack'),
    ofsDelta: flags.has('ofs-delta'),
    noProgress: flags.has('no-progress'),
    includeTag: flags.has('include-tag'),
    done: flags.has('done'),
    waitForDone: flags.has('wait-for-done'),
    sidebandAll: flags.has('sideband-all'),
    packfileUris,
  };
}

function takeFetchLine(line: string, args: FetchArgs, wantRefs: Set<string>, limits: ProtocolLimits): boolean {
  if (args.takeHave(line) || args.takeShallowLine(line)) return true;
  const want = after(line, 'want ');
  if (want !== null) {
    const oid = args.oid(want);
    if (oid === null) {
      throw new ProtocolError('protocol', `git upload-pack: protocol error, expected to get oid, not '${shown(line)}'`);
    }
    args.addWant(oid);
    return true;
  }
  const wantRef = after(line, 'want-ref ');
  if (wantRef !== null) {
    wantRefs.add(wantRef);
    checkLimit('wants', args.wants.size + wantRefs.size, limits.wantsMax);
    return true;
  }
  const filter = after(line, 'filter ');
  if (filter === null) return false;
  args.setFilter(filter);
  return true;
}

function parseObjectInfo(lines: Lines, capabilities: V2Capabilities, options: V2RequestOptions): V2ObjectInfoRequest {
  const oids: string[] = [];
  let size = false;
  takeArguments(lines, 'object-info: expected flush after arguments', (line) => {
    const text = after(line, 'oid ');
    if (text !== null) {
      const oid = parseOid(text, options.format);
      if (oid === null) {
        throw new ProtocolError('protocol', `object-info: protocol error, expected to get oid, not '${shown(text)}'`);
      }
      checkLimit('oids', oids.length + 1, options.limits.objectInfosMax);
      oids.push(oid);
    } else if (line === 'size') size = true;
    else throw new ProtocolError('protocol', `object-info: unexpected line: '${shown(line)}'`);
  });
  return { ...capabilities, command: 'object-info', size, oids };
}
