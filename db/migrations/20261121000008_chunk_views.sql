-- migrate:up

-- A chunked blob is no entry of its pack: it has no offset there, and pack_length is what its entry comes to on the wire.
create or replace view v_objects as
  select b.pool_id, b.pack_id, encode(substring(b.oids from (u.i::integer - 1) * (length(b.oids) / b.object_count) + 1
           for length(b.oids) / b.object_count), 'hex') as oid,
         (array['commit', 'tree', 'blob', 'tag'])[get_byte(b.kinds, u.i::integer - 1)] as kind,
         u.size, nullif(u.pack_offset, -1) as pack_offset, u.pack_length
    from object_blocks b join packs k on k.pool_id = b.pool_id and k.id = b.pack_id and k.state = 'live'
    cross join lateral unnest(b.sizes, b.offsets, b.lengths) with ordinality u (size, pack_offset, pack_length, i);

create or replace function object_locate(p_repository text, p_oid text) returns table (
  kind text, size bigint, pack_id bigint, tier text, crate_key text, extent_offset bigint, pack_offset bigint, pack_length bigint
) language plpgsql stable as $$
declare
  v_oid bytea := decode(p_oid, 'hex');
  v_width integer := length(v_oid);
  v_pool bigint;
  v_block record;
  v_low integer;
  v_high integer;
  v_middle integer;
  v_probe bytea;
begin
  select r.pool_id into v_pool from repositories r where r.owner || '/' || r.name = p_repository and r.deleted_at is null;
  for v_block in
    select k.id, k.tier, k.crate_key, k.extent_offset, b.* from packs k cross join lateral (
      select * from object_blocks o where o.pool_id = k.pool_id and o.pack_id = k.id and o.first_oid <= v_oid
        order by o.first_oid desc limit 1) b
      where k.pool_id = v_pool and k.state = 'live'
  loop
    v_low := 0;
    v_high := v_block.object_count;
    while v_low < v_high loop
      v_middle := (v_low + v_high) / 2;
      v_probe := substring(v_block.oids from v_middle * v_width + 1 for v_width);
      if v_probe < v_oid then v_low := v_middle + 1; else v_high := v_middle; end if;
    end loop;
    if v_low < v_block.object_count and substring(v_block.oids from v_low * v_width + 1 for v_width) = v_oid then
      kind := (array['commit', 'tree', 'blob', 'tag'])[get_byte(v_block.kinds, v_low)];
      size := v_block.sizes[v_low + 1];
      pack_id := v_block.id;
      tier := v_block.tier;
      crate_key := v_block.crate_key;
      extent_offset := v_block.extent_offset;
      pack_offset := nullif(v_block.offsets[v_low + 1], -1);
      pack_length := v_block.lengths[v_low + 1];
      return next;
    end if;
  end loop;
end
$$;

-- Large blobs that are kept as chunks: how many chunks, their stored bytes (chunks that blobs share count in each), and the packs they are in.
create view v_chunked_blobs as
  select b.pool_id, b.pack_id, encode(b.oid, 'hex') as oid, b.size, cardinality(b.sizes) as chunks,
         (select sum(l)::bigint from unnest(b.lengths) l) as stored_bytes,
         (select array_agg(distinct p order by p) from unnest(b.chunk_packs) p) as chunk_packs
    from chunked_blobs b join packs k on k.pool_id = b.pool_id and k.id = b.pack_id and k.state = 'live';

-- migrate:down

drop view v_chunked_blobs;
create or replace view v_objects as
  select b.pool_id, b.pack_id, encode(substring(b.oids from (u.i::integer - 1) * (length(b.oids) / b.object_count) + 1
           for length(b.oids) / b.object_count), 'hex') as oid,
         (array['commit', 'tree', 'blob', 'tag'])[get_byte(b.kinds, u.i::integer - 1)] as kind,
         u.size, u.pack_offset, u.pack_length
    from object_blocks b join packs k on k.pool_id = b.pool_id and k.id = b.pack_id and k.state = 'live'
    cross join lateral unnest(b.sizes, b.offsets, b.lengths) with ordinality u (size, pack_offset, pack_length, i);

create or replace function object_locate(p_repository text, p_oid text) returns table (
  kind text, size bigint, pack_id bigint, tier text, crate_key text, extent_offset bigint, pack_offset bigint, pack_length bigint
) language plpgsql stable as $$
declare
  v_oid bytea := decode(p_oid, 'hex');
  v_width integer := length(v_oid);
  v_pool bigint;
  v_block record;
  v_low integer;
  v_high integer;
  v_middle integer;
  v_probe bytea;
begin
  select r.pool_id into v_pool from repositories r where r.owner || '/' || r.name = p_repository and r.deleted_at is null;
  for v_block in
    select k.id, k.tier, k.crate_key, k.extent_offset, b.* from packs k cross join lateral (
      select * from object_blocks o where o.pool_id = k.pool_id and o.pack_id = k.id and o.first_oid <= v_oid
        order by o.first_oid desc limit 1) b
      where k.pool_id = v_pool and k.state = 'live'
  loop
    v_low := 0;
    v_high := v_block.object_count;
    while v_low < v_high loop
      v_middle := (v_low + v_high) / 2;
      v_probe := substring(v_block.oids from v_middle * v_width + 1 for v_width);
      if v_probe < v_oid then v_low := v_middle + 1; else v_high := v_middle; end if;
    end loop;
    if v_low < v_block.object_count and substring(v_block.oids from v_low * v_width + 1 for v_width) = v_oid then
      kind := (array['commit', 'tree', 'blob', 'tag'])[get_byte(v_block.kinds, v_low)];
      size := v_block.sizes[v_low + 1];
      pack_id := v_block.id;
      tier := v_block.tier;
      crate_key := v_block.crate_key;
      extent_offset := v_block.extent_offset;
      pack_offset := v_block.offsets[v_low + 1];
      pack_length := v_block.lengths[v_low + 1];
      return next;
    end if;
  end loop;
end
$$;
