import { createHash } from 'node:crypto';
import { deflateSync } from 'node:zlib';

/**
 * Packs by hand, right or wrong. Written apart from internal/packformat on purpose: what the tests build must not share its mistakes.
 */
export type EntryType = 'commit' | 'tree' | 'blob' | 'tag' | 'ofs' | 'ref' | 0 | 5;

const TYPE_NUMBERS = { commit: 1, tree: 2, blob: 3, tag: 4, ofs: 6, ref: 7 } as const;

/** The type/size varint of an entry (gitformat-pack). */
export function entryHeader(type: EntryType, size: bigint | number): Buffer {
  const number = typeof type === 'number' ? type : TYPE_NUMBERS[type];
  let rest = BigInt(size);
  const bytes = [Number(rest & 15n) | (number << 4)];
  rest >>= 4n;
  while (rest > 0n) {
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) | 0x80;
    bytes.push(Number(rest & 127n));
    rest >>= 7n;
  }
  return Buffer.from(bytes);
}

export function entry(type: EntryType, data: Buffer | string, claimedSize?: bigint | number): Buffer {
  const bytes = Buffer.from(data);
  return Buffer.concat([entryHeader(type, claimedSize ?? bytes.length), deflateSync(bytes)]);
}

/** A delta on the entry that starts `distance` bytes before this one. */
export function ofsDelta(distance: number, delta: Buffer): Buffer {
  const bytes = [distance & 0x7f];
  let rest = Math.floor(distance / 128);
  while (rest > 0) {
    rest--;
    bytes.unshift(0x80 | (rest & 0x7f));
    rest = Math.floor(rest / 128);
  }
  return Buffer.concat([entryHeader('ofs', delta.length), Buffer.from(bytes), deflateSync(delta)]);
}

export function refDelta(baseOid: string, delta: Buffer): Buffer {
  return Buffer.concat([entryHeader('ref', delta.length), Buffer.from(baseOid, 'hex'), deflateSync(delta)]);
}

export interface PackShape {
  readonly count?: number;
  readonly version?: number;
  readonly magic?: string;
  /** In place of the right one. */
  readonly checksum?: Buffer;
}

export function buildPack(entries: readonly Buffer[], shape: PackShape = {}): Buffer {
  const header = Buffer.alloc(12);
  header.write(shape.magic ?? 'PACK', 'latin1');
  header.writeUInt32BE(shape.version ?? 2, 4);
  header.writeUInt32BE(shape.count ?? entries.length, 8);
  const body = Buffer.concat([header, ...entries]);
  return Buffer.concat([body, shape.checksum ?? createHash('sha1').update(body).digest()]);
}

function deltaSize(size: bigint | number): number[] {
  const bytes: number[] = [];
  let rest = BigInt(size);
  do {
    bytes.push(Number(rest & 127n) | (rest > 127n ? 0x80 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return bytes;
}

/** Copy: at most 0xffffff bytes from an offset below 2^32. */
export type DeltaOp =
  | { readonly copy: readonly [offset: number, length: number] }
  | { readonly insert: string }
  | { readonly raw: number[] };

export function buildDelta(baseSize: bigint | number, resultSize: bigint | number, ops: readonly DeltaOp[]): Buffer {
  const bytes = [...deltaSize(baseSize), ...deltaSize(resultSize)];
  for (const op of ops) {
    if ('insert' in op) {
      bytes.push(op.insert.length, ...Buffer.from(op.insert, 'latin1'));
    } else if ('raw' in op) {
      bytes.push(...op.raw);
    } else {
      const [offset, length] = op.copy;
      const little = [offset & 255, (offset >>> 8) & 255, (offset >>> 16) & 255, offset >>> 24];
      bytes.push(0xff, ...little, length & 255, (length >>> 8) & 255, length >>> 16);
    }
  }
  return Buffer.from(bytes);
}

export function oidOf(kind: 'commit' | 'tree' | 'blob' | 'tag', data: Buffer | string): string {
  const bytes = Buffer.from(data);
  return createHash('sha1').update(`${kind} ${bytes.length}\0`).update(bytes).digest('hex');
}

export function treeBody(items: readonly (readonly [mode: string, name: string, oid: string])[]): Buffer {
  return Buffer.concat(
    items.map(([mode, name, oid]) => Buffer.concat([Buffer.from(`${mode} ${name}\0`, 'latin1'), Buffer.from(oid, 'hex')])),
  );
}

export function commitBody(tree: string, parents: readonly string[] = [], message = 'made by hand\n'): Buffer {
  const who = 'A U Thor <author@example.com> 1700000000 +0000';
  const links = [`tree ${tree}`, ...parents.map((parent) => `parent ${parent}`)].join('\n');
  return Buffer.from(`${links}\nauthor ${who}\ncommitter ${who}\n\n${message}`);
}
