import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench } from './fsck-testing.ts';
import type { Problem } from './problems.ts';

/** Oids of the fixture: a tree of the odd pack, a blob of it that nothing links to, and a blob that it links to and does not hold. */
export const ODD_TREE = '3a4693248c99eb6013873e7192dc4458f3df5570';
export const ODD_BLOB = 'bca956660a2a028fe1b8ad14bfcde54704f55035';
export const GONE_BLOB = '286c5f5776916d7d7d5849988ca9d83e722cf9c2';

/** One thing to break, and what the report must say. */
export interface Damage {
  readonly what: string;
  readonly sql?: string;
  readonly files?: (bench: Bench) => Promise<void>;
  /** Lines that must be among the report's. */
  readonly says: readonly RegExp[];
  /** When the walk from refs alone finds it too. */
  readonly connectivity?: boolean;
  /** The only kinds that may be reported. */
  readonly only?: readonly Problem['kind'][];
}

const storePack = `(select min(id) from packs where tier = 'store')`;
const tailPack = `(select min(id) from packs where tier = 'tail')`;
const oddPack = `(select id from packs where not all_reached)`;
const block = `update object_blocks set`;
const ofStore = `where pack_id = ${storePack}`;

async function crate(bench: Bench, extension = 'pack'): Promise<string> {
  const [row] = await bench.query<{ crate_key: string }>(`select crate_key from packs where id = ${storePack}`);
  return join(bench.packsFolder, (row?.crate_key ?? '').replace(/pack$/, extension));
}
async function flip(bench: Bench, extension: string, at: number): Promise<void> {
  const path = await crate(bench, extension);
  const bytes = readFileSync(path);
  const place = at < 0 ? bytes.length + at : at;
  bytes.writeUInt8((bytes[place] ?? 0) ^ 0x55, place);
  writeFileSync(path, bytes);
}

