import assert from 'node:assert/strict';
import { packet } from '../testkit/mod.ts';

const FLUSH = Buffer.from('0000');
const DELIM = Buffer.from('0001');

export interface Request {
  readonly version: 0 | 1 | 2;
  readonly wants: readonly string[];
  readonly haves: readonly string[];
  readonly shallow: readonly string[];
  readonly deepen: readonly string[];
  readonly filter: string | null;
  readonly features: ReadonlySet<string>;
  readonly done: boolean;
}

export function bodyOf(request: Request): Buffer {
  const { version, features } = request;
  const lines = [
    ...request.shallow.map((oid) => `shallow ${oid}`),
    ...request.deepen,
    ...(request.filter === null ? [] : [`filter ${request.filter}`]),
  ];
  const haves = request.haves.map((oid) => packet(`have ${oid}\n`));
  if (version === 2) {
    const flags = ['thin-pack', 'ofs-delta', 'include-tag', 'no-progress', 'deepen-relative'].filter((name) =>
      features.has(name),
    );
    const args = [...flags, ...request.wants.map((oid) => `want ${oid}`), ...lines].map((line) => packet(`${line}\n`));
    return Buffer.concat([
      packet('command=fetch\n'),
      DELIM,
      ...args,
      ...haves,
      ...(request.done ? [packet('done\n')] : []),
      FLUSH,
    ]);
  }
  const wants = request.wants.map((oid, i) => packet(`want ${oid}${i === 0 ? ` ${[...features].join(' ')}` : ''}\n`));
  return Buffer.concat([
    ...wants,
    ...lines.map((line) => packet(`${line}\n`)),
    FLUSH,
    ...haves,
    request.done ? packet('done\n') : FLUSH,
  ]);
}

export interface Answer {
  /** Lines before the pack, without order where order means nothing. */
  readonly lines: string[];
  readonly pack: Buffer | null;
  readonly error: string | null;
}

export function readAnswer(body: Buffer, request: Request): Answer {
  const lines: string[] = [];
  const data: Buffer[] = [];
  let error: string | null = null;
  const banded = request.version === 2 || request.features.has('side-band') || request.features.has('side-band-64k');
  let inPack = false;
  for (let at = 0; at < body.length; ) {
    if (body.toString('latin1', at, at + 4) === 'PACK') {
      data.push(body.subarray(at));
      break;
    }
    const length = Number.parseInt(body.toString('latin1', at, at + 4), 16);
    assert(Number.isInteger(length) && length !== 3, `a packet at ${at}`);
    const payload = body.subarray(at + 4, at + length);
    at += Math.max(4, length);
    if (length < 4) {
      lines.push(length === 0 ? 'flush' : 'delim');
      continue;
    }
    const text = payload.toString('latin1').replace(/\n$/, '');
    if (text.startsWith('ERR ')) error = text;
    else if (banded && payload[0]! <= 3 && (inPack || request.version !== 2)) {
      if (payload[0] === 1) data.push(payload.subarray(1));
      if (payload[0] === 3) error = text;
      const most = request.features.has('side-band-64k') || request.version === 2 ? 65_520 : 1000;
      assert(length <= most, 'a packet is longer than its sideband allows');
    } else {
      if (text === 'packfile') inPack = true;
      lines.push(text);
    }
  }
  return { lines, pack: data.length === 0 ? null : Buffer.concat(data), error };
}

/** Shallow lines may come in any order; git repeats one where two wants are tags of one commit. */
export function comparable(lines: readonly string[]): string[] {
  const result: string[] = [];
  let run: string[] = [];
  for (const line of [...lines, '']) {
    if (/^(un)?shallow [0-9a-f]+$/.test(line)) run.push(line);
    else {
      result.push(...[...new Set(run)].sort(), line);
      run = [];
    }
  }
  return result;
}

/** Without multi_ack git sometimes repeats the one ACK that the protocol has. */
export function onceEach(lines: readonly string[]): string[] {
  return lines.filter((line, i) => !line.startsWith('ACK ') || !lines.slice(0, i).some((other) => other.startsWith('ACK ')));
}
