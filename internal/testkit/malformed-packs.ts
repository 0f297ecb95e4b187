import { createHash } from 'node:crypto';
import { constants, deflateRawSync, deflateSync } from 'node:zlib';
import { buildDelta, buildPack, commitBody, entry, entryHeader, ofsDelta, oidOf, refDelta, treeBody } from './pack-builder.ts';

/** A pack that no server may take, and the oid that its pusher points a ref at. */
export interface MalformedPack {
  readonly name: string;
  readonly tip: string;
  readonly make: () => Buffer;
}

const BLOB = Buffer.from('what the tree holds\n');
const TREE = treeBody([['100644', 'file', oidOf('blob', BLOB)]]);
const COMMIT = commitBody(oidOf('tree', TREE));
const TIP = oidOf('commit', COMMIT);
const ENTRIES = [entry('commit', COMMIT), entry('tree', TREE), entry('blob', BLOB)];
const ABSENT = 'deadbeef'.repeat(5);
const BASE = Buffer.alloc(65_536, 'all work and no play ');

/** The same three sound objects in every pack: what is wrong is only what the case says. */
export const SOUND_PACK = { tip: TIP, pack: buildPack(ENTRIES) };

function malformed(name: string, make: () => Buffer, tip = TIP): MalformedPack {
  return { name, tip, make };
}

/** A sound pack with one more entry. */
function withEntry(name: string, ...extra: Buffer[]): MalformedPack {
  return malformed(name, () => buildPack([...ENTRIES, ...extra]));
}

/** A blob of 65,536 bytes and a delta on it. */
function withDelta(name: string, delta: Buffer): MalformedPack {
  const base = entry('blob', BASE);
  return withEntry(name, base, ofsDelta(base.length, delta));
}

/** A commit whose tree is `tree`, all objects sent: only the tree's content is wrong. */
function withTree(name: string, tree: Buffer, ...more: Buffer[]): MalformedPack {
  const commit = commitBody(oidOf('tree', tree));
  return malformed(
    name,
    () => buildPack([entry('commit', commit), entry('tree', tree), ...ENTRIES, ...more]),
    oidOf('commit', commit),
  );
}

function withCommit(name: string, commit: Buffer): MalformedPack {
  return malformed(name, () => buildPack([...ENTRIES, entry('commit', commit)]), oidOf('commit', commit));
}

const MIB = 1 << 20;

/** A zlib stream of so many MiB of zero bytes, about a thousandth as long: one deflated MiB, again and again. */
function zeros(mebibytes: number): Buffer {
  const segment = deflateRawSync(Buffer.alloc(MIB), { level: 9, finishFlush: constants.Z_FULL_FLUSH });
  const adler = Buffer.alloc(4);
  // The sum of zeros is 1, the sum of sums their number.
  adler.writeUInt32BE((((mebibytes * MIB) % 65_521) * 65_536 + 1) >>> 0);
  return Buffer.concat([Buffer.from([0x78, 0x01]), ...Array<Buffer>(mebibytes).fill(segment), Buffer.from([0x03, 0x00]), adler]);
}

/** A pack of about 256 KiB with a blob of 256 MiB, which it says; and the commit that has it. */
export function bigBlobPack(): { readonly pack: Buffer; readonly tip: string } {
  const blob = createHash('sha1').update(`blob ${256 * MIB}\0`);
  for (let i = 0; i < 256; i++) blob.update(Buffer.alloc(MIB));
  const tree = treeBody([['100644', 'zeros', blob.digest('hex')]]);
  const commit = commitBody(oidOf('tree', tree));
  const entries = [Buffer.concat([entryHeader('blob', 256 * MIB), zeros(256)]), entry('tree', tree), entry('commit', commit)];
  return { pack: buildPack(entries), tip: oidOf('commit', commit) };
}

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 0xff;
  return copy;
}

const FRAME: readonly MalformedPack[] = [
  malformed('an empty pack in place of one', () => Buffer.alloc(0)),
  malformed('another magic', () => buildPack(ENTRIES, { magic: 'KCAP' })),
  malformed('version 1', () => buildPack(ENTRIES, { version: 1 })),
  malformed('version 4', () => buildPack(ENTRIES, { version: 4 })),
  malformed('a header cut short', () => SOUND_PACK.pack.subarray(0, 9)),
  malformed('more entries claimed than sent', () => buildPack(ENTRIES, { count: 4 })),
  malformed('fewer entries claimed than sent', () => buildPack(ENTRIES, { count: 2 })),
  malformed('no entry claimed, three sent', () => buildPack(ENTRIES, { count: 0 })),
  malformed('four milliards of entries claimed', () => buildPack(ENTRIES, { count: 0xffffffff })),
  malformed('another checksum', () => buildPack(ENTRIES, { checksum: Buffer.alloc(20, 7) })),
  malformed('a checksum cut short', () => SOUND_PACK.pack.subarray(0, SOUND_PACK.pack.length - 3)),
  malformed('no checksum', () => SOUND_PACK.pack.subarray(0, SOUND_PACK.pack.length - 20)),
  malformed('a cut inside a zlib stream', () => SOUND_PACK.pack.subarray(0, 40)),
  malformed('text in place of a pack', () => Buffer.from('this is no pack\n'.repeat(1000))),
];

