import type { ClientBase } from 'pg';
import type { RecipeRow } from './chunks.ts';
import { SEQUENCES } from './snapshot.ts';

/** Tables that a snapshot tells of, in the order in which rows may be put into them. */
export const LOADED_TABLES = [
  'pools',
  'pool_sweeps',
  'repositories',
  'packs',
  'tail_bytes',
  'object_blocks',
  'graph_blocks',
  'chunked_blobs',
  'pushes',
  'ref_updates',
  'refs',
  'access_tokens',
  'maintenance_holds',
] as const;

/** Parts of an increment that are no tables. */
export const LOADED_LISTS = ['touched_pools', 'live_packs'] as const;

/** A new catalog starts its numbers so far beyond those that are known: what was given out after the snapshot is never given again. */
const MARGIN = 1_000_000;

export async function catalogIsEmpty(db: ClientBase): Promise<boolean> {
  const tables = [...LOADED_TABLES, 'catalog_snapshots', 'maintenance_jobs'];
  const union = tables.map((table) => `select 1 from ${table}`).join(' union all ');
  const { rows } = await db.query<{ used: boolean }>(
    `select exists (${union}) or exists (select 1 from pg_namespace where nspname = 'rebuild') as used`,
  );
  return !rows[0]!.used;
}

/** Makes the tables in which snapshots are put together: the merged ones, and one each for what a single snapshot brings. */
export async function createStaging(db: ClientBase): Promise<void> {
  await db.query('create schema rebuild');
  for (const table of LOADED_TABLES) {
    await db.query(`create unlogged table rebuild.${table} (like public.${table} including defaults including indexes)`);
    await db.query(`create unlogged table rebuild.in_${table} (like public.${table} including defaults)`);
  }
  await db.query('create unlogged table rebuild.in_touched_pools (pool_id bigint)');
  await db.query('create unlogged table rebuild.in_live_packs (pool_id bigint, ids bigint[])');
}

export async function dropStaging(db: ClientBase): Promise<void> {
  await db.query('drop schema rebuild cascade');
}

const TOUCHED = '(select pool_id from rebuild.in_touched_pools)';

/** Lays what one increment brought over what there is. `whole`: tables of which it brought everything. */
export async function mergeIncrement(db: ClientBase, whole: ReadonlySet<string>): Promise<void> {
  const add = (table: string): string => `insert into rebuild.${table} select * from rebuild.in_${table} on conflict do nothing`;
  const statements = [
    `delete from rebuild.pools where id in ${TOUCHED}`,
    `delete from rebuild.pool_sweeps where pool_id in ${TOUCHED}`,
    `delete from rebuild.repositories where pool_id in ${TOUCHED}`,
    'delete from rebuild.packs k using rebuild.in_packs n where k.pool_id = n.pool_id and k.id = n.id',
    ...['tail_bytes', 'object_blocks', 'graph_blocks'].map(
      (table) => `delete from rebuild.${table} t using (select distinct pool_id, pack_id from rebuild.in_${table}) n
                    where t.pool_id = n.pool_id and t.pack_id = n.pack_id`,
    ),
    `delete from rebuild.chunked_blobs t using rebuild.in_chunked_blobs n
       where t.pool_id = n.pool_id and t.pack_id = n.pack_id and t.oid = n.oid`,
    `delete from rebuild.refs f using rebuild.in_ref_updates u
       where f.pool_id = u.pool_id and f.repository_id = u.repository_id and f.name = u.name`,
    ...[...whole].map((table) => `delete from rebuild.${table}`),
    ...LOADED_TABLES.map(add),
    `update rebuild.packs k set state = 'superseded' where k.state = 'live' and k.pool_id in ${TOUCHED}
       and not exists (select 1 from rebuild.in_live_packs l where l.pool_id = k.pool_id and k.id = any (l.ids))`,
    ...[...LOADED_TABLES, ...LOADED_LISTS].map((table) => `truncate rebuild.in_${table}`),
  ];
  for (const statement of statements) await db.query(statement);
}

/** Every crate that a pack of any state names. */
export async function stagedCrates(db: ClientBase): Promise<string[]> {
  const { rows } = await db.query<{ crate_key: string }>(
    'select distinct crate_key from rebuild.packs where crate_key is not null order by crate_key',
  );
  return rows.map((row) => row.crate_key);
}

