import { PackhouseError } from '../base/mod.ts';
import { RANGE_BYTES_MAX } from './store.ts';

const KEY_BYTES_MAX = 512;
const SEGMENT_BYTES_MAX = 200;
const SEGMENT = /^[a-z0-9][a-z0-9.-]*$/;
const PREFIX = /^(?:[a-z0-9][a-z0-9./-]*)?$/;
const CRATE_ID = /^[0-9a-f][0-9a-f-]{7,99}$/;

/** Whether `segment` may stand between two slashes of a key: never hidden, never `..`, short enough for a file name. */
export function isKeySegment(segment: string): boolean {
  return SEGMENT.test(segment) && segment.length <= SEGMENT_BYTES_MAX && !segment.includes('..');
}

export function isKey(key: string): boolean {
  return key.length <= KEY_BYTES_MAX && key.split('/').every(isKeySegment);
}

/** Throws `store-bad-key` for what is no key: the one gate between a name and a disk. */
export function assertKey(key: string): void {
  if (!isKey(key)) throw new PackhouseError('store-bad-key', `not a key of the pack store: ${JSON.stringify(key)}`, { key });
}

export function assertPrefix(prefix: string): void {
  if (PREFIX.test(prefix) && prefix.length <= KEY_BYTES_MAX && !prefix.includes('..')) return;
  throw new PackhouseError('store-bad-key', `not the beginning of a key: ${JSON.stringify(prefix)}`, { prefix });
}

export function assertRange(key: string, offset: number, lengthBytes: number): void {
  const sound =
    Number.isSafeInteger(offset) &&
    Number.isSafeInteger(lengthBytes) &&
    offset >= 0 &&
    lengthBytes >= 0 &&
    lengthBytes <= RANGE_BYTES_MAX &&
    Number.isSafeInteger(offset + lengthBytes);
  if (sound) return;
  const message = `range of ${key} is not usable: offset ${offset}, length ${lengthBytes} (at most ${RANGE_BYTES_MAX})`;
  throw new PackhouseError('store-bad-range', message, { key, offset, lengthBytes, lengthBytesMax: RANGE_BYTES_MAX });
}

/** The key of a crate's bytes: `crates/<first two hex digits>/<id>.pack`. `id` is lower-case hex, dashes allowed (a UUID will do). */
export function crateKey(id: string): string {
  if (!CRATE_ID.test(id)) throw new PackhouseError('store-bad-key', `not the id of a crate: ${JSON.stringify(id)}`, { id });
  return `crates/${id.slice(0, 2)}/${id}.pack`;
}

/** The key of a sidecar, beside its crate: `sidecarKey('crates/ab/ab12….pack', 'idx')` is `crates/ab/ab12….idx`. */
export function sidecarKey(key: string, extension: 'idx' | 'reach' | 'manifest' | 'sums'): string {
  assertKey(key);
  if (!key.endsWith('.pack')) throw new PackhouseError('store-bad-key', `not the key of a crate: ${key}`, { key });
  return `${key.slice(0, -'pack'.length)}${extension}`;
}
