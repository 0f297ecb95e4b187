import type { Queryable } from './publish.ts';

export interface PoolRow {
  readonly id: number;
  readonly object_format: 'sha1' | 'sha256';
}

/** The pools, or one of them, in order of id. */
export async function pools(db: Queryable, poolId: number | null): Promise<PoolRow[]> {
  const { rows } = await db.query<PoolRow>(
    'select id, object_format from pools where $1::bigint is null or id = $1 order by id',
    [poolId],
  );
  return rows;
}

export interface OrphanRow {
  readonly pool_id: number;
  readonly pack_id: number | null;
  readonly what: string;
}

/** Rows that belong to nothing, in all pools or in one; one statement, so that a push that is being published is seen whole or not at all. */
export async function orphanRows(db: Queryable, poolId: number | null): Promise<OrphanRow[]> {
  const { rows } = await db.query<OrphanRow>(
    `select * from (
       select t.pool_id, t.pack_id, 'tail_bytes: there is no tail pack of that id' as what
         from tail_bytes t left join packs k on k.pool_id = t.pool_id and k.id = t.pack_id and k.tier = 'tail' where k.id is null
       union all
       select distinct b.pool_id, b.pack_id, 'object_blocks: there is no pack of that id'
         from object_blocks b left join packs k on k.pool_id = b.pool_id and k.id = b.pack_id where k.id is null
       union all
       select distinct g.pool_id, g.pack_id, 'graph_blocks: there is no pack of that id'
         from graph_blocks g left join packs k on k.pool_id = g.pool_id and k.id = g.pack_id where k.id is null
       union all
       select c.pool_id, c.pack_id, 'chunks: ' || count(*) || ' rows name no pack of chunks that is there'
         from chunks c left join packs k on k.pool_id = c.pool_id and k.id = c.pack_id and k.tier = 'chunks'
           and k.state in ('live', 'superseded') where k.id is null group by c.pool_id, c.pack_id
       union all
       select distinct b.pool_id, b.pack_id, 'chunked_blobs: there is no pack of that id'
         from chunked_blobs b left join packs k on k.pool_id = b.pool_id and k.id = b.pack_id where k.id is null
       union all
       select k.pool_id, k.id, 'packs: there is no pool ' || k.pool_id
         from packs k left join pools p on p.id = k.pool_id where p.id is null
       union all
       select p.id, null, 'pools: no repository has this pool'
         from pools p left join repositories r on r.pool_id = p.id where r.id is null
           and not exists (select 1 from packs k where k.pool_id = p.id and k.state in ('superseded', 'deleted', 'aborting'))
       union all
       select f.pool_id, null, 'refs: ' || count(*) || ' of repository ' || f.repository_id || ', which is not in this pool'
         from refs f left join repositories r on r.id = f.repository_id and r.pool_id = f.pool_id where r.id is null
         group by f.pool_id, f.repository_id
       union all
       select s.pool_id, s.pack_id, 'pushes: push ' || s.id || ' is of repository ' || s.repository_id || ', which is not in this pool'
         from pushes s left join repositories r on r.id = s.repository_id and r.pool_id = s.pool_id where r.id is null
       union all
       select u.pool_id, null, 'ref_updates: ' || count(*) || ' of push ' || u.push_id || ', which there is not'
         from ref_updates u left join pushes s on s.pool_id = u.pool_id and s.id = u.push_id where s.id is null
         group by u.pool_id, u.push_id
     ) o where $1::bigint is null or o.pool_id = $1 order by o.pool_id, o.pack_id, o.what`,
    [poolId],
  );
  return rows;
}

/** First oids of the blocks of a pack whose columns do not fit each other. */
export async function misshapenBlocks(db: Queryable, poolId: number, packId: number, oidBytes: number): Promise<Buffer[]> {
  const { rows } = await db.query<{ first_oid: Buffer }>(
    `select first_oid from object_blocks where pool_id = $1 and pack_id = $2 and (
       object_count < 1 or length(kinds) <> object_count or length(oids) <> object_count * $3::integer
       or cardinality(sizes) <> object_count or cardinality(offsets) <> object_count or cardinality(lengths) <> object_count
       or first_oid <> substring(oids for $3::integer)) order by first_oid`,
    [poolId, packId, oidBytes],
  );
  return rows.map((row) => row.first_oid);
}

/** Keys of crates that any row names, whatever state its pack is in. */
export async function crateKeys(db: Queryable): Promise<{ crate_key: string; state: string }[]> {
  const { rows } = await db.query<{ crate_key: string; state: string }>(
    'select crate_key, state from packs where crate_key is not null',
  );
  return rows;
}