export async function addHold(db: ClientBase, reason: string): Promise<void> {
  await db.query('insert into maintenance_holds (reason) values ($1)', [reason]);
}

/** Puts pools, tail packs and recipes into the catalog, and packs of the store as intents of `lease`: nobody reads those yet. */
export async function publishPools(db: ClientBase, lease: string): Promise<void> {
  const statements = [
    `delete from rebuild.packs where state <> 'live'`,
    'insert into pools overriding system value select * from rebuild.pools',
    'insert into pool_sweeps select * from rebuild.pool_sweeps',
    `update rebuild.packs set state = 'intent', lease_token = '${lease}'::uuid, lease_until = now() + interval '30 days'
       where tier <> 'tail'`,
    'insert into packs select * from rebuild.packs',
    ...['tail_bytes', 'object_blocks', 'graph_blocks', 'chunked_blobs'].map(
      (table) => `insert into ${table} select t.* from rebuild.${table} t
                    where exists (select 1 from rebuild.packs k where k.pool_id = t.pool_id and k.id = t.pack_id)`,
    ),
  ];
  for (const statement of statements) await db.query(statement);
}

export interface IntentRow {
  readonly pool_id: number;
  readonly id: number;
  readonly object_format: 'sha1' | 'sha256';
  readonly tier: 'store' | 'chunks';
  readonly crate_key: string;
  readonly extent_offset: number;
  readonly extent_length: number;
  readonly object_count: number;
  readonly chunked_count: number;
  readonly checksum: Buffer;
  readonly all_reached: boolean;
  readonly based: boolean;
  readonly tips: Buffer;
}

/** Packs of the store that wait to be read: chunks first, then in order of place. */
export async function intents(db: ClientBase, lease: string): Promise<IntentRow[]> {
  const { rows } = await db.query<IntentRow>(
    `select k.pool_id, k.id, o.object_format, k.tier, k.crate_key, k.extent_offset, k.extent_length, k.object_count, k.chunked_count,
            k.checksum, k.all_reached, k.based, k.tips
       from packs k join pools o on o.id = k.pool_id where k.state = 'intent' and k.lease_token = $1
       order by k.tier, k.crate_key, k.extent_offset`,
    [lease],
  );
  return rows;
}

/** The tails that were put back. */
export async function countTails(db: ClientBase): Promise<{ packs: number; objects: number }> {
  const { rows } = await db.query<{ packs: number; objects: number }>(
    `select count(*) as packs, coalesce(sum(object_count), 0)::bigint as objects from packs where tier = 'tail'`,
  );
  return rows[0]!;
}

export async function publishIntent(
  db: ClientBase,
  poolId: number,
  packId: number,
  facts: { readonly allReached: boolean; readonly based: boolean; readonly tips: Buffer },
): Promise<void> {
  await db.query(
    `update packs set state = 'live', lease_token = null, lease_until = null, all_reached = $3, based = $4, tips = $5,
       has_duplicates = true where pool_id = $1 and id = $2`,
    [poolId, packId, facts.allReached, facts.based, facts.tips],
  );
}

/** A pack that is not there, or not what it was, is no pack of the catalog; its bytes stay where they are. */
export async function dropIntent(db: ClientBase, poolId: number, packId: number): Promise<void> {
  for (const table of ['object_blocks', 'graph_blocks', 'chunked_blobs'])
    await db.query(`delete from ${table} where pool_id = $1 and pack_id = $2`, [poolId, packId]);
  await db.query('delete from packs where pool_id = $1 and id = $2', [poolId, packId]);
}

