-- migrate:up

-- The packing house: packs are replaced by others, large blobs are kept as chunks, unreachable objects leave.

-- A pack of chunks holds no objects of its own: it is never listed, searched or fetched as the others are.
alter table packs drop constraint packs_tier_check;
alter table packs add constraint packs_tier_check check (tier in ('tail', 'store', 'chunks'));
alter table packs drop constraint packs_check;
alter table packs add constraint packs_check check ((tier = 'tail') = (crate_key is null));
alter table packs
  -- Until when the holder of lease_token may count on it. Of an intent: until when the upload may go on.
  add column lease_until timestamptz,
  -- Objects of the pack that are chunked blobs: in object_count and object_blocks, not in the stored pack.
  add column chunked_count bigint not null default 0,
  -- What made it: push, seal, compact, gather, sweep, chunks, rebuild, restore.
  add column origin text not null default 'push';
update packs set lease_until = created_at + interval '1 day' where state = 'intent';
create index packs_crate on packs (crate_key) where crate_key is not null;

-- Packs that took the place of others. Readers learn of them as they learn of pushes.
create sequence swap_ids;
create table pack_swaps (
  pool_id bigint not null,
  id bigint not null default nextval('swap_ids'),
  xid xid8 not null default pg_current_xact_id(),
  added bigint[] not null,
  removed bigint[] not null,
  reason text not null,
  swapped_at timestamptz not null default clock_timestamp(),
  primary key (pool_id, id)
);
create index pack_swaps_xid on pack_swaps (pool_id, xid);

-- Where the pool keeps a chunk, for whoever stores the same bytes again. Rows go before the bytes do.
create table chunks (
  pool_id bigint not null,
  sha256 bytea not null,
  pack_id bigint not null,
  -- The raw deflate segment: first byte in the pack, bytes.
  pack_offset bigint not null,
  pack_length integer not null,
  primary key (pool_id, sha256)
);

-- A large blob as a list of chunks, in order: parallel arrays, and the SHA-256 of each chunk's plain bytes one after the other.
create table chunked_blobs (
  pool_id bigint not null,
  pack_id bigint not null,
  oid bytea not null,
  size bigint not null,
  -- Adler-32 of the blob, and of each chunk.
  adler bigint not null,
  sha256s bytea not null,
  chunk_packs bigint[] not null,
  offsets bigint[] not null,
  lengths bigint[] not null,
  sizes bigint[] not null,
  adlers bigint[] not null,
  primary key (pool_id, pack_id, oid)
);
alter table chunked_blobs alter column sha256s set storage external;

-- Work to be done on a pool (or, with pool_id null, on everything), taken with FOR UPDATE SKIP LOCKED.
create table maintenance_jobs (
  id bigint generated always as identity primary key,
  kind text not null,
  pool_id bigint,
  state text not null default 'queued' check (state in ('queued', 'running', 'done', 'failed')),
  plan jsonb,
  report jsonb,
  attempts integer not null default 0,
  not_before timestamptz not null default now(),
  lease_token uuid,
  lease_until timestamptz,
  created_at timestamptz not null default now(),
  finished_at timestamptz
);
create unique index maintenance_jobs_open on maintenance_jobs (kind, coalesce(pool_id, 0)) where state in ('queued', 'running');

-- While a pin has not expired, no superseded pack is deleted: backups.
create table maintenance_pins (
  id uuid primary key,
  reason text not null,
  made_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null
);

-- While there is a hold, nothing is deleted that the catalog does not name: restore and rebuild set it, an operator releases it.
create table maintenance_holds (
  id bigint generated always as identity primary key,
  reason text not null,
  made_at timestamptz not null default clock_timestamp()
);

drop function publish_push;
drop function repository_state;

