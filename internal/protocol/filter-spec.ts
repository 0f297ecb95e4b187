import type { ObjectKind } from '../object/mod.ts';
import { ProtocolError, shown } from './errors.ts';
import type { FilterSpec, ProtocolLimits } from './types.ts';

export type FilterLimits = Pick<ProtocolLimits, 'filterBytesMax' | 'filterDepthMax'>;

const KINDS: ReadonlySet<string> = new Set<ObjectKind>(['blob', 'tree', 'commit', 'tag']);

/**
 * A filter as clients send it (git rev-list's page, `--filter`), as frozen values.
 * @throws ProtocolError `protocol` with git's message; `protocol-limit` when it is too long or too deeply nested.
 */
export function parseFilterSpec(text: string, limits: FilterLimits): FilterSpec {
  if (text.length > limits.filterBytesMax) {
    throw limitError('bytes in a filter', text.length, limits.filterBytesMax);
  }
  return parseAt(text, limits, 0);
}

function parseAt(text: string, limits: FilterLimits, depth: number): FilterSpec {
  if (depth > limits.filterDepthMax) throw limitError('nested filters', depth, limits.filterDepthMax);
  if (text === 'blob:none') return Object.freeze({ kind: 'blob:none' });
  const equals = text.indexOf('=');
  const value = text.slice(equals + 1);
  switch (equals < 0 ? '' : text.slice(0, equals)) {
    case 'blob:limit': {
      const limitBytes = parseUnitNumber(value);
      if (limitBytes !== null) return Object.freeze({ kind: 'blob:limit', limitBytes });
      break;
    }
    case 'object:type':
      if (!KINDS.has(value)) throw refused(`'${shown(value)}' for 'object:type=<type>' is not a valid object type`);
      return Object.freeze({ kind: 'object:type', type: value as ObjectKind });
    case 'sparse:oid':
      return Object.freeze({ kind: 'sparse:oid', blob: value });
    case 'sparse:path':
      throw refused('sparse:path filters support has been dropped');
  }
  if (text.startsWith('tree:')) return parseTreeDepth(text.slice('tree:'.length));
  if (text.startsWith('combine:')) return parseCombine(text.slice('combine:'.length), limits, depth);
  throw refused(`invalid filter-spec '${shown(text)}'`);
}

function parseTreeDepth(text: string): FilterSpec {
  const depth = parseUnitNumber(text);
  if (depth === null) throw refused("expected 'tree:<depth>'");
  return Object.freeze({ kind: 'tree', depth });
}

function parseCombine(text: string, limits: FilterLimits, depth: number): FilterSpec {
  if (text === '') throw refused('expected something after combine:');
  const filters = text.split('+').map((part) => {
    const reserved = RESERVED.exec(part);
    if (reserved) throw refused(`must escape char in sub-filter-spec: '${shown(reserved[0])}'`);
    return parseAt(percentDecoded(part), limits, depth + 1);
  });
  return Object.freeze({ kind: 'combine', filters: Object.freeze(filters) });
}

// What must be percent-encoded inside combine: control characters, space, bytes above 0x7f and these.
const RESERVED = /[\x00-\x20\x80-\xff~`!@#$^&*()[\]{}\\;'",<>?]/;

/** %XX to bytes; a NUL and what is not two hex digits stay as they are, as in git. */
function percentDecoded(text: string): string {
  return text.replace(/%([0-9a-fA-F]{2})/g, (whole, hex: string) => {
    const byte = Number.parseInt(hex, 16);
    return byte === 0 ? whole : String.fromCharCode(byte);
  });
}

/**
 * A number as git reads it from clients: decimal, 0x hexadecimal or 0 octal, with an optional k, m or g. Null when it is none or does not
 * fit in 64 bits; above 2^53 it is cut to that, which no size or depth reaches.
 */
function parseUnitNumber(text: string): number | null {
  const match = /^(0x[0-9a-f]+|0[0-7]*|[1-9][0-9]*)([kmg]?)$/i.exec(text);
  if (match === null) return null;
  const digits = match[1] as string;
  const value = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits);
  const unit = { k: 1n << 10n, m: 1n << 20n, g: 1n << 30n }[(match[2] as string).toLowerCase()] ?? 1n;
  const scaled = value * unit;
  if (scaled >= 1n << 64n) return null;
  return scaled > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(scaled);
}

function refused(message: string): ProtocolError {
  return new ProtocolError('protocol', message);
}

function limitError(what: string, actual: number, max: number): ProtocolError {
  return new ProtocolError('protocol-limit', `too many ${what}: the limit is ${max}`, { what, actual, max });
}