/** Everything that is broken, one at a time, in a fixture whose odd pack has these objects. */
export const DAMAGES: readonly Damage[] = [
  {
    what: 'a crate that is gone',
    files: async (bench) => rmSync(await crate(bench)),
    says: [/^bytes: pack \d+: the store has no crates\/.*\.pack$/],
  },
  {
    what: 'a crate that is cut',
    files: async (bench) => truncateSync(await crate(bench), 1000),
    says: [/^bytes: pack \d+: crates\/.*\.pack has 1000 bytes, the pack ends at \d+$/],
  },
  {
    what: 'a byte of a crate that flipped',
    files: (bench) => flip(bench, 'pack', 100_000),
    says: [/^content: pack \d+/],
    only: ['content', 'link'],
  },
  {
    what: 'a checksum of a crate that flipped',
    files: (bench) => flip(bench, 'pack', -1),
    says: [/^content: pack \d+.*checksum/],
    only: ['content'],
  },
  {
    what: 'a tail pack without bytes',
    sql: `delete from tail_bytes where pack_id = ${tailPack}`,
    says: [/^bytes: pack \d+: tail_bytes has no row$/],
  },
  {
    what: 'a tail pack with other bytes behind it',
    sql: `update tail_bytes set bytes = bytes || '\\x00' where pack_id = ${tailPack}`,
    says: [/^bytes: pack \d+: tail_bytes has \d+ bytes, not \d+$/],
    only: ['bytes'],
  },
  {
    what: 'a byte of a tail pack that flipped',
    sql: `update tail_bytes set bytes = set_byte(bytes, 20, get_byte(bytes, 20) # 85) where pack_id = ${tailPack}`,
    says: [/^content: pack \d+/],
  },
  {
    what: 'a size in the object index',
    sql: `${block} sizes[5] = sizes[5] + 1 ${ofStore}`,
    says: [/^index: pack \d+ offset \d+ oid [0-9a-f]{40}: object_blocks says size \d+ for \d+$/],
    // A tree or commit of another size than the index says is not read on the way from refs.
    only: ['index', 'link'],
  },
  {
    what: 'an offset in the object index',
    sql: `${block} offsets[5] = 12 ${ofStore}`,
    says: [/^index: pack \d+ offset \d+ oid [0-9a-f]{40}: object_blocks says offset 12 for \d+$/],
  },
  {
    what: 'a length in the object index',
    sql: `${block} lengths[5] = lengths[5] + 1 ${ofStore}`,
    says: [/^index: .*: object_blocks says length \d+ for \d+$/],
    only: ['index'],
  },
  {
    what: 'a kind in the object index',
    sql: `${block} kinds = set_byte(kinds, 0, 5 - get_byte(kinds, 0)) ${ofStore}`,
    says: [/^index: .*: object_blocks says kind \w+ for \w+$/],
  },
  {
    what: 'an oid in the object index',
    sql: `${block} oids = set_byte(oids, 20 * 7 + 19, get_byte(oids, 20 * 7 + 19) # 1) ${ofStore}`,
    says: [/^index: .*: object_blocks does not have it$/, /^index: .*: object_blocks has it, the pack does not$/],
    connectivity: true,
  },
  {
    what: 'columns of a block that do not fit',
    sql: `${block} object_count = object_count + 1 where pack_id = ${tailPack}`,
    says: [/^index: pack \d+: the columns of the block of object_blocks at [0-9a-f]{40} do not fit each other$/],
    only: ['index'],
  },
  {
    what: 'a pack without object blocks',
    sql: `delete from object_blocks ${ofStore}`,
    says: [/^index: .*: object_blocks does not have it$/, /^index: pack \d+: and \d+ more like these$/],
    connectivity: true,
  },
  {
    what: 'the number of objects of a pack',
    sql: `update packs set object_count = object_count + 1 where id = ${tailPack}`,
    says: [/^index: pack \d+: packs.object_count is \d+, the pack holds \d+$/],
    only: ['index'],
  },
  {
    what: 'the checksum of a pack',
    sql: `update packs set checksum = set_byte(checksum, 3, get_byte(checksum, 3) # 1) where id = ${tailPack}`,
    says: [/^content: pack \d+: checksum is [0-9a-f]{40}, the catalog says [0-9a-f]{40}$/],
    only: ['content'],
  },
  {
    what: 'a byte of an .idx',
    files: (bench) => flip(bench, 'idx', 1100),
    says: [/^idx: pack \d+: .*\.idx is not what git would write, from byte 1100 on$/],
    only: ['idx'],
  },
  {
    what: 'an .idx that is cut',
    files: async (bench) => truncateSync(await crate(bench, 'idx'), 50),
    says: [/^idx: .* has 50 bytes, git would write \d+$/],
    only: ['idx'],
  },
  {
    what: 'an .idx that is gone',
    files: async (bench) => rmSync(await crate(bench, 'idx')),
    says: [/^idx: pack \d+: the store has no .*\.idx$/],
    only: ['idx'],
  },
  {
    what: 'a date in the commit graph',
    sql: `update graph_blocks set records = set_byte(records, 46, get_byte(records, 46) # 1) where pack_id = ${tailPack}`,
    says: [/^graph: pack \d+ oid [0-9a-f]{40}: graph_blocks says 01[0-9a-f]+, the object 01[0-9a-f]+$/],
    only: ['graph'],
  },
  {
    what: 'commits that the graph does not have',
    sql: `delete from graph_blocks where pack_id = ${tailPack}`,
    says: [/^graph: pack \d+ oid [0-9a-f]{40}: graph_blocks has no record of it$/],
    connectivity: true,
  },
  {
    what: 'a commit that only the graph has',
    sql: `insert into graph_blocks select pool_id, pack_id, 1, set_byte(records, 5, get_byte(records, 5) # 1) from graph_blocks where pack_id = ${tailPack}`,
    says: [/^graph: pack \d+ oid [0-9a-f]{40}: graph_blocks has a record of it, the pack not the object$/],
    only: ['graph'],
  },
  {
    what: 'graph records that are cut',
    sql: `update graph_blocks set records = substring(records for length(records) - 3) where pack_id = ${tailPack}`,
    says: [/^graph: pack \d+: graph records can.*at byte \d+/],
    connectivity: true,
  },
  {
    what: 'graph records that are none',
    sql: `update graph_blocks set records = '\\x07' where pack_id = ${tailPack}`,
    says: [/^graph: pack \d+: graph records cannot be read at byte 0 of 1$/],
    connectivity: true,
  },
  {
    what: 'a ref on an object that is nowhere',
    sql: `update refs set oid = decode(repeat('ab', 20), 'hex') where name = 'refs/heads/main' and length(oid) = 20`,
    says: [/^ref: ida\/kept oid (ab){20}: refs\/heads\/main points at what is not stored$/],
    connectivity: true,
    only: ['ref'],
  },
  {
    what: 'a branch on a tree',
    sql: `update refs set oid = decode('${ODD_TREE}', 'hex') where name = 'refs/heads/odd'`,
    says: [/^ref: ida\/kept oid [0-9a-f]{40}: refs\/heads\/odd is a branch on a tree$/],
    connectivity: true,
    only: ['ref'],
  },
  {
    what: 'a tag that peels to something else',
    sql: `update refs set peeled = oid where name = (select min(name) from refs where peeled is not null and length(oid) = 20)`,
    says: [/^ref: ida\/kept oid [0-9a-f]{40}: refs\/tags\/\S+ peels to [0-9a-f]{40}, refs.peeled says [0-9a-f]{40}$/],
    connectivity: true,
    only: ['ref'],
  },
  {
    what: 'a pack in the middle that is no longer live',
    sql: `update packs set state = 'superseded' where id = ${tailPack}`,
    says: [/^link: ida\/kept oid [0-9a-f]{40}: parent of commit [0-9a-f]{40} is not stored$/],
    connectivity: true,
  },
  {
    what: 'a blob and a tree that no live pack has',
    sql: `update packs set state = 'superseded' where id = ${storePack}`,
    says: [/^link: ida\/kept oid [0-9a-f]{40}: blob is not stored$/, /^link: .*: tree [0-9a-f]{40} is not stored$/],
    connectivity: true,
  },
  {
    what: 'all_reached without tips',
    sql: `update packs set tips = '' where id = ${storePack}`,
    says: [/^fact: pack \d+: all_reached is true, but there are no tips$/],
    only: ['fact'],
  },
  {
    what: 'all_reached of a pack with an object that nothing links to',
    sql: `update packs set all_reached = true, tips = (select oid from refs where name = 'refs/heads/odd') where id = ${oddPack}`,
    says: [new RegExp(`^fact: pack \\d+ oid ${ODD_BLOB}: all_reached is true, but no tip of the pack reaches it$`)],
    only: ['fact'],
  },
  {
    what: 'tips that are of another pack',
    sql: `update packs set tips = (select oid from refs where name = 'refs/heads/main' and length(oid) = 20) where id = ${storePack}`,
    says: [/^fact: pack \d+ oid [0-9a-f]{40}: is among the tips, but no commit or tag of the pack$/],
    only: ['fact'],
  },
  {
    what: 'based of a pack that links elsewhere',
    sql: `update packs set based = true where id = ${oddPack}`,
    says: [new RegExp(`^fact: pack \\d+ oid ${GONE_BLOB}: based is true, but no parent of the pack's commits reaches it$`)],
    only: ['fact'],
  },
  {
    what: 'rows of packs that there are not',
    sql: `insert into tail_bytes values (1, 999, '\\x00');
          insert into object_blocks select pool_id, 998, first_oid, object_count, oids, kinds, sizes, offsets, lengths from object_blocks limit 1;
          insert into graph_blocks values (1, 997, 0, '\\x00')`,
    says: [
      /^orphan: pack 999: tail_bytes: there is no tail pack of that id$/,
      /^orphan: pack 998: object_blocks: there is no pack of that id$/,
      /^orphan: pack 997: graph_blocks: there is no pack of that id$/,
    ],
    connectivity: true,
    only: ['orphan'],
  },
  {
    what: 'rows of repositories, pushes and pools that there are not',
    sql: `insert into refs select pool_id, 999, name, oid, peeled, created_push from refs where name = 'refs/heads/odd';
          insert into pushes (pool_id, id, repository_id) values (1, 99999, 999);
          insert into ref_updates (pool_id, push_id, repository_id, name) values (1, 99997, 1, 'refs/heads/x');
          insert into pools (object_format) values ('sha1');
          insert into packs (pool_id, id, tier, state, extent_length, object_count) values (995, 994, 'tail', 'superseded', 1, 1)`,
    says: [
      /^orphan: refs: 1 of repository 999, which is not in this pool$/,
      /^orphan: pushes: push 99999 is of repository 999, which is not in this pool$/,
      /^orphan: ref_updates: 1 of push 99997, which there is not$/,
      /^orphan: pools: no repository has this pool$/,
      /^orphan: pack 994: packs: there is no pool 995$/,
    ],
    connectivity: true,
    only: ['orphan'],
  },
  {
    what: 'a crate that nobody names',
    files: async (bench) => {
      await bench.store.put('crates/ab/abababab.pack', Buffer.from('PACK'));
    },
    says: [/^orphan: crates\/ab\/abababab\.pack is in the store, but no pack of the catalog names it$/],
    connectivity: true,
    only: ['orphan'],
  },
];