-- Publishes one push in one transaction: refs by compare-and-swap, then pack, objects and log, when any ref was updated.
-- Commands are parallel arrays in the client's order. An old of null is the zero oid (the ref must not exist; with a null new: delete
-- whatever it holds). A new of null deletes. Answers one status a command: ok, stale, exists, conflict (a directory/file conflict).
-- p_pack null: the push brought no pack. A store pack has an intent row with this lease already, a tail pack is inserted here; a
-- store pack's object and graph blocks may have been copied before in the same transaction (then p_oids is null). An atomic push
-- that cannot happen whole raises PH003.
-- p_epoch is the pool's sweep_epoch when the push began (null: whatever it is); when it has moved, PH004 is raised. p_chunk_pack is the
-- intent of the pack that holds the push's new chunks, under the same lease; rows of chunks and chunked_blobs are copied before.
create function publish_push(
  p_pool bigint, p_repository bigint, p_atomic boolean,
  p_names bytea[], p_olds bytea[], p_news bytea[], p_peeled bytea[],
  p_head bytea, p_actor text, p_request_id text, p_options text[],
  p_pack bigint, p_lease uuid, p_tail bytea, p_extent_length bigint, p_object_count bigint, p_checksum bytea,
  p_all_reached boolean, p_based boolean, p_has_duplicates boolean, p_tips bytea,
  p_oids bytea, p_first_oid bytea, p_kinds bytea, p_sizes bigint[], p_offsets bigint[], p_lengths bigint[], p_graph bytea,
  p_epoch bigint, p_chunked_count bigint, p_chunk_pack bigint
) returns text[] language plpgsql as $$
declare
  v_n integer := cardinality(p_names);
  v_statuses text[] := array_fill('ok'::text, array[v_n]);
  -- Copies: a subscript of a parameter would walk the whole array each time.
  v_names bytea[] := p_names;
  v_olds bytea[] := p_olds;
  v_news bytea[] := p_news;
  v_peeled bytea[] := p_peeled;
  v_push bigint;
  v_current bytea;
  v_found boolean;
  v_status text;
  v_any boolean := false;
  v_all boolean := true;
  v_log_names bytea[] := '{}';
  v_log_olds bytea[] := '{}';
  v_log_news bytea[] := '{}';
  i integer;
begin
  perform 1 from repositories r where r.id = p_repository and r.deleted_at is null for key share;
  if not found then
    raise exception 'repository % is deleted', p_repository using errcode = 'PH001';
  end if;
  -- What a push has proven holds until something is condemned: then it proves again.
  perform pg_advisory_xact_lock_shared(1347, p_pool::integer);
  if not exists (select 1 from pools o where o.id = p_pool and o.sweep_epoch = coalesce(p_epoch, o.sweep_epoch)) then
    raise exception 'objects of pool % were condemned meanwhile', p_pool using errcode = 'PH004';
  end if;
  -- Creations and deletions meet in directory/file conflicts: one at a time in a repository. Updates do not wait here.
  if array_position(p_olds, null) is not null or array_position(p_news, null) is not null then
    perform pg_advisory_xact_lock(p_repository);
  end if;
  -- Locks in the order of names, so that two pushes cannot wait for each other in a circle.
  perform 1 from refs r where r.pool_id = p_pool and r.repository_id = p_repository and r.name = any (p_names)
    order by r.name for update;
  v_push := nextval('push_ids');

  for i in 1..v_n loop
    select r.oid into v_current from refs r where r.pool_id = p_pool and r.repository_id = p_repository and r.name = v_names[i];
    v_found := found;
    v_status := 'ok';
    if v_news[i] is null then
      if v_olds[i] is not null and (not v_found or v_current <> v_olds[i]) then
        v_status := 'stale';
      elsif v_found then
        delete from refs r where r.pool_id = p_pool and r.repository_id = p_repository and r.name = v_names[i];
      end if;
    elsif v_olds[i] is null then
      if v_found then
        v_status := 'exists';
      elsif ref_name_conflicts(p_pool, p_repository, v_names[i]) then
        v_status := 'conflict';
      else
        insert into refs (pool_id, repository_id, name, oid, peeled, created_push)
          values (p_pool, p_repository, v_names[i], v_news[i], v_peeled[i], v_push);
      end if;
    elsif not v_found or v_current <> v_olds[i] then
      v_status := 'stale';
    elsif v_current <> v_news[i] then
      update refs r set oid = v_news[i], peeled = v_peeled[i]
        where r.pool_id = p_pool and r.repository_id = p_repository and r.name = v_names[i];
    end if;
    if v_status = 'ok' then
      v_any := true;
      if v_current is distinct from v_news[i] then
        v_log_names := array_append(v_log_names, v_names[i]);
        v_log_olds := array_append(v_log_olds, v_current);
        v_log_news := array_append(v_log_news, v_news[i]);
      end if;
    else
      v_all := false;
      v_statuses[i] := v_status;
    end if;
  end loop;

  if p_atomic and not v_all then
    -- Nothing of an atomic push may stay: the error rolls back, its detail carries the statuses.
    raise exception 'atomic push refused' using errcode = 'PH003', detail = array_to_string(v_statuses, ',');
  end if;
  if not v_any or (cardinality(v_log_names) = 0 and p_pack is null) then
    return v_statuses;
  end if;

  if p_pack is not null then
    if p_tail is not null then
      insert into packs (pool_id, id, tier, state, extent_length, object_count, checksum, all_reached, based, has_duplicates, tips)
        values (p_pool, p_pack, 'tail', 'live', p_extent_length, p_object_count, p_checksum,
                p_all_reached and v_all, p_based, p_has_duplicates, p_tips);
      insert into tail_bytes (pool_id, pack_id, bytes) values (p_pool, p_pack, p_tail);
    else
      update packs k set state = 'live', state_since = now(), lease_token = null, lease_until = null, all_reached = p_all_reached and v_all,
          based = p_based, has_duplicates = p_has_duplicates, tips = p_tips, extent_length = p_extent_length,
          object_count = p_object_count, checksum = p_checksum, chunked_count = coalesce(p_chunked_count, 0)
        where k.pool_id = p_pool and k.id = p_pack and k.state = 'intent' and k.lease_token = p_lease;
      if not found then
        raise exception 'pack % lost its lease', p_pack using errcode = 'PH002';
      end if;
    end if;
    if p_chunk_pack is not null then
      -- Its extent and checksum were written with its intent's upload.
      update packs k set state = 'live', state_since = now(), lease_token = null, lease_until = null
        where k.pool_id = p_pool and k.id = p_chunk_pack and k.state = 'intent' and k.lease_token = p_lease;
      if not found then
        raise exception 'pack % lost its lease', p_chunk_pack using errcode = 'PH002';
      end if;
    end if;
    if p_oids is not null then
      insert into object_blocks (pool_id, pack_id, first_oid, object_count, oids, kinds, sizes, offsets, lengths)
        values (p_pool, p_pack, p_first_oid, length(p_kinds), p_oids, p_kinds, p_sizes, p_offsets, p_lengths);
    end if;
    if p_graph is not null then
      insert into graph_blocks (pool_id, pack_id, ordinal, records) values (p_pool, p_pack, 0, p_graph);
    end if;
  end if;
  insert into pushes (pool_id, id, repository_id, pack_id, actor, request_id, options)
    values (p_pool, v_push, p_repository, p_pack, p_actor, p_request_id, p_options);
  insert into ref_updates (pool_id, push_id, repository_id, name, old_oid, new_oid)
    select p_pool, v_push, p_repository, c.name, c.old_oid, c.new_oid
      from unnest(v_log_names, v_log_olds, v_log_news) c (name, old_oid, new_oid);
  if p_head is not null then
    update repositories r set head = p_head where r.id = p_repository and r.head is null;
  end if;
  return v_statuses;
