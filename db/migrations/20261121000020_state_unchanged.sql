-- migrate:up

-- As before, but that nothing has changed is told soon.
create or replace function repository_state(p_owner text, p_name text, p_repository bigint, p_snapshot pg_snapshot) returns table (
  id bigint, pool_id bigint, object_format text, head bytea, private boolean, snapshot pg_snapshot,
  names bytea[], oids bytea[], peeled bytea[], created bigint[], packs bigint[], removed bigint[], sweep_epoch bigint
) language plpgsql stable as $$
declare
  v_is_same boolean;
begin
  -- Most often nothing has changed: told by one small plan, since starting the large one below takes many times as long.
  select r.id, r.pool_id, r.object_format, r.head, r.private, o.sweep_epoch, pg_current_snapshot(),
      p_snapshot is not null and r.id = p_repository
        and not exists (select 1 from pushes s
          where s.pool_id = r.pool_id and s.xid >= pg_snapshot_xmin(p_snapshot) and not pg_visible_in_snapshot(s.xid, p_snapshot))
        and not exists (select 1 from pack_swaps w
          where w.pool_id = r.pool_id and w.xid >= pg_snapshot_xmin(p_snapshot) and not pg_visible_in_snapshot(w.xid, p_snapshot))
    into id, pool_id, object_format, head, private, sweep_epoch, snapshot, v_is_same
    from repositories r join pools o on o.id = r.pool_id where r.owner = p_owner and r.name = p_name and r.deleted_at is null;
  if not found then
    return;
  end if;
  if v_is_same then
    return next;
    return;
  end if;
  if id <> p_repository or p_snapshot is null then
    select array_agg(f.name order by f.name), array_agg(f.oid order by f.name),
           array_agg(f.peeled order by f.name), array_agg(f.created_push order by f.name)
      into names, oids, peeled, created
      from refs f where f.pool_id = repository_state.pool_id and f.repository_id = repository_state.id;
    return next;
    return;
  end if;
  with news as materialized (
    select s.id, s.repository_id, s.pack_id from pushes s
      where s.pool_id = repository_state.pool_id and s.xid >= pg_snapshot_xmin(p_snapshot)
        and not pg_visible_in_snapshot(s.xid, p_snapshot)
  ), swaps as materialized (
    select w.added, w.removed from pack_swaps w
      where w.pool_id = repository_state.pool_id and w.xid >= pg_snapshot_xmin(p_snapshot)
        and not pg_visible_in_snapshot(w.xid, p_snapshot)
  ), touched as (
    select distinct u.name from news s join ref_updates u on u.pool_id = repository_state.pool_id and u.push_id = s.id
      where s.repository_id = repository_state.id
  )
  select a.names, a.oids, a.peeled, a.created,
      (select array_agg(p.id) from (select s.pack_id as id from news s where s.pack_id is not null
                                    union select unnest(w.added) from swaps w) p),
      (select array_agg(r.id) from (select unnest(w.removed) as id from swaps w) r)
    into names, oids, peeled, created, packs, removed
    from (select array_agg(t.name) names, array_agg(f.oid) oids, array_agg(f.peeled) peeled, array_agg(f.created_push) created
            -- Lateral with a limit: without statistics a plain join reads every ref of the repository for every name.
            from touched t left join lateral (
              select r.oid, r.peeled, r.created_push from refs r
                where r.pool_id = repository_state.pool_id and r.repository_id = repository_state.id and r.name = t.name limit 1) f
              on true) a;
  return next;
end
$$;

-- migrate:down

drop function repository_state;

create function repository_state(p_owner text, p_name text, p_repository bigint, p_snapshot pg_snapshot) returns table (
  id bigint, pool_id bigint, object_format text, head bytea, private boolean, snapshot pg_snapshot,
  names bytea[], oids bytea[], peeled bytea[], created bigint[], packs bigint[], removed bigint[], sweep_epoch bigint
) language plpgsql stable as $$
declare
  v_repository repositories;
  v_epoch bigint;
begin
  select * into v_repository from repositories r where r.owner = p_owner and r.name = p_name and r.deleted_at is null;
  if not found then
    return;
  end if;
  select o.sweep_epoch into v_epoch from pools o where o.id = v_repository.pool_id;
  if v_repository.id <> p_repository or p_snapshot is null then
    return query select v_repository.id, v_repository.pool_id, v_repository.object_format, v_repository.head, v_repository.private,
      pg_current_snapshot(), a.names, a.oids, a.peeled, a.created, null::bigint[],
      null::bigint[], v_epoch
      from (select array_agg(f.name order by f.name) names, array_agg(f.oid order by f.name) oids,
                   array_agg(f.peeled order by f.name) peeled, array_agg(f.created_push order by f.name) created
              from refs f where f.pool_id = v_repository.pool_id and f.repository_id = v_repository.id) a;
  else
    return query
      with news as materialized (
        select s.id, s.repository_id, s.pack_id from pushes s
          where s.pool_id = v_repository.pool_id and s.xid >= pg_snapshot_xmin(p_snapshot)
            and not pg_visible_in_snapshot(s.xid, p_snapshot)
      ), swaps as materialized (
        select w.added, w.removed from pack_swaps w
          where w.pool_id = v_repository.pool_id and w.xid >= pg_snapshot_xmin(p_snapshot)
            and not pg_visible_in_snapshot(w.xid, p_snapshot)
      ), touched as (
        select distinct u.name from news s join ref_updates u on u.pool_id = v_repository.pool_id and u.push_id = s.id
          where s.repository_id = v_repository.id
      )
      select v_repository.id, v_repository.pool_id, v_repository.object_format, v_repository.head, v_repository.private,
        pg_current_snapshot(), a.names, a.oids, a.peeled, a.created,
        (select array_agg(p.id) from (select s.pack_id as id from news s where s.pack_id is not null
                                      union select unnest(w.added) from swaps w) p),
        (select array_agg(r.id) from (select unnest(w.removed) as id from swaps w) r), v_epoch
        from (select array_agg(t.name) names, array_agg(f.oid) oids, array_agg(f.peeled) peeled, array_agg(f.created_push) created
                -- Lateral with a limit: without statistics a plain join reads every ref of the repository for every name.
                from touched t left join lateral (
                  select r.oid, r.peeled, r.created_push from refs r
                    where r.pool_id = v_repository.pool_id and r.repository_id = v_repository.id and r.name = t.name limit 1) f
                  on true) a;
  end if;
end
$$;