const ENTRY: readonly MalformedPack[] = [
  withEntry('entry type 0', entry(0, 'x')),
  withEntry('entry type 5', entry(5, 'x')),
  withEntry('a corrupt zlib stream', flipped(entry('blob', 'some text some text some text'), 8)),
  withEntry('a wrong Adler-32', flipped(entry('blob', 'some text'), entry('blob', 'some text').length - 1)),
  withEntry('no zlib stream at all', Buffer.concat([entryHeader('blob', 10), Buffer.from('0123456789')])),
  withEntry('a stream longer than claimed', entry('blob', 'twenty bytes of text', 19)),
  withEntry('a stream shorter than claimed', entry('blob', 'twenty bytes of text', 21)),
  withEntry('nothing claimed, something sent', entry('blob', 'x', 0)),
  withEntry('a blob that claims 2^60 bytes', entry('blob', 'x', 1n << 60n)),
  withEntry('a blob that claims 1 TiB', entry('blob', 'x', 1n << 40n)),
  withEntry('a commit that claims 3 GiB', entry('commit', 'x', 3n << 30n)),
  withEntry('a tree that claims 2 GiB', entry('tree', 'x', 2n << 30n)),
  withEntry('a size varint without an end', Buffer.alloc(40, 0xb0 | 0x80)),
];

const DELTA: readonly MalformedPack[] = [
  withDelta('a delta for a base of another size', buildDelta(65_535, 10, [{ copy: [0, 10] }])),
  withDelta('a delta that makes less than it claims', buildDelta(65_536, 11, [{ copy: [0, 10] }])),
  withDelta('a delta that makes more than it claims', buildDelta(65_536, 9, [{ copy: [0, 10] }])),
  withDelta('a copy beyond the end of the base', buildDelta(65_536, 10, [{ copy: [65_530, 10] }])),
  withDelta('a copy from an offset of 4 GiB', buildDelta(65_536, 10, [{ copy: [0xfffffff0, 10] }])),
  withDelta('delta instruction 0', buildDelta(65_536, 10, [{ raw: [0] }, { copy: [0, 10] }])),
  withDelta('a delta cut inside an insert', buildDelta(65_536, 10, [{ raw: [10, 65, 66] }])),
  withDelta('a delta cut inside a copy', buildDelta(65_536, 10, [{ raw: [0xff, 1] }])),
  withDelta('a delta that is cut in its sizes', Buffer.from([0x80])),
  withDelta('a delta whose sizes never end', Buffer.alloc(30, 0xff)),
  withDelta('an empty delta', Buffer.alloc(0)),
  withDelta('a delta that claims a result of 1 TiB', buildDelta(65_536, 1n << 40n, [{ copy: [0, 65_536] }])),
  withDelta('a delta that claims a base of 2^60 bytes', buildDelta(1n << 60n, 10, [{ copy: [0, 10] }])),
  withEntry('an ofs delta on itself', ofsDelta(0, buildDelta(20, 5, [{ copy: [0, 5] }]))),
  withEntry('an ofs delta on what stands before the pack', ofsDelta(1_000_000, buildDelta(20, 5, [{ copy: [0, 5] }]))),
  withEntry(
    'an ofs delta on the pack header',
    ofsDelta(Buffer.concat(ENTRIES).length + 4, buildDelta(20, 5, [{ copy: [0, 5] }])),
  ),
  withEntry('an ofs delta into the middle of an entry', ofsDelta(3, buildDelta(20, 5, [{ copy: [0, 5] }]))),
  withEntry('a ref delta on an oid that exists nowhere', refDelta(ABSENT, buildDelta(20, 5, [{ copy: [0, 5] }]))),
  withEntry(
    'two ref deltas that wait for each other for ever',
    refDelta(ABSENT, buildDelta(20, 5, [{ insert: 'abcde' }])),
    refDelta('ab'.repeat(20), buildDelta(5, 20, [{ insert: 'abcdefghijklmnopqrst' }])),
  ),
  withEntry(
    'a delta that makes a commit of nonsense',
    ...((): Buffer[] => {
      const delta = ofsDelta(ENTRIES[0]!.length, buildDelta(COMMIT.length, 5, [{ copy: [0, 5] }]));
      return [ENTRIES[0]!, delta];
    })(),
  ),
  malformed('a chain of 6,000 deltas', () => {
    const entries = [...ENTRIES, entry('blob', 'start')];
    let last = entries.at(-1)!.length;
    for (let i = 0; i < 6000; i++) {
      const delta = ofsDelta(last, buildDelta(i === 0 ? 5 : 9, 9, [{ insert: String(i).padStart(9, '0') }]));
      entries.push(delta);
      last = delta.length;
    }
    return buildPack(entries);
  }),
  malformed('a delta bomb: 64 KiB, then 16 MiB, then 6 GiB', () => {
    const base = entry('blob', BASE);
    const times = (count: number, size: number): { result: number; delta: Buffer } => {
      const ops = Array.from({ length: count }, () => ({ copy: [0, Math.min(size, 0xffffff)] as const }));
      const result = count * Math.min(size, 0xffffff);
      return { result, delta: buildDelta(size, result, ops) };
    };
    const first = times(255, BASE.length);
    const one = ofsDelta(base.length, first.delta);
    return buildPack([...ENTRIES, base, one, ofsDelta(one.length, times(400, first.result).delta)]);
  }),
];