end
$$;

-- Supersedes leased packs by others that hold all that is to stay of them, in one transaction with the outputs' blocks.
-- PH004: something was condemned meanwhile. PH002: an input or output is not this lease's any more.
create function swap_packs(
  p_pool bigint, p_epoch bigint, p_token uuid, p_inputs bigint[], p_outputs bigint[], p_reason text
) returns void language plpgsql as $$
declare
  v_count bigint;
begin
  perform pg_advisory_xact_lock_shared(1347, p_pool::integer);
  if not exists (select 1 from pools o where o.id = p_pool and o.sweep_epoch = p_epoch) then
    raise exception 'objects of pool % were condemned meanwhile', p_pool using errcode = 'PH004';
  end if;
  update packs k set state = 'superseded', state_since = clock_timestamp(), lease_token = null, lease_until = null
    where k.pool_id = p_pool and k.id = any (p_inputs) and k.state = 'live' and k.lease_token = p_token;
  get diagnostics v_count = row_count;
  if v_count <> cardinality(p_inputs) then
    raise exception 'packs of pool % lost their lease', p_pool using errcode = 'PH002';
  end if;
  update packs k set state = 'live', state_since = clock_timestamp(), lease_token = null, lease_until = null
    where k.pool_id = p_pool and k.id = any (p_outputs) and k.state = 'intent' and k.lease_token = p_token;
  get diagnostics v_count = row_count;
  if v_count <> cardinality(p_outputs) then
    raise exception 'new packs of pool % lost their lease', p_pool using errcode = 'PH002';
  end if;
  insert into pack_swaps (pool_id, added, removed, reason) values (p_pool, p_outputs, p_inputs, p_reason);
end
$$;

-- What a reader needs to bring its cached view of a repository up to date, in one statement and so in one snapshot: the repository,
-- this snapshot, the refs that pushes not visible in the caller's snapshot have touched, the packs that they or swaps have brought,
-- and the packs that swaps have taken away. A null snapshot: everything.
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

-- migrate:down

drop function swap_packs, repository_state, publish_push;
drop table maintenance_holds, maintenance_pins, maintenance_jobs, chunked_blobs, chunks, pack_swaps;
drop sequence swap_ids;
drop index packs_crate;
alter table packs drop column lease_until, drop column chunked_count, drop column origin;