/** Puts in what is looked up by name, and what deduplication needs: last, so that nothing is served before its packs are there. */
export async function publishNames(db: ClientBase): Promise<void> {
  const statements = [
    `insert into chunks (pool_id, sha256, pack_id, pack_offset, pack_length)
       select distinct on (b.pool_id, c.sha256) b.pool_id, c.sha256, c.pack_id, c.pack_offset, c.pack_length
         from chunked_blobs b
         cross join lateral (
           select substring(b.sha256s from (u.i::integer - 1) * 32 + 1 for 32) as sha256, u.pack_id, u.pack_offset, u.pack_length
             from unnest(b.chunk_packs, b.offsets, b.lengths) with ordinality u (pack_id, pack_offset, pack_length, i)) c
         join packs k on k.pool_id = b.pool_id and k.id = c.pack_id and k.state = 'live'
         order by b.pool_id, c.sha256, c.pack_id desc`,
    'insert into repositories overriding system value select * from rebuild.repositories',
    `insert into refs select f.* from rebuild.refs f join repositories r on r.id = f.repository_id and r.pool_id = f.pool_id`,
    `update rebuild.pushes s set pack_id = null
       where pack_id is not null and not exists (select 1 from packs k where k.pool_id = s.pool_id and k.id = s.pack_id)`,
    // The log of repositories that were forgotten since went with them; snapshots tell of no deletion of it.
    ...['pushes', 'ref_updates'].map(
      (table) => `insert into ${table} select t.* from rebuild.${table} t
                    where exists (select 1 from repositories r where r.id = t.repository_id and r.pool_id = t.pool_id)`,
    ),
    'insert into access_tokens overriding system value select * from rebuild.access_tokens',
    'insert into maintenance_holds (reason, made_at) select reason, made_at from rebuild.maintenance_holds',
  ];
  for (const statement of statements) await db.query(statement);
}

/** Sets every sequence well beyond the numbers that are known to have been given out. */
export async function advanceSequences(db: ClientBase, known: Readonly<Record<string, number>>): Promise<void> {
  const used: Record<(typeof SEQUENCES)[number], string> = {
    push_ids: 'select max(id) from pushes',
    pack_ids: 'select max(id) from packs',
    swap_ids: 'select max(id) from pack_swaps',
    pools_id_seq: 'select max(id) from pools',
    repositories_id_seq: 'select max(id) from repositories',
    access_tokens_id_seq: 'select max(id) from access_tokens',
  };
  for (const name of SEQUENCES) {
    await db.query(`select setval('${name}', greatest($1::bigint, coalesce((${used[name]}), 0)) + ${MARGIN})`, [
      known[name] ?? 0,
    ]);
  }
}

/** Notes pools and packs that only a manifest tells of. */
export async function stagePool(db: ClientBase, poolId: number, format: string): Promise<void> {
  await db.query('insert into rebuild.pools (id, object_format) values ($1, $2) on conflict do nothing', [poolId, format]);
}

export async function stagePack(
  db: ClientBase,
  pack: Omit<IntentRow, 'object_format'> & { readonly origin: string; readonly has_duplicates: boolean },
): Promise<boolean> {
  const { rowCount } = await db.query(
    `insert into rebuild.packs (pool_id, id, tier, state, crate_key, extent_offset, extent_length, object_count, chunked_count, checksum,
       all_reached, based, has_duplicates, tips, origin) values ($1, $2, $3, 'live', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
       on conflict do nothing`,
    [
      pack.pool_id,
      pack.id,
      pack.tier,
      pack.crate_key,
      pack.extent_offset,
      pack.extent_length,
      pack.object_count,
      pack.chunked_count,
      pack.checksum,
      pack.all_reached,
      pack.based,
      pack.has_duplicates,
      pack.tips,
      pack.origin,
    ],
  );
  return rowCount === 1;
}

export async function stageRepository(
  db: ClientBase,
  poolId: number,
  id: number,
  named: { readonly owner: string; readonly name: string; readonly private: boolean; readonly format: string },
): Promise<void> {
  await db.query(
    `insert into rebuild.repositories (id, pool_id, owner, name, object_format, private) values ($1, $2, $3, $4, $5, $6)
       on conflict do nothing`,
    [id, poolId, named.owner, named.name, named.format, named.private],
  );
}

export async function recipesOf(db: ClientBase, poolId: number, packId: number): Promise<RecipeRow[]> {
  const { rows } = await db.query<RecipeRow>(
    `select oid, size, adler, sha256s, chunk_packs, offsets, lengths, sizes, adlers from chunked_blobs
       where pool_id = $1 and pack_id = $2 order by oid`,
    [poolId, packId],
  );
  return rows;
}