const BOMB: readonly MalformedPack[] = [
  malformed('a zlib bomb: 10 bytes claimed, 1 GiB sent in 1 MiB', () =>
    buildPack([...ENTRIES, Buffer.concat([entryHeader('blob', 10), zeros(1024)])]),
  ),
  malformed('a tree of 256 MiB of nothing', () =>
    buildPack([...ENTRIES, Buffer.concat([entryHeader('tree', 256 * MIB), zeros(256)])]),
  ),
  malformed('a commit of 256 MiB of nothing', () =>
    buildPack([...ENTRIES, Buffer.concat([entryHeader('commit', 256 * MIB), zeros(256)])]),
  ),
  malformed('a delta of 256 MiB of nothing', () =>
    buildPack([...ENTRIES, Buffer.concat([entryHeader('ref', 256 * MIB), Buffer.from(TIP, 'hex'), zeros(256)])]),
  ),
  malformed('200,000 deltas on one another without a base', () => {
    const one = Buffer.concat([entryHeader('ofs', 4), Buffer.from([1]), deflateSync(Buffer.alloc(4))]);
    return buildPack([...ENTRIES, Buffer.alloc(one.length * 200_000, one)], { count: 200_003 });
  }),
];

const file = oidOf('blob', BLOB);
const MODULES = '[submodule "x"]\n\tpath = x\n\turl = -u./evil\n';
const OBJECT: readonly MalformedPack[] = [
  withTree('a tree entry named .git', treeBody([['100644', '.git', file]])),
  withTree('a tree entry named .GIT', treeBody([['40000', '.GIT', oidOf('tree', TREE)]])),
  withTree('a tree entry named git~1', treeBody([['40000', 'git~1', oidOf('tree', TREE)]])),
  withTree('a tree entry named .g\\u200cit', treeBody([['40000', '.g\xe2\x80\x8cit', oidOf('tree', TREE)]])),
  withTree('a tree entry named ..', treeBody([['100644', '..', file]])),
  withTree('a tree entry with a slash', treeBody([['100644', 'a/b', file]])),
  withTree('a tree entry without a name', treeBody([['100644', '', file]])),
  withTree(
    'a tree out of order',
    treeBody([
      ['100644', 'b', file],
      ['100644', 'a', file],
    ]),
  ),
  withTree(
    'a tree with a name twice',
    treeBody([
      ['100644', 'a', file],
      ['100644', 'a', file],
    ]),
  ),
  withTree('a tree that is cut', TREE.subarray(0, TREE.length - 2)),
  withTree('a tree entry of the null oid', treeBody([['100644', 'a', '0'.repeat(40)]])),
  withTree('a .gitmodules that is a symlink', treeBody([['120000', '.gitmodules', file]])),
  withTree(
    'a .gitmodules whose url is an option',
    treeBody([['100644', '.gitmodules', oidOf('blob', MODULES)]]),
    entry('blob', MODULES),
  ),
  withCommit('a commit without a tree', Buffer.from(COMMIT.toString().replace(/^tree .*\n/, ''))),
  withCommit('a commit without an author', Buffer.from(COMMIT.toString().replace(/^author .*\n/m, ''))),
  withCommit('a commit with a NUL in its header', Buffer.from(COMMIT.toString().replace('A U Thor', 'A\0Thor'))),
  withCommit('a commit whose date overflows', Buffer.from(COMMIT.toString().replaceAll('1700000000', '99999999999999999999'))),
];

const CLOSURE: readonly MalformedPack[] = [
  malformed('a ref to an object never sent', () => buildPack([])),
  malformed('a commit whose tree is missing', () => buildPack([ENTRIES[0]!, ENTRIES[2]!])),
  malformed('a tree whose blob is missing', () => buildPack([ENTRIES[0]!, ENTRIES[1]!])),
  withCommit('a commit whose parent is missing', commitBody(oidOf('tree', TREE), [ABSENT])),
  withCommit('a commit whose tree is a blob', commitBody(file)),
  withCommit('a commit whose parent is a tree', commitBody(oidOf('tree', TREE), [oidOf('tree', TREE)])),
  withTree('a tree whose file is a tree', treeBody([['100644', 'a', oidOf('tree', TREE)]])),
  withTree('a tree whose folder is a blob', treeBody([['40000', 'a', file]])),
];

export const MALFORMED_PACKS: readonly MalformedPack[] = [...FRAME, ...ENTRY, ...DELTA, ...BOMB, ...OBJECT, ...CLOSURE];
