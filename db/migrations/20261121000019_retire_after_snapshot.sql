-- migrate:up

-- Of a snapshot that was written: what it has seen, null when there is none.
create function last_catalog_snapshot() returns pg_snapshot language sql stable as $$
  select l.snapshot from catalog_snapshots l order by l.taken_at desc limit 1
$$;

-- What the last snapshot names stays in the store until a later one has seen that it was replaced. Tails are in the snapshots themselves.
create or replace function retire_packs(p_age_seconds double precision, p_limit integer) returns table (pool_id bigint, id bigint)
language plpgsql as $$
declare
  v_seen pg_snapshot := last_catalog_snapshot();
begin
  lock table maintenance_pins in share mode;
  if exists (select 1 from maintenance_pins n where n.expires_at > clock_timestamp()) then
    return;
  end if;
  return query
    update packs k set state = 'deleted', state_since = clock_timestamp(), lease_token = null, lease_until = null
      where (k.pool_id, k.id) in (
        select s.pool_id, s.id from packs s
          where s.state = 'superseded' and s.state_since < clock_timestamp() - make_interval(secs => p_age_seconds)
            and (s.tier = 'tail' or v_seen is null or not changed_since(s.xmin, v_seen))
            and not (s.tier = 'chunks' and exists (
              select 1 from chunked_blobs b join packs o on o.pool_id = b.pool_id and o.id = b.pack_id
                where b.pool_id = s.pool_id and b.chunk_packs @> array[s.id] and o.state in ('intent', 'live', 'superseded')))
          order by s.state_since limit p_limit for update skip locked)
      returning k.pool_id, k.id;
end
$$;

-- migrate:down

drop function last_catalog_snapshot;

create or replace function retire_packs(p_age_seconds double precision, p_limit integer) returns table (pool_id bigint, id bigint)
language plpgsql as $$
begin
  lock table maintenance_pins in share mode;
  if exists (select 1 from maintenance_pins n where n.expires_at > clock_timestamp()) then
    return;
  end if;
  return query
    update packs k set state = 'deleted', state_since = clock_timestamp(), lease_token = null, lease_until = null
      where (k.pool_id, k.id) in (
        select s.pool_id, s.id from packs s
          where s.state = 'superseded' and s.state_since < clock_timestamp() - make_interval(secs => p_age_seconds)
            and not (s.tier = 'chunks' and exists (
              select 1 from chunked_blobs b join packs o on o.pool_id = b.pool_id and o.id = b.pack_id
                where b.pool_id = s.pool_id and b.chunk_packs @> array[s.id] and o.state in ('intent', 'live', 'superseded')))
          order by s.state_since limit p_limit for update skip locked)
      returning k.pool_id, k.id;
end
$$;
