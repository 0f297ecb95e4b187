-- migrate:up

-- How much there is, for people. Live packs only; logical bytes are those of the objects themselves, an object in two packs counts twice.
create view v_pool_size as
  select o.id as pool_id, o.object_format,
         (select count(*) from repositories r where r.pool_id = o.id and r.deleted_at is null) as repositories,
         k.packs, k.objects, coalesce(b.logical_bytes, 0) as logical_bytes, k.tail_bytes, k.store_bytes, k.chunk_bytes,
         k.tail_bytes + k.store_bytes + k.chunk_bytes as packed_bytes
    from pools o
    cross join lateral (
      select count(*) filter (where p.tier <> 'chunks') as packs,
             coalesce(sum(p.object_count) filter (where p.tier <> 'chunks'), 0)::bigint as objects,
             coalesce(sum(p.extent_length) filter (where p.tier = 'tail'), 0)::bigint as tail_bytes,
             coalesce(sum(p.extent_length) filter (where p.tier = 'store'), 0)::bigint as store_bytes,
             coalesce(sum(p.extent_length) filter (where p.tier = 'chunks'), 0)::bigint as chunk_bytes
        from packs p where p.pool_id = o.id and p.state = 'live') k
    cross join lateral (
      select sum((select sum(s) from unnest(c.sizes) s))::bigint as logical_bytes
        from object_blocks c join packs p on p.pool_id = c.pool_id and p.id = c.pack_id and p.state = 'live'
        where c.pool_id = o.id) b;

-- One row a repository. Forks share their pool: its sizes stand in the row of each.
create view v_repository_size as
  select r.owner || '/' || r.name as repository, r.pool_id, s.repositories as repositories_in_pool,
         (select count(*) from refs f where f.pool_id = r.pool_id and f.repository_id = r.id) as refs,
         s.packs, s.objects, s.logical_bytes, s.tail_bytes, s.store_bytes, s.chunk_bytes, s.packed_bytes
    from repositories r join v_pool_size s on s.pool_id = r.pool_id where r.deleted_at is null;

-- What is stored once though it is there more than once, and what is stored twice. Reads every oid of a pool: seconds for millions.
create view v_dedup as
  select o.id as pool_id, coalesce(d.objects, 0) as objects, coalesce(d.distinct_objects, 0) as distinct_objects,
         coalesce(d.repeated_bytes, 0) as repeated_bytes, coalesce(c.blobs, 0) as chunked_blobs,
         coalesce(c.plain_bytes, 0) as chunked_plain_bytes, coalesce(h.referenced_bytes, 0) as chunk_bytes_referenced,
         coalesce(h.stored_bytes, 0) as chunk_bytes_stored,
         coalesce(h.referenced_bytes - h.stored_bytes, 0) as deduplicated_bytes
    from pools o
    left join lateral (
      select sum(x.copies)::bigint as objects, count(*) as distinct_objects,
             sum(x.bytes - x.bytes / x.copies)::bigint as repeated_bytes
        from (
          select count(*) as copies, sum(u.entry) as bytes
            from object_blocks b join packs k on k.pool_id = b.pool_id and k.id = b.pack_id and k.state = 'live'
            cross join lateral unnest(b.lengths) with ordinality u (entry, i)
            where b.pool_id = o.id
            group by substring(b.oids from (u.i::integer - 1) * (length(b.oids) / b.object_count) + 1
                       for length(b.oids) / b.object_count)) x) d on true
    left join lateral (
      select count(*) as blobs, sum(b.size)::bigint as plain_bytes
        from chunked_blobs b join packs k on k.pool_id = b.pool_id and k.id = b.pack_id and k.state = 'live'
        where b.pool_id = o.id) c on true
    left join lateral (
      select sum(y.uses * y.bytes)::bigint as referenced_bytes, sum(y.bytes)::bigint as stored_bytes
        from (
          select count(*) as uses, max(u.bytes) as bytes
            from chunked_blobs b join packs k on k.pool_id = b.pool_id and k.id = b.pack_id and k.state = 'live'
            cross join lateral unnest(b.chunk_packs, b.offsets, b.lengths) u (pack, place, bytes)
            where b.pool_id = o.id group by u.pack, u.place) y) h on true;

-- One row a crate: what live packs have of it, and what others still have that wait to be deleted or published.
create view v_crates as
  select k.crate_key, count(*) as packs, count(distinct k.pool_id) as pools, count(*) filter (where k.tier = 'chunks') as chunk_packs,
         coalesce(sum(k.extent_length) filter (where k.state = 'live'), 0)::bigint as live_bytes,
         coalesce(sum(k.extent_length) filter (where k.state <> 'live'), 0)::bigint as other_bytes, min(k.created_at) as created_at
    from packs k where k.crate_key is not null group by k.crate_key;

-- migrate:down

drop view v_crates, v_dedup, v_repository_size, v_pool_size;
