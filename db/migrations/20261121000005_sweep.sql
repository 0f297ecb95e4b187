-- migrate:up

-- The last sweep of each pool. What the push log says of before kept_since was no root of it: those values may be gone.
create table pool_sweeps (
  pool_id bigint primary key,
  swept_at timestamptz not null,
  kept_since timestamptz not null,
  condemned_packs integer not null,
  condemned_bytes bigint not null
);

-- Dedup information of a pack of chunks goes before its bytes.
create index chunks_pack on chunks (pool_id, pack_id);

-- Superseded packs that no reader can still use become deleted: only then may rows and bytes of them go. None does while a pin holds;
-- the lock makes a pin that is being committed wait, or be seen. A pack of chunks stays while a recipe that may be read names it.
create function retire_packs(p_age_seconds double precision, p_limit integer) returns table (pool_id bigint, id bigint)
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

-- migrate:down

drop function retire_packs;
drop index chunks_pack;
drop table pool_sweeps;
