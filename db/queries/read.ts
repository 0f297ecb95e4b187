import assert from 'node:assert/strict';
import type { Queryable } from './publish.ts';

export interface RepositoryStateRow {
  readonly id: number;
  readonly pool_id: number;
  readonly object_format: 'sha1' | 'sha256';
  readonly head: Buffer | null;
  readonly private: boolean;
  readonly snapshot: string;
  readonly names: Buffer[] | null;
  readonly oids: (Buffer | null)[] | null;
  readonly peeled: (Buffer | null)[] | null;
  readonly created: (number | null)[] | null;
  readonly packs: number[] | null;
  readonly removed: number[] | null;
  readonly sweep_epoch: number;
}

/** The repository and what has changed in it since `snapshot`; everything when there is none, or the name is another repository's now. */
export async function repositoryState(
  db: Queryable,
  owner: string,
  name: string,
  knownId: number,
  snapshot: string | null,
): Promise<RepositoryStateRow | null> {
  const { rows } = await db.query<RepositoryStateRow>({
    name: 'repository-state',
    text: 'select * from repository_state($1, $2, $3, $4::pg_snapshot)',
    values: [owner, name, knownId, snapshot],
  });
  return rows[0] ?? null;
}

export interface PackRow {
  readonly id: number;
  readonly tier: 'tail' | 'store';
  readonly crate_key: string | null;
  readonly extent_offset: number;
  readonly extent_length: number;
  readonly object_count: number;
  readonly chunked_count: number;
  readonly checksum: Buffer;
  readonly all_reached: boolean;
  readonly based: boolean;
  readonly has_duplicates: boolean;
  readonly tips: Buffer;
  readonly searched: boolean;
}

/** The live packs of a pool in order of id; or those that are named, even if others have taken their place a moment ago. */
export async function livePacks(db: Queryable, poolId: number, ids: readonly number[] | null): Promise<PackRow[]> {
  const { rows } = await db.query<PackRow>({
    name: 'live-packs',
    text: `select id, tier, crate_key, extent_offset, extent_length, object_count, chunked_count, checksum, all_reached, based, has_duplicates, tips,
        origin in ('seal', 'compact', 'sweep') as searched
      from packs where pool_id = $1 and tier <> 'chunks'
        and case when $2::bigint[] is null then state = 'live' else state in ('live', 'superseded') and id = any ($2) end order by id`,
    values: [poolId, ids],
  });
  return rows;
}

export interface BlockRow {
  readonly pack_id: number;
  readonly first_oid: Buffer;
  readonly oids: Buffer;
  readonly kinds: Buffer;
  readonly sizes: Float64Array;
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
}

const BLOCK_COLUMNS = 'pack_id, first_oid, oids, kinds, sizes, offsets, lengths';

/** All object blocks of the packs, in order of pack and oid. */
export async function blocksOfPacks(db: Queryable, poolId: number, packIds: readonly number[]): Promise<BlockRow[]> {
  const { rows } = await db.query<BlockRow>({
    name: 'blocks-of-packs',
    text: `select ${BLOCK_COLUMNS} from object_blocks where pool_id = $1 and pack_id = any ($2::bigint[]) order by pack_id, first_oid`,
    values: [poolId, packIds],
  });
  return rows;
}

/** The same as a query without parameters, for COPY. */
export function blocksOfPacksQuery(poolId: number, packIds: readonly number[]): string {
  const ids = wholeNumbers(packIds);
  return `select ${BLOCK_COLUMNS} from object_blocks where pool_id = ${wholeNumbers([poolId])} and pack_id in (${ids}) order by pack_id, first_oid`;
}

function wholeNumbers(numbers: readonly number[]): string {
  assert(
    numbers.length > 0 && numbers.every(Number.isSafeInteger),
    'COPY takes no parameters: whole numbers are part of its text',
  );
  return numbers.join(',');
}

/** The blocks that start at the given oids. */
export async function blocksAt(
  db: Queryable,
  poolId: number,
  packIds: readonly number[],
  firstOids: string,
): Promise<BlockRow[]> {
  const { rows } = await db.query<BlockRow>({
    name: 'blocks-at',
    text: `select ${BLOCK_COLUMNS} from object_blocks join unnest($2::bigint[], $3::bytea[]) w (p, f) on pack_id = w.p and first_oid = w.f
      where pool_id = $1`,
    values: [poolId, packIds, firstOids],
  });
  return rows;
}

/** The first oid of each block of the packs: the directory that look-ups begin with. */
export async function blockDirectory(
  db: Queryable,
  poolId: number,
  packIds: readonly number[],
): Promise<{ pack_id: number; first_oids: Buffer }[]> {
  const { rows } = await db.query<{ pack_id: number; first_oids: Buffer }>({
    name: 'block-directory',
    text: `select pack_id, string_agg(first_oid, ''::bytea order by first_oid) as first_oids from object_blocks
      where pool_id = $1 and pack_id = any ($2::bigint[]) group by pack_id`,
    values: [poolId, packIds],
  });
  return rows;
}

export async function tailBytes(
  db: Queryable,
  poolId: number,
  packIds: readonly number[],
): Promise<{ pack_id: number; bytes: Buffer }[]> {
  const { rows } = await db.query<{ pack_id: number; bytes: Buffer }>({
    name: 'tail-bytes',
    text: 'select pack_id, bytes from tail_bytes where pool_id = $1 and pack_id = any ($2::bigint[])',
    values: [poolId, packIds],
  });
  return rows;
}

/** Graph records of the packs, in order of pack. */
export async function graphBlocks(
  db: Queryable,
  poolId: number,
  packIds: readonly number[],
): Promise<{ pack_id: number; records: Buffer }[]> {
  const { rows } = await db.query<{ pack_id: number; records: Buffer }>({
    name: 'graph-blocks',
    text: 'select pack_id, records from graph_blocks where pool_id = $1 and pack_id = any ($2::bigint[]) order by pack_id, ordinal',
    values: [poolId, packIds],
  });
  return rows;
}

/** The same as a query without parameters, for COPY. */
export function graphBlocksQuery(poolId: number, packIds: readonly number[]): string {
  const ids = wholeNumbers(packIds);
  return `select pack_id, records from graph_blocks where pool_id = ${wholeNumbers([poolId])} and pack_id in (${ids}) order by pack_id, ordinal`;
}

/**
 * Old values of this repository's own refs that the push log still has, newest first: of so many seconds, as far as the last sweep counted them; null: all.
 */
export async function loggedTips(
  db: Queryable,
  poolId: number,
  repositoryId: number,
  sinceSeconds: number | null,
  limit: number,
): Promise<Buffer[]> {
  const { rows } = await db.query<{ old_oid: Buffer }>({
    name: 'logged-tips',
    text: `select u.old_oid from ref_updates u join pushes s on s.pool_id = u.pool_id and s.id = u.push_id
      where u.pool_id = $1 and u.repository_id = $2 and u.old_oid is not null
        and ($3::float8 is null or s.pushed_at > greatest(now() - make_interval(secs => $3::float8),
          (select w.kept_since from pool_sweeps w where w.pool_id = $1)))
      order by u.push_id desc limit $4`,
    values: [poolId, repositoryId, sinceSeconds, limit],
  });
  return rows.map((row) => row.old_oid);
}
